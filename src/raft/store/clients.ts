/**
 * What was done for whom: makes a change that is proposed twice, because its outcome was not known the first time, happen once.
 *
 *     client                       log                        here
 *     change 7, answered to 5  ──► entry                 ──►  7 done at version v; 5 and before forgotten
 *     (no answer; asks again)
 *     change 7, answered to 6  ──► entry                 ──►  7 is known: nothing happens, the answer is v
 *
 * Keeps true: a function of the log alone, so all managers remember the same; part of each snapshot. A client is remembered
 * until `clientsMax` others have changed something after it; of its changes those are that it has no answer of.
 *
 * Called by machine.ts. Not here: who numbers changes (daemon/control), what they do (transaction.ts).
 */
import type { StoreClient } from '../../gen/types.js';

/** Names one change of one client. */
export interface Once {
  readonly client: string;
  /** Grows with each change of the client. */
  readonly sequence: number;
  /** The client has the answers of all changes up to this one. */
  readonly settled: number;
}

export interface Clients {
  /** The version at which it was done; undefined: not done, or not remembered. */
  readonly find: (once: Once) => number | undefined;
  readonly note: (once: Once, version: number) => void;
  readonly list: () => readonly StoreClient[];
  readonly restore: (clients: readonly StoreClient[]) => void;
}

const clientsMax = 1_000;

interface Remembered {
  settled: number;
  /** Version by sequence. */
  readonly done: Map<number, number>;
}

export function openClients(): Clients {
  /** The one that changed something last stands last. */
  const clients = new Map<string, Remembered>();
  return {
    find: ({ client, sequence }) => clients.get(client)?.done.get(sequence),
    note: ({ client, sequence, settled }, version) => {
      const remembered = clients.get(client) ?? { settled: 0, done: new Map() };
      clients.delete(client);
      clients.set(client, remembered);
      remembered.settled = Math.max(remembered.settled, settled);
      remembered.done.set(sequence, version);
      for (const number of remembered.done.keys()) if (number <= remembered.settled) remembered.done.delete(number);
      for (const oldest of clients.keys()) {
        if (clients.size <= clientsMax) break;
        clients.delete(oldest);
      }
    },
    list: () =>
      [...clients].map(([id, { settled, done }]) => ({
        id,
        settled,
        done: [...done].map(([sequence, version]) => ({ sequence, version })),
      })),
    restore: list => {
      clients.clear();
      for (const { id, settled, done } of list)
        clients.set(id, { settled, done: new Map(done.map(({ sequence, version }) => [sequence, version])) });
    },
  };
}
