/**
 * The core as its driver sees it: inputs one by one, outputs in batches.
 *
 *     driver                                          core
 *     tick, step, propose, readIndex, …          ──►  changes its state
 *     hasReady / ready                           ──►  hands out what is to be done, and takes it for accepted
 *     (storage does its part, see types.ts)
 *     step(storage-append-done), step(storage-apply-done)  ──►  goes on
 *
 * Keeps true: everything is handed out once and in order; replies that need durability hang on their storage batch.
 * Synchronous mode (`advance`) is for vectors and tests. Used by ../node.ts.
 *
 * Not here: the rules (raft/), storage, sending, applying.
 */
import { CoveyError } from '../../errors.js';
import {
  acceptApplying,
  hasEntriesToStore,
  hasNextCommitted,
  hasUnstableEntries,
  lastIndex,
  lastTerm,
  nextCommitted,
} from './log.js';
import {
  applyConfChange,
  becomeFollower,
  emit,
  handleSnapshotReport,
  handleUnreachable,
  hup,
  type Raft,
  routeProposals,
  routeRead,
  routeTransfer,
  startRaft,
  step,
  tick,
} from './raft/index.js';
import type {
  ConfChange,
  ConfChangeV2,
  ConfState,
  Entry,
  HardState,
  Input,
  Message,
  PeerId,
  Proposal,
  ProposeOutcome,
  RaftConfig,
  Ready,
  Snapshot,
  SoftState,
  StepOutcome,
  StorageAppend,
  StorageAppendDone,
  StorageResponse,
  TransferOutcome,
} from './types.js';
import { entryVersion, nobody } from './types.js';
import { acceptUnstable, nextUnstableEntries, nextUnstableSnapshot } from './unstable.js';

export interface RawNode {
  /** For status and tests; nobody but the rules changes it. */
  readonly raft: Raft;
  softState: SoftState;
  hardState: HardState;
  /** Synchronous mode: what `advance` is going to step. */
  onAdvance: StorageResponse[];
  applyOnAdvance: readonly Entry[];
}

export function createRawNode(config: RaftConfig): RawNode {
  const raft = startRaft(config);
  return { raft, softState: softStateOf(raft), hardState: hardStateOf(raft), onAdvance: [], applyOnAdvance: [] };
}

/** One tick has passed. */
export function tickNode(node: RawNode): void {
  tick(node.raft);
}

/** A message from another member, or an acknowledgement of storage. */
export function stepNode(node: RawNode, input: Input): StepOutcome {
  return step(node.raft, input);
}

/** Starts an election now. */
export function campaign(node: RawNode): void {
  hup(node.raft, node.raft.config.preVote ? 'pre-vote' : 'election');
}

/** Proposes one entry for each element of `data`, together or not at all. */
export function propose(node: RawNode, data: readonly Uint8Array[]): ProposeOutcome {
  if (data.length === 0) throw new CoveyError('bug', 'Cannot propose nothing');
  return proposeAll(
    node,
    data.map(bytes => ({ kind: 'normal', version: entryVersion, data: bytes })),
  );
}

export function proposeConfChange(node: RawNode, change: ConfChange | ConfChangeV2): ProposeOutcome {
  const version = entryVersion;
  return proposeAll(node, [
    'changes' in change ? { kind: 'conf-change-v2', version, change } : { kind: 'conf-change', version, change },
  ]);
}

/** Asks up to which index a read must wait; the answer comes in `readStates`. False if there is no leader to ask. */
export function readIndex(node: RawNode, request: number): boolean {
  return routeRead(node.raft, node.raft.id, request);
}

export function transferLeader(node: RawNode, transferee: PeerId): TransferOutcome {
  return routeTransfer(node.raft, node.raft.id, transferee);
}

/** The application has come to this change in the log. Not called for a change that it strikes out. */
export function applyConfChangeNode(node: RawNode, change: ConfChange | ConfChangeV2): ConfState {
  return applyConfChange(node.raft, change);
}

export function reportUnreachable(node: RawNode, peer: PeerId): void {
  handleUnreachable(node.raft, peer);
}

/** The transport has finished, or given up, sending a snapshot. */
export function reportSnapshot(node: RawNode, peer: PeerId, sent: boolean): void {
  handleSnapshotReport(node.raft, peer, sent);
}

/** A leader that cannot do its work (its disk or its application stands still) becomes a follower of nobody. */
export function stepDown(node: RawNode): void {
  if (node.raft.role === 'leader') becomeFollower(node.raft, node.raft.term, nobody);
}

/** For vectors alone: a follower forgets its leader, and so may vote for another. */
export function forgetLeader(node: RawNode): void {
  const { raft } = node;
  if (raft.role !== 'follower' || raft.config.leaseReads || raft.leader === nobody) return;
  emit(raft, { kind: 'leader-forgotten', leader: raft.leader });
  raft.leader = nobody;
}

export function hasReady(node: RawNode): boolean {
  const { raft } = node;
  return (
    raft.messages.length > 0 ||
    raft.afterAppend.length > 0 ||
    raft.readStates.length > 0 ||
    raft.leader !== node.softState.leader ||
    raft.role !== node.softState.role ||
    hardStateChanged(node) ||
    nextUnstableSnapshot(raft.log.unstable) !== undefined ||
    hasEntriesToStore(raft.log) ||
    hasNextCommitted(raft.log, !raft.config.asyncStorage)
  );
}

