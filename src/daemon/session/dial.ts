/**
 * Finds a manager that leads: in this process when this node leads itself (no TLS to oneself), else by a fresh connection to
 * each known address in turn, the leader's first.
 *
 * Bulk streams share a second TCP connection, made when the first is asked for and closed some seconds after the last has
 * ended, because its handshake costs more than a short exec; while it is used, it outlives the session that asked for it.
 *
 * Not here: the connection itself (rpc/client.ts), when to dial (session.ts).
 */
import { CoveyError } from '../../errors.js';
import type { BulkFrame, ManagerAddress } from '../../gen/types.js';
import type { Duplex } from '../../grpc.js';
import type { Clock, Random, Timer } from '../../host.js';
import type { Wire } from '../../wire.js';
import type { IdentityHolder } from '../ca/identity.js';
import type { Dispatcher } from '../dispatcher/types.js';
import { connectToManager, type ManagerClient } from '../rpc/client.js';
import { localConnection } from './local.js';
import type { Reach } from './reach.js';
import type { BulkLink, DialManager, ManagerConnection } from './types.js';

export interface DialOptions {
  readonly identity: IdentityHolder;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly random: Random;
  readonly reach?: Reach | undefined;
  /** The dispatcher of this process while it leads. */
  readonly findLocal: () => Dispatcher | undefined;
}

const connectMs = 1_000;

interface Target {
  readonly address: string;
  readonly nodeId: string;
}

export function makeDial(options: DialOptions): DialManager {
  return async (managers, signal) => {
    const local = options.findLocal();
    if (local !== undefined) return localConnection(local, options.identity.current());
    let failure: unknown = new CoveyError('no-connection', 'Cannot find a manager', {
      state: 'no address of one is known',
    });
    const own = options.identity.current().nodeId;
    const others = managers.filter(({ nodeId }) => nodeId !== own);
    for (const target of targetsOf(others, options.random.fraction)) {
      signal.throwIfAborted();
      try {
        const connection = await openConnection(options, target, signal);
        options.reach?.reached(target.address);
        return connection;
      } catch (error) {
        if (!signal.aborted) options.reach?.failed(target, error);
        failure = error;
      }
    }
    throw failure;
  };
}

/** The leader's addresses first, the others in random order. */
export function targetsOf(managers: readonly ManagerAddress[], fraction: () => number): readonly Target[] {
  return managers
    .map(manager => ({ manager, rank: manager.leader ? -1 : fraction() }))
    .sort((left, right) => left.rank - right.rank)
    .flatMap(({ manager }) => manager.addresses.map(address => ({ address, nodeId: manager.nodeId })));
}

async function openConnection(options: DialOptions, target: Target, signal: AbortSignal): Promise<ManagerConnection> {
  const connect = (ending: AbortSignal): Promise<ManagerClient> => {
    const { clusterId, root, certificate, key } = options.identity.current();
    return connectToManager({
      ...target,
      clusterId,
      root,
      client: { certificate, key },
      wire: options.wire,
      clock: options.clock,
      timeoutMs: connectMs,
      signal: ending,
    });
  };
  const client = await connect(signal);
  const calls = client.calls('Dispatcher');
  const shared = sharedBulk(connect, options.clock);
  return {
    reached: target,
    session: calls.session,
    bulk: shared.open,
    [Symbol.asyncDispose]: async () => {
      await shared.closeIdle();
      await client[Symbol.asyncDispose]();
    },
  };
}

/** How long a connection for bulk streams is kept for the next one. */
const bulkIdleMs = 15_000;

interface SharedBulk {
  readonly client: Promise<ManagerClient>;
  users: number;
  idle?: Timer;
}

/** One connection for all bulk streams. */
function sharedBulk(
  connect: (signal: AbortSignal) => Promise<ManagerClient>,
  clock: Clock,
): { readonly open: ManagerConnection['bulk']; readonly closeIdle: () => Promise<void> } {
  let shared: SharedBulk | undefined;
  let keeps = true;
  const close = async (mine: SharedBulk): Promise<void> => {
    if (mine.users > 0) return;
    mine.idle?.cancel();
    if (shared === mine) shared = undefined;
    await (await mine.client)[Symbol.asyncDispose]();
  };
  const release = async (mine: SharedBulk): Promise<void> => {
    mine.users -= 1;
    if (mine.users > 0) return;
    if (!keeps || shared !== mine) return await close(mine);
    mine.idle = clock.after(bulkIdleMs, () => void close(mine));
  };
  return {
    open: async callOptions => {
      const mine = shared ?? { client: connect(callOptions.signal), users: 0 };
      shared = mine;
      mine.idle?.cancel();
      mine.users += 1;
      let client: ManagerClient;
      try {
        client = await mine.client;
      } catch (error) {
        if (shared === mine) shared = undefined;
        throw error;
      }
      return linkOf(client.calls('Dispatcher').bulk(callOptions), () => release(mine));
    },
    closeIdle: async () => {
      keeps = false;
      if (shared !== undefined) await close(shared);
    },
  };
}

function linkOf(stream: Duplex<BulkFrame, BulkFrame>, release: () => Promise<void>): BulkLink {
  return {
    send: stream.send,
    end: stream.end,
    cancel: stream.cancel,
    [Symbol.asyncIterator]: () => stream[Symbol.asyncIterator](),
    [Symbol.asyncDispose]: release,
  };
}
