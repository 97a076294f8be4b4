/**
 * The state of one member: everything that the rules read and change.
 *
 * Keeps true: `term` and, within a term, `vote` only rise and settle; `messages` may leave at once, `afterAppend` only
 * when everything unstable at the time is on disk. Made by `createRaft`, changed by the files of this folder alone.
 *
 * Not here: the rules; what is handed out (../rawnode.ts).
 */
import { CoveyError } from '../../../errors.js';
import { createFifo, type Fifo } from '../fifo.js';
import { appliedTo, createLog, lastIndex, lastTerm, type RaftLog } from '../log.js';
import { createReadQueue, type PendingRead, type ReadQueue } from '../readonly.js';
import type { TraceEvent } from '../trace.js';
import { createTracker, restoreConfig, type Tracker } from '../tracker.js';
import {
  type AppendReply,
  type Message,
  nobody,
  type PeerId,
  type RaftConfig,
  type ReadState,
  type Role,
  type VoteReply,
} from '../types.js';

export interface Raft {
  readonly id: PeerId;
  readonly config: RaftConfig;
  readonly log: RaftLog;
  readonly tracker: Tracker;

  term: number;
  vote: PeerId;
  role: Role;
  /** Whom this node takes for the leader of `term`; proposals and reads are forwarded there. */
  leader: PeerId;
  /** Who sent appends or heartbeats in `term`: there can be only one, whoever else does proves a broken group (bug B45). */
  provenLeader: PeerId;

  /** May leave at once, in this order. */
  messages: Message[];
  /** May leave (or, addressed to this node, be stepped) only when all that is unstable now is on disk. */
  afterAppend: (VoteReply | AppendReply)[];
  readStates: ReadState[];

  // Used by a leader alone, from here on.
  /** Whom leadership is being handed to. */
  transferee: PeerId;
  /** At or above the index of the newest change of the configuration in the log; another waits until this is applied. */
  pendingConfIndex: number;
  /** Index of the empty entry that opened this leader's term. */
  termStartIndex: number;
  /** Payload of own entries that are not committed, batch by batch, and their sum. */
  readonly uncommitted: Fifo<UncommittedBatch>;
  uncommittedBytes: number;
  reads: ReadQueue;
  /** Reads that came before this leader committed an entry of its term (bug B2). */
  earlyReads: EarlyRead[];

  /** Ticks since the last sign of the leader (follower), since the election began (candidate), since the last check (leader). */
  electionElapsed: number;
  heartbeatElapsed: number;
  /** Drawn anew in [electionTicks, 2 * electionTicks) with every change of role. */
  electionTimeout: number;
}

interface UncommittedBatch {
  readonly index: number;
  readonly bytes: number;
}
export type EarlyRead = Pick<PendingRead, 'from' | 'request'>;

/** A member as it starts: from what is on disk, as a follower of nobody. */
export function createRaft(config: RaftConfig): Raft {
  checkConfig(config);
  const { hardState, confState } = config.storage.initialState();
  const log = createLog(config.storage, config.applyingBytesMax);
  const tracker = createTracker(config);
  restoreConfig(tracker, confState, lastIndex(log));
  // The commit index need not have been synced: what was applied was committed (bug B35).
  const commit = Math.max(hardState.commit, config.applied, log.committed);
  if (commit > lastIndex(log)) {
    throw new CoveyError('bug', 'Cannot start from a log that ends before its commit index', {
      state: `commit ${commit}, last index ${lastIndex(log)}`,
    });
  }
  log.committed = commit;
  if (config.applied > log.applied) appliedTo(log, config.applied, 0);
  const raft: Raft = {
    id: config.id,
    config,
    log,
    tracker,
    term: hardState.term,
    vote: hardState.vote,
    role: 'follower',
    leader: nobody,
    provenLeader: nobody,
    messages: [],
    afterAppend: [],
    readStates: [],
    transferee: nobody,
    pendingConfIndex: 0,
    termStartIndex: 0,
    uncommitted: createFifo(),
    uncommittedBytes: 0,
    reads: createReadQueue(),
    earlyReads: [],
    electionElapsed: 0,
    heartbeatElapsed: 0,
    electionTimeout: config.electionTicks,
  };
  return raft;
}

export type Happening = TraceEvent extends infer E ? (E extends unknown ? Omit<E, 'id' | 'term'> : never) : never;

/** Tells the tracer, if there is one. */
export function emit(raft: Raft, happening: Happening): void {
  raft.config.trace?.({ id: raft.id, term: raft.term, ...happening } as TraceEvent);
}

/** A leader that is not (or no longer) in its own configuration has no progress of its own. */
export function isPromotable(raft: Raft): boolean {
  const own = raft.tracker.byId.get(raft.id);
  return own !== undefined && !own.learner && raft.log.unstable.snapshot === undefined;
}

export function emitStarted(raft: Raft): void {
  emit(raft, {
    kind: 'started',
    commit: raft.log.committed,
    applied: raft.log.applied,
    lastIndex: lastIndex(raft.log),
    lastTerm: lastTerm(raft.log),
    voters: raft.tracker.config.voters.incoming,
  });
}

function checkConfig(config: RaftConfig): void {
  const refuse = (state: string) => {
    throw new CoveyError('bug', 'Cannot start a member with settings that contradict each other', { state });
  };
  if (!Number.isSafeInteger(config.id) || config.id <= nobody) refuse(`id ${config.id} is not in [1, 2^53)`);
  if (config.heartbeatTicks < 1) refuse(`a heartbeat every ${config.heartbeatTicks} ticks`);
  if (config.electionTicks <= config.heartbeatTicks)
    refuse(`elections after ${config.electionTicks} ticks, heartbeats after ${config.heartbeatTicks}`);
  if (config.inflightMessagesMax < 1) refuse(`a window of ${config.inflightMessagesMax} messages`);
  if (config.leaseReads && !config.checkQuorum) refuse('lease reads without check-quorum');
}
