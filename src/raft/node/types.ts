/**
 * What the driver of a member is given and what it answers. Everything comes in as arguments, and answers come by
 * callback: the same driver runs on timers and threads in the product and on the simulator's virtual time.
 *
 * Not here: the driver (../node.ts), promises around it (../group-log.ts).
 */
import type { CoveyError } from '../../errors.js';
import type { TraceEvent } from '../core/trace.js';
import type { ConfChange, ConfChangeV2, ConfState, Entry, PeerId, Role } from '../core/types.js';
import type { StoragePort } from '../storage/storage-protocol.js';
import type { OpenedStorage } from '../storage/storage-server.js';
import type { Transport } from '../transport.js';

/** The application. All calls come from one turn at a time, in order of index. */
export interface Machine {
  /** Takes a committed entry; what it returns goes to whoever proposed it here. */
  readonly apply: (entry: Entry & { readonly kind: 'normal' }) => unknown;
  /** A picture of this very moment, in pieces that are pulled later, each within the time of a slice. */
  readonly snapshot: () => Iterator<Uint8Array, undefined>;
  /** Replaces everything, a piece of the work each time that it is asked for. */
  readonly restore: (pieces: readonly Uint8Array[]) => Iterator<undefined, undefined>;
  /** The configuration changed with the entry at this index. */
  readonly configured?: ((confState: ConfState, index: number, context: Uint8Array) => void) | undefined;
}

export interface Scheduler {
  /** Calls once, in a later turn of the event loop. */
  readonly defer: (call: () => void) => void;
  /** Monotonic; only differences count. */
  readonly nowMs: () => number;
}

export interface NodeLimits {
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  readonly messageBytesMax: number;
  readonly applyingBytesMax: number;
  readonly uncommittedBytesMax: number;
  readonly proposalBytesMax: number;
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  readonly transferLagMax: number;
  /** A snapshot is due after so many entries, or so many bytes of log, whichever comes first. */
  readonly snapshotEntries: number;
  readonly snapshotBytes: number;
  /** What is kept of the log before the newest snapshot, for followers that lag. */
  readonly keepEntries: number;
  readonly keepBytes: number;
  /** The application is called for so long before others get a turn. */
  readonly applySliceMs: number;
  /** Entries between two looks at the clock. */
  readonly applyLookEntries: number;
  /** Committed and not applied: beyond it proposals are dropped. */
  readonly applyLagMax: number;
  readonly waitingProposalsMax: number;
  readonly waitingReadsMax: number;
}

export const nodeDefaults: NodeLimits = {
  electionTicks: 10,
  heartbeatTicks: 1,
  messageBytesMax: 512 * 2 ** 10,
  applyingBytesMax: 16 * 2 ** 20,
  uncommittedBytesMax: 64 * 2 ** 20,
  proposalBytesMax: 1.5 * 2 ** 20,
  inflightMessagesMax: 64,
  inflightBytesMax: 8 * 2 ** 20,
  transferLagMax: 10_000,
  snapshotEntries: 10_000,
  snapshotBytes: 64 * 2 ** 20,
  keepEntries: 5_000,
  keepBytes: 32 * 2 ** 20,
  applySliceMs: 5,
  applyLookEntries: 32,
  applyLagMax: 5_000,
  waitingProposalsMax: 16_384,
  waitingReadsMax: 65_536,
};

export interface NodeOptions {
  readonly id: PeerId;
  readonly limits: NodeLimits;
  readonly storage: StoragePort;
  readonly opened: OpenedStorage;
  readonly transport: Transport;
  readonly machine: Machine;
  readonly scheduler: Scheduler;
  /** Whole number in [0, bound). */
  readonly random: (bound: number) => number;
  readonly onEvent: (event: NodeEvent) => void;
  readonly trace?: ((event: TraceEvent) => void) | undefined;
}

export type NodeEvent =
  | { readonly kind: 'started'; readonly applied: number }
  | { readonly kind: 'role'; readonly role: Role; readonly leader: PeerId; readonly term: number }
  /** Leader, and everything that earlier leaders committed is applied here: the leader's work may begin. */
  | { readonly kind: 'leading'; readonly term: number }
  | { readonly kind: 'configured'; readonly confState: ConfState; readonly index: number }
  /** This member is no longer in the group; it goes on listening, and does no harm. */
  | { readonly kind: 'removed' }
  | {
      readonly kind: 'snapshot';
      readonly index: number;
      readonly phase: 'begun' | 'stored' | 'given-up' | 'unreadable' | 'installed';
    }
  /** A leader gave leadership away because this stood still for longer than an election. */
  | { readonly kind: 'stepped-down'; readonly because: 'disk' | 'apply' | 'event-loop' }
  /** The end: nothing is answered any more. */
  | { readonly kind: 'failed'; readonly error: CoveyError };

export type NodeProposeOutcome =
  | { readonly kind: 'committed'; readonly index: number; readonly result: unknown }
  | { readonly kind: 'not-leader'; readonly leader: PeerId }
  | { readonly kind: 'dropped'; readonly because: DropReason }
  | { readonly kind: 'too-large'; readonly sizeBytes: number; readonly limitBytes: number }
  | { readonly kind: 'no-space' }
  | { readonly kind: 'stopped' }
  /** Leadership was lost on the way: it may or may not be in the log. */
  | { readonly kind: 'unknown' };

type DropReason =
  | 'no-leader'
  | 'transfer'
  | 'uncommitted-limit'
  | 'not-member'
  | 'overload'
  | 'apply-lag'
  | ConfRefusal;
/** A change of the configuration that cannot be made now. */
type ConfRefusal = 'pending-change' | 'must-leave-joint' | 'not-joint';

export type NodeReadOutcome =
  /** What is applied here now holds everything that was committed before the read began. */
  { readonly kind: 'ready'; readonly index: number } | { readonly kind: 'no-leader' } | { readonly kind: 'stopped' };

export interface NodeStatus {
  readonly id: PeerId;
  readonly role: Role;
  readonly leader: PeerId;
  readonly term: number;
  readonly commit: number;
  readonly applied: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly confState: ConfState;
  readonly lowSpace: boolean;
  /** Of a leader only. */
  readonly peers: readonly PeerStatus[];
}

interface PeerStatus {
  readonly id: PeerId;
  readonly match: number;
  readonly learner: boolean;
  readonly active: boolean;
  readonly state: 'probe' | 'replicate' | 'snapshot';
}

export type MembershipChange = ConfChange | ConfChangeV2;
