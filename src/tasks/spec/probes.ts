/**
 * Ready and health checks in one text, as flags and short forms write them: "http://:8080/ready", ":8080/ready", "5432", "9000/users".
 *
 * Not here: the form with keys (lifecycle.ts), asking (../probe.ts).
 */
import type { HealthProbe } from '../../gen/types.js';
import { bad, ok, type Parsed } from './values.js';

type Probe = HealthProbe['ask'];

/** "[http://|https://][:]PORT[/PATH]". */
export function parseHttpProbe(text: string): Parsed<Probe> {
  const found = /^(?:(https?):\/\/)?:?(\d{1,5})(\/\S*)?$/u.exec(text);
  const port = parsePort(found?.[2]);
  if (found === null || port === undefined) return bad('[http[s]://]:PORT[/PATH], such as :8080/ready');
  const [, scheme = 'http', , path = '/'] = found;
  return ok({ kind: 'http', scheme, port, path, headers: {}, statusMin: 0, statusMax: 0 });
}

export function parseTcpProbe(text: string): Parsed<Probe> {
  const port = parsePort(text.replace(/^:/u, ''));
  return port === undefined ? bad('a port from 1 to 65535') : ok({ kind: 'tcp', port });
}

/** "PORT[/SERVICE]". */
export function parseGrpcProbe(text: string): Parsed<Probe> {
  const found = /^:?(\d{1,5})(?:\/(\S+))?$/u.exec(text);
  const port = parsePort(found?.[1]);
  return port === undefined
    ? bad('PORT[/SERVICE], such as 9000/users')
    : ok({ kind: 'grpc', port, service: found?.[2] ?? '' });
}

function parsePort(text: string | undefined): number | undefined {
  const port = /^\d{1,5}$/u.test(text ?? '') ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}
