/**
 * The words of the Raft core: what goes in, what comes out, what is stored.
 *
 * Keeps true: everything here is plain immutable data; two nodes that see the same inputs in the same order produce
 * the same outputs. Used by every file of `core/`, by `storage/`, by the driver (`../node.ts`) and by the wire codec.
 *
 * Not here: the rules (raft.ts), the batches' way to disk (../storage/), the bytes on the wire.
 */
import type { TraceEvent } from './trace.js';

/** A member of the group: an integer in [1, 2^53), drawn once at join and never used again. 0 means "nobody". */
export type PeerId = number;

/** What `vote`, `leader`, `transferee` hold when there is nobody. */
export const nobody: PeerId = 0;

/** The version that this code writes into each entry and message, and the newest that it understands. */
export const entryVersion = 1;
export const messageVersion = 1;

// ---------------------------------------------------------------------------------------------------- the log

/** One position of the log. `term` never falls from one index to the next. */
export type Entry = NormalEntry | ConfChangeEntry | ConfChangeV2Entry;

interface EntryHead {
  readonly version: number;
  readonly term: number;
  readonly index: number;
}
/** A proposal of the application; empty `data` is the entry by which a new leader commits what it found. */
interface NormalEntry extends EntryHead {
  readonly kind: 'normal';
  readonly data: Uint8Array;
}
interface ConfChangeEntry extends EntryHead {
  readonly kind: 'conf-change';
  readonly change: ConfChange;
}
interface ConfChangeV2Entry extends EntryHead {
  readonly kind: 'conf-change-v2';
  readonly change: ConfChangeV2;
}

/** An entry before a leader gave it its place. */
export type Proposal =
  | { readonly kind: 'normal'; readonly version: number; readonly data: Uint8Array }
  | { readonly kind: 'conf-change'; readonly version: number; readonly change: ConfChange }
  | { readonly kind: 'conf-change-v2'; readonly version: number; readonly change: ConfChangeV2 };

/** What must be on disk before any reply that depends on it leaves: one record, written atomically. */
export interface HardState {
  readonly term: number;
  /** Whom this node voted for in `term`. */
  readonly vote: PeerId;
  /** Need not be synced: it is learnt again. On load the higher of this and the applied index counts. */
  readonly commit: number;
}

/** Never stored; told to the application when it changes. */
export interface SoftState {
  readonly leader: PeerId;
  readonly role: Role;
}
export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

// ---------------------------------------------------------------------------------------------------- membership

/** The active configuration as it is stored in snapshots. Joint while `votersOutgoing` is not empty. */
export interface ConfState {
  readonly voters: readonly PeerId[];
  readonly learners: readonly PeerId[];
  /** The old half of a joint configuration: decisions need a majority of this half too. */
  readonly votersOutgoing: readonly PeerId[];
  /** Voters of the old half that become learners when it is left. */
  readonly learnersNext: readonly PeerId[];
  /** Leave the joint configuration without being asked, once the entry that entered it is applied. */
  readonly autoLeave: boolean;
}

export interface ConfChangeSingle {
  readonly kind: 'add-voter' | 'add-learner' | 'remove' | 'update';
  /** 0 = do nothing (the application struck the change out when it came to apply it). */
  readonly peer: PeerId;
}
/** One change at a time, without joint consensus. */
export interface ConfChange {
  readonly change: ConfChangeSingle;
  readonly context: Uint8Array;
}
/**
 * Any number of changes at once. `auto` uses joint consensus only where it is needed (more than one change) and
 * leaves it by itself; `implicit` always uses it and leaves it by itself; `explicit` stays joint until a change
 * with transition `auto` and no changes is proposed.
 */
export interface ConfChangeV2 {
  readonly transition: 'auto' | 'implicit' | 'explicit';
  readonly changes: readonly ConfChangeSingle[];
  readonly context: Uint8Array;
}

/** The state of the application at `index`, or in the product a reference to the file that holds it. */
export interface Snapshot {
  readonly version: number;
  readonly index: number;
  readonly term: number;
  readonly confState: ConfState;
  /** Opaque to the core. */
  readonly data: Uint8Array;
}

// ---------------------------------------------------------------------------------------------------- messages

interface MessageHead {
  readonly version: number;
  readonly from: PeerId;
  readonly to: PeerId;
  /** The sender's term; 0 in `propose` and `read-index`, which pass through any term. */
  readonly term: number;
}

