/**
 * Which of the machine's addresses other nodes should use, or why that can't be told.
 *
 * Not here: reading the addresses (host-linux/machine.ts), probes of what works (doctor/).
 */
import { CoveyError } from '../errors.js';
import type { Files, InterfaceAddress } from '../host.js';
import { type HostPort, parseHostPort } from './config.js';

/** Interface of the default route, from /proc/net/route: the line whose destination and mask are zero. */
export function defaultRouteInterface(files: Pick<Files, 'findTextSync'>): string | undefined {
  const lines = (files.findTextSync('/proc/net/route') ?? '').split('\n').map(line => line.split('\t'));
  return lines.find(fields => fields[1] === '00000000' && fields[7] === '00000000')?.[0];
}

export interface AddressChoice {
  /** As the settings or the request say; undefined: choose. */
  readonly asked: string | undefined;
  readonly listen: HostPort;
  readonly addresses: readonly InterfaceAddress[];
  readonly defaultInterface: string | undefined;
}

/** "host:port" under which other nodes reach this one. */
export function chooseAddress(choice: AddressChoice): string {
  const { asked, listen, addresses } = choice;
  if (asked !== undefined && asked !== '') {
    const { host, port } = parseHostPort(asked, listen.port);
    const named = addresses.find(entry => entry.interfaceName === host);
    return joinHostPort(named?.address ?? host, port);
  }
  if (listen.host !== '0.0.0.0' && listen.host !== '::') return joinHostPort(listen.host, listen.port);
  const candidates = byPreference(addresses, choice.defaultInterface);
  const best = candidates[0];
  if (best === undefined) {
    throw new CoveyError('bad-argument', 'Cannot choose an address for other nodes: this machine has none', {
      hint: '--advertise-addr ADDRESS',
    });
  }
  const rivals = candidates.filter(entry => entry.family === best.family && entry.interfaceName !== best.interfaceName);
  if (best.interfaceName !== choice.defaultInterface && rivals.length > 0) {
    throw new CoveyError(
      'bad-argument',
      'Cannot choose an address for other nodes: there are several and no default route',
      {
        state: candidates.map(entry => `${entry.address} on ${entry.interfaceName}`).join(', '),
        hint: `--advertise-addr ${best.address}`,
      },
    );
  }
  return joinHostPort(best.address, listen.port);
}

/** The interface of the default route first, then IPv4 before IPv6, then as the kernel lists them. */
function byPreference(
  addresses: readonly InterfaceAddress[],
  defaultInterface: string | undefined,
): readonly InterfaceAddress[] {
  const rank = (entry: InterfaceAddress): number =>
    (entry.interfaceName === defaultInterface ? 0 : 2) + (entry.family === 'IPv4' ? 0 : 1);
  return [...addresses].sort((a, b) => rank(a) - rank(b));
}

/** Where to listen when nobody has said: on all of IPv4, and of IPv6 too where other nodes reach this one by that. */
export function listenHost(listen: HostPort, own: readonly string[]): string {
  return listen.host === '0.0.0.0' && own.some(address => address.startsWith('[')) ? '::' : listen.host;
}

export function joinHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
