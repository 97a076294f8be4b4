/**
 * The addresses of this node and of others, as they change: its own are looked at while it runs (a lease that ends brings
 * another), those of a manager can be told by people when all of them have moved.
 *
 * Called by member-node.ts. Not here: what addresses are tried (group/whereabouts.ts), which of its own a node tells (addresses.ts).
 */
import { CoveyError } from '../errors.js';
import type { NodeDescription, TableItem } from '../gen/types.js';
import type { Clock, Machine } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import type { View } from '../raft/store.js';
import type { Logger } from '../telemetry.js';
import { joinHostPort } from './addresses.js';
import { parseHostPort } from './config.js';
import type { Whereabouts } from './group/whereabouts.js';

const lookEveryMs = 10_000;

/** Calls back when the machine has other addresses than before. */
export function followAddresses(options: {
  readonly machine: Pick<Machine, 'addresses'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly onChange: () => Promise<void>;
}): void {
  const { machine, clock, log, lifetime } = options;
  const look = (): string => JSON.stringify(machine.addresses());
  lifetime.run('addresses of the machine', async signal => {
    for (let before = look(); ; ) {
      await clock.sleep(lookEveryMs, signal);
      const now = look();
      if (now === before) continue;
      before = now;
      log.info('addresses of the machine changed', { addresses: now });
      try {
        await options.onChange();
      } catch (error) {
        log.warn('addresses not told', { error });
      }
    }
  });
}

/** A machine that has no address yet is a node all the same. */
export async function firstAddresses(
  describe: () => Promise<NodeDescription>,
  log: Logger,
): Promise<readonly string[]> {
  try {
    return (await describe()).addresses;
  } catch (error) {
    log.warn('this machine has no address for other nodes yet', { error });
    return [];
  }
}

export interface AddressHint {
  /** Name, id or beginning of the id. */
  readonly node: string;
  readonly address: string;
  readonly portDefault: number;
}

/** People say where a manager is. */
export function takeHint(
  whereabouts: Whereabouts,
  known: {
    readonly view: View | undefined;
    readonly tables: ReadonlyMap<string, TableItem>;
    readonly managers: readonly string[];
  },
  hint: AddressHint,
): { readonly nodeId: string; readonly address: string } {
  const names = namesOf(known);
  const found = [...names].filter(([id, name]) => name === hint.node || (hint.node !== '' && id.startsWith(hint.node)));
  const [only] = found;
  if (only === undefined || found.length > 1) {
    throw new CoveyError(
      only === undefined ? 'not-found' : 'ambiguous',
      `Cannot tell which manager "${hint.node}" is`,
      {
        state: `known here: ${[...names].map(([id, name]) => name ?? id).join(', ')}`,
      },
    );
  }
  const { host, port } = parseHostPort(hint.address, hint.portDefault);
  const address = joinHostPort(host, port);
  whereabouts.said(only[0], [address]);
  return { nodeId: only[0], address };
}

/** Managers by id, with the names that are known. */
function namesOf(known: Parameters<typeof takeHint>[1]): ReadonlyMap<string, string | undefined> {
  const names = new Map<string, string | undefined>(known.managers.map(id => [id, undefined]));
  for (const { value } of known.tables.values()) {
    if (value?.kind === 'node' && names.has(value.nodeId)) names.set(value.nodeId, value.name);
  }
  for (const node of known.view?.list('node') ?? []) {
    if (node.role === 'manager') names.set(node.id, node.spec.name);
  }
  return names;
}
