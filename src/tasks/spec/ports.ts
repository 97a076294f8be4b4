/**
 * Published ports in Docker's short form ("8080:80/udp", ranges included) and its long form (target=80,published=8080).
 *
 * Not here: which port is free (daemon/allocate/ports.ts), the YAML map form (service-lists.ts).
 */
import type { PortSpec, Protocol, PublishMode } from '../../gen/types.js';
import { bad, ok, type Parsed } from './values.js';

const shortForm = 'TARGET, PUBLISHED:TARGET or ranges of equal length, with /tcp or /udp, such as 8080:80 or 53:53/udp';

interface Range {
  readonly first: number;
  readonly last: number;
}

/** The short form. A range of published ports may lead to one target port. */
export function parsePort(text: string): Parsed<readonly PortSpec[]> {
  const [body = '', protocolText = 'tcp', ...rest] = text.split('/');
  const protocol = parseProtocol(protocolText);
  if (rest.length > 0) return bad(shortForm);
  if (protocol.kind === 'bad') return protocol;
  const parts = body.split(':');
  if (parts.length > 2)
    return bad('a port without an address: a published port answers on every address of every node');
  const target = parseRange(parts.at(-1) ?? '');
  const published = parts.length === 2 ? parseRange(parts[0] ?? '') : undefined;
  if (target === undefined || (parts.length === 2 && published === undefined)) return bad(shortForm);
  return pairPorts({ target, published, protocol: protocol.value, mode: 'ingress' });
}

export function parseProtocol(text: string): Parsed<Protocol> {
  const lower = text.toLowerCase();
  return lower === 'tcp' || lower === 'udp' ? ok(lower) : bad('tcp or udp');
}

function parsePublishMode(text: string): Parsed<PublishMode> {
  return text === 'ingress' || text === 'host' || text === 'local' ? ok(text) : bad('ingress, host or local');
}

/** "80" or "80-85", from 1 to 65535. */
export function parseRange(text: string): Range | undefined {
  const found = /^(\d{1,5})(?:-(\d{1,5}))?$/u.exec(text);
  if (found === null) return undefined;
  const first = Number(found[1]);
  const last = Number(found[2] ?? found[1]);
  return first >= 1 && last >= first && last <= 65_535 ? { first, last } : undefined;
}

interface PortPair {
  readonly target: Range;
  /** undefined: allocate chooses. */
  readonly published: Range | undefined;
  readonly protocol: Protocol;
  readonly mode: PublishMode;
}

/** One PortSpec for each port of the ranges. */
export function pairPorts(pair: PortPair): Parsed<readonly PortSpec[]> {
  const { target, published, protocol, mode } = pair;
  const targets = target.last - target.first + 1;
  const length = published === undefined ? targets : published.last - published.first + 1;
  if (targets !== 1 && length !== targets) return bad(shortForm);
  return ok(
    Array.from({ length }, (_, at) => ({
      published: published === undefined ? 0 : published.first + at,
      target: targets === 1 ? target.first : target.first + at,
      protocol,
      mode,
    })),
  );
}

/** The form with keys, of the command line: "published=8080,target=80,protocol=tcp,mode=host". */
export function parsePortKeys(text: string): Parsed<readonly PortSpec[]> {
  const valid = 'target=PORT with, if wanted, published=PORT, protocol=tcp or udp, mode=ingress, host or local';
  let target: Range | undefined;
  let published: Range | undefined;
  let protocol: Protocol = 'tcp';
  let mode: PublishMode = 'ingress';
  for (const part of text.split(',')) {
    const [key = '', value = ''] = part.split('=', 2);
    if (key === 'target') target = parseRange(value);
    else if (key === 'published') {
      published = parseRange(value);
      if (published === undefined) return bad(valid);
    } else if (key === 'protocol') {
      const parsed = parseProtocol(value);
      if (parsed.kind === 'bad') return parsed;
      protocol = parsed.value;
    } else if (key === 'mode') {
      const parsed = parsePublishMode(value);
      if (parsed.kind === 'bad') return parsed;
      mode = parsed.value;
    } else return bad(valid);
  }
  return target === undefined ? bad(valid) : pairPorts({ target, published, protocol, mode });
}
