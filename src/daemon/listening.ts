/**
 * Ports on which programs of this machine itself listen, with who they are: what is published there would be taken from them. Looked
 * at a moment after the start and every half minute; told to the managers when it has changed.
 *
 * Called by node.ts. Not here: what follows from it (control/resolve.ts, schedule/filters.ts, allocate/ports.ts).
 */
import { messageOf } from '../errors.js';
import type { ListeningPort, NodeNetwork } from '../gen/types.js';
import type { Clock, Files, InterfaceAddress, Processes } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import type { Logger } from '../telemetry.js';
import type { Hardware } from './hardware.js';

export interface Listening {
  readonly current: () => readonly ListeningPort[];
  /** Until the signal; `changed` is called when it is another list than before. */
  readonly follow: (signal: AbortSignal, changed: () => Promise<void>) => Promise<void>;
}

const firstAfterMs = 2_000;
const everyMs = 30_000;
const timeoutMs = 5_000;
const portsMax = 256;
const prefixesMax = 64;

export function openListening(parts: {
  readonly processes: Pick<Processes, 'run' | 'pid'>;
  readonly files: Pick<Files, 'findTextSync'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Programs in cgroups of that name are containers of covey. */
  readonly prefix: string;
}): Listening {
  const { processes, files, clock, log, prefix } = parts;
  let known: readonly ListeningPort[] = [];
  const isOurs = (pid: number): boolean =>
    pid === processes.pid || (files.findTextSync(`/proc/${pid}/cgroup`) ?? '').includes(`/${prefix}`);
  const look = async (signal: AbortSignal): Promise<readonly ListeningPort[]> => {
    const { stdout } = await processes.run(['ss', '-HltunpO'], { signal, timeoutMs });
    const range = files.findTextSync('/proc/sys/net/ipv4/ip_local_port_range') ?? '';
    const [first = 32_768, last = 60_999] = range.trim().split(/\s+/).filter(Boolean).map(Number);
    return parseListening(stdout, { isOurs, ephemeral: { first, last } });
  };
  return {
    current: () => known,
    follow: async (signal, changed) => {
      await clock.sleep(firstAfterMs, signal);
      for (;;) {
        try {
          const now = await look(signal);
          if (JSON.stringify(now) !== JSON.stringify(known)) {
            known = now;
            await changed();
          }
        } catch (error) {
          signal.throwIfAborted();
          log.warn('cannot find out who listens on this machine', { error: messageOf(error) });
        }
        await clock.sleep(everyMs, signal);
      }
    },
  };
}

/** What is found out after the start, and told to the managers then. */
export function learnMachine(
  parts: { readonly lifetime: Lifetime; readonly hardware: Hardware; readonly listening: Listening },
  learnt: () => Promise<void>,
): void {
  const { lifetime, hardware, listening } = parts;
  lifetime.run('hardware', signal => hardware.learn(signal, learnt));
  lifetime.run('listening', signal => listening.follow(signal, learnt));
}

/** As the node describes itself. */
export function networkOf(addresses: readonly InterfaceAddress[], listening: Pick<Listening, 'current'>): NodeNetwork {
  const prefixes = addresses.flatMap(({ family, prefix = '' }) => (family === 'IPv4' && prefix !== '' ? [prefix] : []));
  return { listening: listening.current(), prefixes: prefixes.slice(0, prefixesMax) };
}

/** Of the output of ss. UDP sockets on ephemeral ports are clients that wait for an answer. */
export function parseListening(
  text: string,
  options: {
    readonly isOurs: (pid: number) => boolean;
    readonly ephemeral: { readonly first: number; readonly last: number };
  },
): readonly ListeningPort[] {
  const found = new Map<string, ListeningPort>();
  for (const line of text.split('\n')) {
    const [protocol = '', state = '', , , local = ''] = line.trim().split(/\s+/);
    const port = Number(local.slice(local.lastIndexOf(':') + 1));
    if ((protocol !== 'tcp' && protocol !== 'udp') || !Number.isInteger(port) || port < 1) continue;
    const isClient = state === 'UNCONN' && port >= options.ephemeral.first && port <= options.ephemeral.last;
    const [, name = '', pid = ''] = /\(\("((?:[^"\\]|\\.)*)",pid=(\d+)/.exec(line) ?? [];
    if (isClient || (pid !== '' && options.isOurs(Number(pid)))) continue;
    const program = pid === '' ? '' : `${name} (pid ${pid})`;
    const key = `${protocol} ${String(port).padStart(5, '0')}`;
    if (found.get(key)?.program === undefined || found.get(key)?.program === '')
      found.set(key, { protocol, port, program });
  }
  return [...found]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .slice(0, portsMax)
    .map(([, port]) => port);
}
