/**
 * Finds a manager that leads: in this process when this node leads itself (no TLS to oneself), else by fresh connections to the
 * known addresses, the leader's first and each of the others some moments after the one before it (first-of.ts).
 *
 * Keeps true: a leader that is slow to reach is reached. Whoever wins against it is asked who leads; when the same one is named
 * again, it has its whole deadline to itself the next time.
 *
 * Bulk streams share a second TCP connection, made when the first is asked for and closed some seconds after the last has
 * ended, because its handshake costs more than a short exec; while it is used, it outlives the session that asked for it.
 *
 * Not here: the connection itself (rpc/client.ts), when to dial (session.ts).
 */
import { CoveyError } from '../../errors.js';
import { firstOf } from '../../first-of.js';
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
/** Alone for so long; longer than a handshake takes on a busy network. */
const headStartMs = 200;
/** Longer than any attempt takes: until it has failed. */
const wholeMs = 10_000;

interface Target {
  readonly address: string;
  readonly nodeId: string;
}

export function makeDial(options: DialOptions): DialManager {
  /** The leader that somebody else won against the last time. */
  let passedOver: string | undefined;
  return async (managers, signal) => {
    const local = options.findLocal();
    if (local !== undefined) return localConnection(local, options.identity.current());
    const own = options.identity.current().nodeId;
    const others = managers.filter(({ nodeId }) => nodeId !== own);
    const targets = targetsOf(others, options.random.fraction);
    if (targets.length === 0)
      throw new CoveyError('no-connection', 'Cannot find a manager', { state: 'no address of one is known' });
    const leader = others.find(manager => manager.leader)?.nodeId;
    const attempts = {
      clock: options.clock,
      attempt: (target: Target, ending: AbortSignal) => openConnection(options, target, ending),
      headStartMs: ({ nodeId }: Target) => (nodeId === leader && nodeId === passedOver ? wholeMs : headStartMs),
      onFailed: (target: Target, error: unknown) => options.reach?.failed(target, error),
    };
    const { way, made } = await firstOf(targets, attempts, signal);
    passedOver = way.nodeId === leader ? undefined : leader;
    options.reach?.reached(way.address);
    return made;
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
  const shared = sharedBulk({ connect, clock: options.clock, root: () => options.identity.current().root });
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
  /** The roots by which it was made: managers take no new streams on one of a root that was replaced. */
  readonly root: string;
  users: number;
  idle?: Timer;
}

/** One connection for all bulk streams. */
function sharedBulk({
  connect,
  clock,
  root,
}: {
  readonly connect: (signal: AbortSignal) => Promise<ManagerClient>;
  readonly clock: Clock;
  readonly root: () => string;
}): { readonly open: ManagerConnection['bulk']; readonly closeIdle: () => Promise<void> } {
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
      const kept = shared?.root === root() ? shared : undefined;
      const mine = kept ?? { client: connect(callOptions.signal), root: root(), users: 0 };
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