export interface VoteRequest extends MessageHead {
  /** `pre-vote` asks "would you vote for me in `term`?" and changes nothing at either end. */
  readonly kind: 'vote' | 'pre-vote';
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** Asked for by the old leader: voters answer although they hear from a leader. */
  readonly transfer: boolean;
  /** The sender's commit index and the term at it, or 0, 0 (`commitByVote` off). */
  readonly commit: number;
  readonly commitTerm: number;
}
export interface VoteReply extends MessageHead {
  readonly kind: 'vote-reply' | 'pre-vote-reply';
  readonly reject: boolean;
  readonly commit: number;
  readonly commitTerm: number;
}
export interface AppendRequest extends MessageHead {
  readonly kind: 'append';
  /** The entries follow directly on (prevIndex, prevTerm). */
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
}
export interface AppendReply extends MessageHead {
  readonly kind: 'append-reply';
  /** Accepted: the log matches the leader's up to here. Rejected: the `prevIndex` that was refused. */
  readonly index: number;
  readonly reject: boolean;
  /** Rejected: a guess where the logs may match, and the term of the follower's entry there (0 = not known). */
  readonly hintIndex: number;
  readonly hintTerm: number;
}
export interface Heartbeat extends MessageHead {
  readonly kind: 'heartbeat';
  /** Never beyond what the follower is known to match. */
  readonly commit: number;
  /** Number of the newest read that this beat confirms; 0 = none. Chosen by the core, never by a user (bug B1). */
  readonly readCount: number;
}
export interface HeartbeatReply extends MessageHead {
  readonly kind: 'heartbeat-reply';
  readonly readCount: number;
}
export interface SnapshotRequest extends MessageHead {
  readonly kind: 'snapshot';
  readonly snapshot: Snapshot;
}
interface ProposeRequest extends MessageHead {
  readonly kind: 'propose';
  readonly proposals: readonly Proposal[];
}
interface ReadIndexRequest extends MessageHead {
  readonly kind: 'read-index';
  /** Chosen by the asking node, handed back unchanged. */
  readonly request: number;
}
interface ReadIndexReply extends MessageHead {
  readonly kind: 'read-index-reply';
  readonly request: number;
  readonly index: number;
}
interface TransferRequest extends MessageHead {
  readonly kind: 'transfer-leader';
  readonly transferee: PeerId;
}
export interface TimeoutNow extends MessageHead {
  readonly kind: 'timeout-now';
}

/** What members say to each other. */
export type Message =
  | VoteRequest
  | VoteReply
  | AppendRequest
  | AppendReply
  | Heartbeat
  | HeartbeatReply
  | SnapshotRequest
  | ProposeRequest
  | ReadIndexRequest
  | ReadIndexReply
  | TransferRequest
  | TimeoutNow;
export type MessageKind = Message['kind'];

// ---------------------------------------------------------------------------------------------------- storage, asynchronous

/**
 * One batch for the log's thread. Batches are stored in the order given; they are never dropped.
 *
 *     core                         log thread
 *     ready().storageAppend  ──►   write snapshot, hardState, entries (entries overwrite from their first index on)
 *                                  fdatasync if mustSync or snapshot
 *     step(each response to    ◄── when this batch AND all before it are durable: hand out `responses` in order,
 *       this node), send the       those with `to` = this node and `storage-append-done` back into step()
 *       others
 *
 * A batch without mustSync and snapshot needs no fsync of its own, but its responses still wait for the batches
 * before it. If any write fails nothing is answered, ever again.
 *
 * The order matters for hard states too: an entry that follows on a change of the configuration was only sent once the
 * change was committed, and the batch that brings it brings that commit index or comes after one that did. So a member
 * that has such an entry on disk knows after a crash that the change was committed, and does not hold an election among
 * the wrong voters (bugs B5 and B21).
 */
export interface StorageAppend {
  readonly kind: 'storage-append';
  /** Present when it changed; the whole record. */
  readonly hardState: HardState | undefined;
  /** Replaces the whole log: nothing before or after its index is kept; entries of the same batch follow on it. */
  readonly snapshot: Snapshot | undefined;
  readonly entries: readonly Entry[];
  readonly mustSync: boolean;
  readonly responses: readonly StorageResponse[];
}
/** Replies that need durability hang on the batch, so that a driver cannot send them early. */
export type StorageResponse = Message | StorageAppendDone;

export interface StorageAppendDone {
  readonly kind: 'storage-append-done';
  /** The core's term when the batch was made: an older acknowledgement never trims the unstable log. */
  readonly term: number;
  /** The last entry of the whole log at that time; 0, 0 when nothing was unstable. */
  readonly index: number;
  readonly logTerm: number;
  readonly snapshot: Snapshot | undefined;
}

/** Committed entries for the application, in order, each once. Answered with `done` (or with prefixes of it) when applied. */
export interface StorageApply {
  readonly kind: 'storage-apply';
  readonly entries: readonly Entry[];
  readonly done: StorageApplyDone;
}
export interface StorageApplyDone {
  readonly kind: 'storage-apply-done';
  readonly entries: readonly Entry[];
}

/** Everything that `step` takes. */
export type Input = Message | StorageAppendDone | StorageApplyDone;

// ---------------------------------------------------------------------------------------------------- outputs

/**
 * What there is to do now. Asynchronous storage (the product): send `messages` at once, queue `storageAppend` and
 * `storageApply`, answer `readStates`. Synchronous storage (vectors and tests): store `snapshot`, `hardState` and
 * `entries`, then send `messages`, apply `committedEntries`, then call `advance()`.
 */
