/**
 * This manager's member of the Raft group: its log on disk, its links to the others, and what it says about who leads.
 *
 * Called by cluster-parts.ts. Not here: the rules (raft/), where the log lies (storage.ts), what the leader does
 * (leadership.ts), members that come and go (members.ts).
 */
import type { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type { ManagerAddress } from '../../gen/types.js';
import type { Handlers } from '../../grpc.js';
import type { Host } from '../../host.js';
import type { ClusterId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import { bootstrapGroup } from '../../raft/bootstrap.js';
import { nobody, type PeerId } from '../../raft/core/types.js';
import { type GroupLog, openGroupLog } from '../../raft/group-log.js';
import type { NodeEvent } from '../../raft/node/types.js';
import { firstSnapshot, type StoreMachine, type Write } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { peerProtocols } from '../../version.js';
import type { Wire } from '../../wire.js';
import type { IdentityHolder } from '../ca/index.js';
import type { KeyKeeper } from '../keys/index.js';
import { peerHandlers } from '../peers/serve.js';
import { openPeerTransport } from '../peers/transport.js';
import type { AddressBook } from './address-book.js';
import { removeOtherMembers, storageOf } from './storage.js';
import type { Whereabouts } from './whereabouts.js';

export interface GroupOptions {
  readonly host: Host;
  readonly wire: Wire;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly dataDir: string;
  readonly clusterId: ClusterId;
  readonly raftId: PeerId;
  /** The program of the storage thread. */
  readonly workerFile: URL;
  readonly identity: IdentityHolder;
  readonly book: AddressBook;
  readonly whereabouts: Whereabouts;
  readonly machine: StoreMachine;
  readonly keys: Pick<KeyKeeper, 'mint'>;
  /** What the store of a new cluster starts with; empty: this member has a log, or joins those that have. */
  readonly bootstrap: readonly Write[];
  readonly onLeading: (term: number) => void;
  readonly onFollowing: () => void;
  /** The members changed, or who leads. */
  readonly onChange: () => void;
  /** The member can't go on; the daemon has to be started anew. */
  readonly onFailed: (error: CoveyError) => void;
  /** The group was made anew without this member. */
  readonly onSuperseded: (error: CoveyError) => void;
}

/**
 * Two ticks of 100 ms between two heartbeats: five in the shortest time to an election, and half the price of ten for managers
 * that have nothing else to do. Each beat is four messages a member, with its receipts.
 */
const heartbeatTicks = 2;

export interface Group {
  readonly own: PeerId;
  readonly log: GroupLog;
  readonly handlers: Handlers<Services['Raft']>;
  /** The manager that leads, as far as this one knows. */
  readonly findLeader: () => ManagerAddress | undefined;
  readonly managers: () => readonly ManagerAddress[];
  /** Members that answer on their links. */
  readonly reached: () => ReadonlySet<PeerId>;
}

export async function openGroup(options: GroupOptions): Promise<Group> {
  const { host, wire, log, raftId, book } = options;
  await host.files.makeDirectory(`${options.dataDir}/raft`, { mode: 0o700 });
  await removeOtherMembers(host.files, options);
  if (options.bootstrap.length > 0) {
    const confState = { voters: [raftId], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    const content = firstSnapshot(wire, options.bootstrap, host.clock.wallMs());
    const first = storageOf({ ...options, keyring: await options.keys.mint() });
    await bootstrapGroup(first, options.workerFile, { confState, content });
  }
  let group: GroupLog | undefined;
  const transport = openPeerTransport({
    own: raftId,
    findPeer: book.findPeer,
    protocols: peerProtocols,
    history: book.history,
    onUnreachable: peer => group?.arrivals.unreachable(peer),
    onSuperseded: options.onSuperseded,
    isLeader: peer => group?.status().leader === peer,
    turnAfter: peer => group?.status().confState.voters.filter(one => one !== peer && one < raftId).length ?? 0,
    onEnded: peer => group?.arrivals.ended(peer),
    isLeaderless: () => group?.status().leader === nobody,
    onLeaderless: () => group?.arrivals.ended(nobody),
    whereabouts: options.whereabouts,
    identity: options.identity,
    wire,
    clock: host.clock,
    random: host.random,
    log: log.with({ part: 'peers' }),
    lifetime: options.lifetime,
  });
  const opened = await openGroupLog({
    id: raftId,
    storage: storageOf({ ...options, keyring: await options.keys.mint() }),
    workerFile: options.workerFile,
    transport,
    machine: options.machine,
    clock: host.clock,
    random: host.random,
    nameOf: book.nameOf,
    limits: { heartbeatTicks },
    onEvent: event => hear(options, event, transport.keepOnly),
  });
  group = opened;
  if (opened.opened.torn !== undefined) log.warn('a write that was cut short was taken back', opened.opened.torn);
  const managers = (): readonly ManagerAddress[] => book.managers(opened.status().leader);
  return {
    own: raftId,
    log: opened,
    handlers: peerHandlers({
      own: raftId,
      wire,
      clock: host.clock,
      log: log.with({ part: 'peers' }),
      arrivals: () => opened.arrivals,
      findNode: peer => book.findPeer(peer)?.nodeId,
      protocols: peerProtocols,
      history: book.history,
      whereabouts: options.whereabouts,
      managers,
    }),
    managers,
    findLeader: () => managers().find(manager => manager.leader),
    reached: transport.reached,
  };
}

function hear(options: GroupOptions, event: NodeEvent, keepOnly: (peers: readonly PeerId[]) => void): void {
  const { log } = options;
  switch (event.kind) {
    case 'leading':
      log.info('leads', { term: event.term });
      options.onLeading(event.term);
      options.onChange();
      return;
    case 'role':
      if (event.role !== 'leader') options.onFollowing();
      log.debug('role in the group', { role: event.role, term: event.term, leader: options.book.nameOf(event.leader) });
      options.onChange();
      return;
    case 'configured': {
      const { voters, learners, votersOutgoing, learnersNext } = event.confState;
      keepOnly([...voters, ...learners, ...votersOutgoing, ...learnersNext]);
      log.info('members of the group', { voters: voters.length, learners: learners.length, index: event.index });
      options.onChange();
      return;
    }
    case 'removed':
      log.info('is no member of the group any more');
      return;
    case 'snapshot':
      log.debug('snapshot', { index: event.index, phase: event.phase });
      return;
    case 'stepped-down':
      log.warn('gave leadership away: this stood still for longer than an election', { because: event.because });
      return;
    case 'failed':
      options.onFailed(event.error);
      return;
    case 'started':
      log.debug('log read', { applied: event.applied });
  }
}