/** Hands out all there is to do. In synchronous mode `advance` must follow. */
export function ready(node: RawNode): Ready {
  const { raft } = node;
  const { asyncStorage } = raft.config;
  if (node.onAdvance.length > 0 || node.applyOnAdvance.length > 0) {
    throw new CoveyError('bug', 'Cannot hand out more before the last batch was advanced');
  }
  const softState =
    raft.leader === node.softState.leader && raft.role === node.softState.role ? undefined : softStateOf(raft);
  const hardState = hardStateChanged(node) ? hardStateOf(raft) : undefined;
  const entries = nextUnstableEntries(raft.log.unstable);
  const snapshot = nextUnstableSnapshot(raft.log.unstable);
  const committedEntries = nextCommitted(raft.log, !asyncStorage);
  const mustSync = entries.length > 0 || raft.term !== node.hardState.term || raft.vote !== node.hardState.vote;
  const done = storageAppendDone(raft, snapshot);
  const out: Ready = {
    softState,
    hardState,
    readStates: raft.readStates,
    entries,
    snapshot,
    committedEntries,
    mustSync,
    messages: asyncStorage ? raft.messages : withOthers(raft.messages, raft),
    storageAppend: asyncStorage ? storageAppend(raft, { hardState, snapshot, entries, mustSync, done }) : undefined,
    storageApply:
      asyncStorage && committedEntries.length > 0
        ? {
            kind: 'storage-apply',
            entries: committedEntries,
            done: { kind: 'storage-apply-done', entries: committedEntries },
          }
        : undefined,
  };
  if (!asyncStorage) {
    node.onAdvance = raft.afterAppend.filter(message => message.to === raft.id);
    if (done !== undefined) node.onAdvance.push(done);
    node.applyOnAdvance = committedEntries;
  }
  accept(node, out);
  return out;
}

/** Synchronous mode: the last batch is stored, sent and applied. */
export function advance(node: RawNode): void {
  if (node.raft.config.asyncStorage)
    throw new CoveyError('bug', 'Cannot advance by hand while storage answers by itself');
  const { onAdvance, applyOnAdvance: entries } = node;
  node.onAdvance = [];
  node.applyOnAdvance = [];
  for (const input of onAdvance) step(node.raft, input);
  if (entries.length > 0) step(node.raft, { kind: 'storage-apply-done', entries });
}

function proposeAll(node: RawNode, proposals: readonly Proposal[]): ProposeOutcome {
  return routeProposals(node.raft, node.raft.id, proposals);
}

function accept(node: RawNode, out: Ready): void {
  const { raft } = node;
  if (out.softState !== undefined) node.softState = out.softState;
  if (out.hardState !== undefined) node.hardState = out.hardState;
  raft.readStates = [];
  raft.messages = [];
  raft.afterAppend = [];
  acceptUnstable(raft.log.unstable);
  acceptApplying(raft.log, out.committedEntries, !raft.config.asyncStorage);
}

/** Own acknowledgements come first and the batch's last: counting them is quicker while the entries are in memory. */
function storageAppend(
  raft: Raft,
  batch: Pick<StorageAppend, 'hardState' | 'snapshot' | 'entries' | 'mustSync'> & {
    readonly done: StorageAppendDone | undefined;
  },
): StorageAppend | undefined {
  const { hardState, snapshot, entries, mustSync, done } = batch;
  const waiting: readonly StorageResponse[] = raft.afterAppend;
  if (entries.length === 0 && hardState === undefined && snapshot === undefined && waiting.length === 0)
    return undefined;
  const responses = done === undefined ? waiting : [...waiting, done];
  return { kind: 'storage-append', hardState, snapshot, entries, mustSync, responses };
}

/**
 * What storage is to say when everything so far is on disk. It names the last entry of the whole log, even if this
 * batch holds none: the acknowledgement of the batch that held it may be void because the term has changed since.
 */
function storageAppendDone(raft: Raft, snapshot: Snapshot | undefined): StorageAppendDone | undefined {
  const unstable = hasUnstableEntries(raft.log);
  if (!unstable && snapshot === undefined) return undefined;
  return {
    kind: 'storage-append-done',
    term: raft.term,
    index: unstable ? lastIndex(raft.log) : 0,
    logTerm: unstable ? lastTerm(raft.log) : 0,
    snapshot,
  };
}

function withOthers(messages: Message[], raft: Raft): readonly Message[] {
  for (const message of raft.afterAppend) if (message.to !== raft.id) messages.push(message);
  return messages;
}

function softStateOf(raft: Raft): SoftState {
  return { leader: raft.leader, role: raft.role };
}

function hardStateOf(raft: Raft): HardState {
  return { term: raft.term, vote: raft.vote, commit: raft.log.committed };
}

function hardStateChanged({ raft, hardState }: RawNode): boolean {
  return raft.term !== hardState.term || raft.vote !== hardState.vote || raft.log.committed !== hardState.commit;
}