export interface Ready {
  readonly softState: SoftState | undefined;
  readonly hardState: HardState | undefined;
  readonly readStates: readonly ReadState[];
  readonly entries: readonly Entry[];
  readonly snapshot: Snapshot | undefined;
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  /** Entries, term or vote changed. */
  readonly mustSync: boolean;
  /** Only in asynchronous mode. */
  readonly storageAppend: StorageAppend | undefined;
  readonly storageApply: StorageApply | undefined;
}

/** The read `request` may be answered once the application has applied `index`. */
export interface ReadState {
  readonly request: number;
  readonly index: number;
}

/** What became of a proposal here and now. `appended` and `forwarded` say nothing yet about being committed. */
export type ProposeOutcome =
  /** The batch has the indexes [index, index + count). */
  | { readonly kind: 'appended'; readonly index: number; readonly count: number; readonly term: number }
  /** A change of the configuration that cannot be made now; an empty entry took its place at `index`. */
  | { readonly kind: 'refused'; readonly because: ConfChangeRefusal; readonly index: number; readonly term: number }
  | { readonly kind: 'forwarded'; readonly leader: PeerId }
  | { readonly kind: 'not-leader'; readonly leader: PeerId }
  | { readonly kind: 'dropped'; readonly because: 'no-leader' | 'transfer' | 'uncommitted-limit' | 'not-member' }
  | { readonly kind: 'too-large'; readonly sizeBytes: number; readonly limitBytes: number };

export type ConfChangeRefusal = 'pending-change' | 'must-leave-joint' | 'not-joint';

/** What `step` did with its input. `unknown-…` and `malformed` left the state as it was. */
export type StepOutcome =
  | { readonly kind: 'stepped' }
  /** A reply from somebody who is not (or no longer) a member. */
  | { readonly kind: 'unknown-peer'; readonly peer: PeerId }
  | { readonly kind: 'unknown-version'; readonly version: number }
  /** Entries that do not follow on one another. */
  | { readonly kind: 'malformed' }
  /** What became of forwarded proposals. */
  | ProposeOutcome;

/** What became of a wish to hand leadership over. */
export type TransferOutcome =
  | { readonly kind: 'started' | 'already-leader' | 'in-progress' }
  | { readonly kind: 'forwarded'; readonly leader: PeerId }
  | { readonly kind: 'refused'; readonly because: 'no-leader' | 'not-voter' | 'too-far-behind'; readonly lag: number };

// ---------------------------------------------------------------------------------------------------- configuration

/** What the core reads of the stored log; synchronous, from memory. A failed read throws and ends the node. */
export interface LogStorage {
  readonly initialState: () => { readonly hardState: HardState; readonly confState: ConfState };
  /** Index of the oldest entry that `entries` can give; its predecessor's term is known too. */
  readonly firstIndex: () => number;
  readonly lastIndex: () => number;
  /** In [firstIndex - 1, lastIndex]; undefined outside. */
  readonly term: (index: number) => number | undefined;
  /**
   * Entries of [low, high), at least one, then as many as fit into `maxBytes` (counted with `entrySize`).
   * Undefined when `low` was compacted away. The caller never changes the array.
   */
  readonly entries: (low: number, high: number, maxBytes: number) => readonly Entry[] | undefined;
  /** Newest snapshot; undefined when none can be had right now (asked again later). */
  readonly snapshot: () => Snapshot | undefined;
}

export interface RaftConfig {
  readonly id: PeerId;
  readonly storage: LogStorage;
  /** What the application has applied when the node starts. */
  readonly applied: number;
  /** An election begins after a random number of ticks in [electionTicks, 2 * electionTicks). */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Whole number in [0, bound), from outside. */
  readonly random: (bound: number) => number;
  readonly asyncStorage: boolean;

  /** 0 = one entry a message. */
  readonly messageBytesMax: number;
  /** Committed entries handed out and not yet acknowledged as applied. */
  readonly applyingBytesMax: number;
  /** Payload of the leader's uncommitted entries; beyond it proposals are dropped. */
  readonly uncommittedBytesMax: number;
  /** Payload of one proposal. */
  readonly proposalBytesMax: number;
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  /** A transferee further behind than this many entries is refused. */
  readonly transferLagMax: number;

  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  /** A leader that was removed or demoted steps down when it applies that. */
  readonly stepDownOnRemoval: boolean;
  readonly forwardProposals: boolean;
  /** Votes and their answers carry the commit index, so that an apply-time joint change cannot strand a group (bug B21). */
  readonly commitByVote: boolean;
  /** For vectors alone: the driver never sets these. */
  readonly leaseReads: boolean;
  readonly checkConfChanges: boolean;

  /** Called with each event in order; never throws, never calls back. */
  readonly trace?: ((event: TraceEvent) => void) | undefined;
}
