/**
 * This manager's way to the one that leads: one connection, made when it is needed and given up as soon as another leads, so
 * that a call to a leader that is gone does not wait for a timeout.
 *
 * Called by control-route.ts and cluster-parts.ts. Not here: which calls go there, and whether they are made again.
 */
import { CoveyError, codeOf } from '../../errors.js';
import { firstOf } from '../../first-of.js';
import type { Services } from '../../gen/services.js';
import type { ManagerAddress } from '../../gen/types.js';
import type { Calls } from '../../grpc.js';
import type { Clock } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import type { Wire } from '../../wire.js';
import type { IdentityHolder } from '../ca/index.js';
import { connectToManager, type ManagerClient } from '../rpc/index.js';

export interface LeaderLinkOptions {
  readonly own: string;
  readonly findLeader: () => ManagerAddress | undefined;
  readonly identity: IdentityHolder;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly lifetime: Lifetime;
}

export interface LeaderLink {
  /** Makes a call on the leader. Rejects with no-leader, with no-connection, or with what the leader says. */
  readonly call: <Name extends keyof Services, Result>(
    service: Name,
    make: (calls: Calls<Services[Name]>, signal: AbortSignal) => Promise<Result>,
    signal: AbortSignal,
  ) => Promise<Result>;
  /** The same for a stream. */
  readonly stream: <Name extends keyof Services, Result>(
    service: Name,
    make: (calls: Calls<Services[Name]>, signal: AbortSignal) => AsyncIterable<Result>,
    signal: AbortSignal,
  ) => AsyncIterable<Result>;
  /** Somebody is known to lead. */
  readonly isKnown: () => boolean;
  /** Who leads may have changed. */
  readonly leaderChanged: () => void;
}

const connectMs = 1_000;
/** Between two of its addresses. */
const headStartMs = 200;

interface Connection {
  readonly nodeId: string;
  /** The roots by which it was made: the leader takes no new calls on one of a root that was replaced. */
  readonly root: string;
  /** Calls under way; a connection that was replaced is closed with the last of them. */
  users: number;
  readonly ending: AbortController;
  readonly client: Promise<ManagerClient>;
}

export function openLeaderLink(options: LeaderLinkOptions): LeaderLink {
  const kept = keepConnection(options);
  options.lifetime.defer('leader link', () =>
    kept.giveUp(new CoveyError('cancelled', 'Cannot go on: the daemon ends')),
  );
  return {
    call: async (service, make, signal) => {
      const made = kept.take();
      try {
        const client = await made.client;
        return await make(client.calls(service), AbortSignal.any([signal, made.ending.signal]));
      } catch (error) {
        kept.failed(made, error);
        throw error;
      } finally {
        kept.giveBack(made);
      }
    },
    stream: async function* (service, make, signal) {
      const made = kept.take();
      try {
        const client = await made.client;
        yield* make(client.calls(service), AbortSignal.any([signal, made.ending.signal]));
      } catch (error) {
        kept.failed(made, error);
        throw error;
      } finally {
        kept.giveBack(made);
      }
    },
    isKnown: () => options.findLeader() !== undefined,
    leaderChanged: () => {
      const leader = options.findLeader();
      const to = kept.to();
      if (leader !== undefined && to !== undefined && leader.nodeId !== to) kept.giveUp(anotherLeads());
    },
  };
}

function anotherLeads(): CoveyError {
  return new CoveyError('no-connection', 'Cannot go on: another manager leads now');
}

/** The one connection that new calls go over, and older ones until their last call has ended. */
function keepConnection(options: LeaderLinkOptions) {
  let open: Connection | undefined;
  /** Of a root that was replaced, with calls under way. */
  const older = new Set<Connection>();
  const giveUp = (why: CoveyError): void => {
    const ended = open === undefined ? [...older] : [open, ...older];
    open = undefined;
    older.clear();
    for (const connection of ended) {
      connection.ending.abort(why);
      void close(connection);
    }
  };
  const present = (leader: ManagerAddress): Connection => {
    const { root } = options.identity.current();
    if (open?.nodeId === leader.nodeId && open.root === root) return open;
    if (open?.nodeId === leader.nodeId && open.users > 0) older.add(open);
    else giveUp(anotherLeads());
    const ending = new AbortController();
    const client = connect(options, leader, ending.signal);
    const made: Connection = { nodeId: leader.nodeId, root, users: 0, ending, client };
    made.client.catch(() => {
      if (open === made) open = undefined;
    });
    open = made;
    return made;
  };
  return {
    giveUp,
    to: () => open?.nodeId,
    take: (): Connection => {
      const leader = options.findLeader();
      if (leader === undefined) throw new CoveyError('no-leader', 'Cannot reach the leader: no manager leads');
      if (leader.nodeId === options.own)
        throw new CoveyError('not-leader', 'Cannot go on: this manager is about to lead');
      const made = present(leader);
      made.users += 1;
      return made;
    },
    giveBack: (made: Connection): void => {
      made.users -= 1;
      if (made.users === 0 && older.delete(made)) void close(made);
    },
    failed: (made: Connection, error: unknown): void => {
      if (codeOf(error) === 'no-connection' && open === made)
        giveUp(new CoveyError('no-connection', 'Cannot go on: the connection to the leader broke'));
    },
  };
}

async function close({ client }: Connection): Promise<void> {
  // One that was not made has nothing to be given back.
  await client.then(
    made => made[Symbol.asyncDispose](),
    () => undefined,
  );
}

async function connect(
  options: LeaderLinkOptions,
  leader: ManagerAddress,
  signal: AbortSignal,
): Promise<ManagerClient> {
  const { clusterId, root, certificate, key } = options.identity.current();
  if (leader.addresses.length === 0)
    throw new CoveyError('no-connection', 'Cannot reach the leader', { state: 'no address of it is known' });
  const attempt = (address: string, ending: AbortSignal): Promise<ManagerClient> =>
    connectToManager({
      address,
      nodeId: leader.nodeId,
      clusterId,
      root,
      client: { certificate, key },
      wire: options.wire,
      clock: options.clock,
      timeoutMs: connectMs,
      signal: ending,
    });
  const ways = { clock: options.clock, attempt, headStartMs: () => headStartMs };
  return (await firstOf(leader.addresses, ways, signal)).made;
}
