/**
 * Drives one member of a Raft group: hands inputs to the core, and the core's outputs to disk, network and application.
 *
 *     inbox, ticks, proposals, reads ──► one turn: step all, then ready() until there is nothing to do
 *       messages       leave at once
 *       storageAppend  goes to the storage; its replies leave when it is on disk, in order
 *       storageApply   goes to the application in slices
 *
 * Keeps true: nothing that needs durability leaves early; a member whose disk failed says nothing more; a leader whose disk
 * or application stands still longer than an election gives leadership away. No timer, promise or clock of its own.
 *
 * Called by: group-log.ts (timers, promises), the simulator. Not here: the rules (core/), the disk (storage/).
 */
import { CoveyError } from '../errors.js';
import * as core from './core/rawnode.js';
import type {
  Message,
  PeerId,
  Snapshot,
  SnapshotRequest,
  SoftState,
  StorageAppend,
  TransferOutcome,
} from './core/types.js';
import { type Announcer, createAnnouncer } from './node/announcer.js';
import { type ApplyQueue, createApplyQueue } from './node/apply-queue.js';
import { coreConfig } from './node/core-config.js';
import { proposeChange, proposeTogether, refusalOf, type WaitingProposal } from './node/proposals.js';
import { createReadQueue, type ReadQueue } from './node/read-queue.js';
import { createSender, type Sender } from './node/sender.js';
import { createSnapshotInstaller, restoreInSlices, type SnapshotInstaller } from './node/snapshot-installer.js';
import { createSnapshotKeeper, type SnapshotKeeper, snapshotOf } from './node/snapshot-keeper.js';
import { createSnapshotPolicy, type SnapshotPolicy } from './node/snapshot-policy.js';
import { campaignAfterEnd, findStuck, handOver, isOnlyVoter, mayFollow, statusOf } from './node/status.js';
import { createStorageQueue, type StorageQueue } from './node/storage-queue.js';
import type { MembershipChange, NodeOptions, NodeProposeOutcome, NodeReadOutcome, NodeStatus } from './node/types.js';
import { createMemoryLog, type MemoryLog } from './storage/memory-log.js';
import type { SnapshotMeta } from './storage/snapshot-store.js';
import type { OwnerWork, StorageAnswer, StorageReply } from './storage/storage-protocol.js';
import type { Arrivals, ArrivingChunk } from './transport.js';

export class RaftNode implements Arrivals {
  readonly #options: NodeOptions;
  readonly #storage: StorageQueue;
  readonly #snapshots: SnapshotKeeper;
  readonly #reads: ReadQueue;
  readonly #log: MemoryLog;
  #node: core.RawNode | undefined;
  #apply: ApplyQueue | undefined;
  #inbox: Message[] = [];
  #proposals: WaitingProposal[] = [];
  #calls: (() => void)[] = [];
  #ticks = 0;
  #turnDue = false;
  #halted = false;
  readonly #policy: SnapshotPolicy;
  readonly #sender: Sender;
  readonly #installer: SnapshotInstaller;
  readonly #announcer: Announcer;

  /** Begins to start: the application is restored from the newest snapshot, then the member takes part. */
  constructor(options: NodeOptions) {
    this.#options = options;
    this.#announcer = createAnnouncer(options.id, options.onEvent);
    const { limits, opened } = options;
    this.#storage = createStorageQueue({
      port: options.storage,
      nowTick: () => this.#ticks,
      wake: () => this.#wake(),
      onFailure: error => this.#fail(error),
    });
    this.#snapshots = createSnapshotKeeper({
      storage: this.#storage,
      machine: options.machine,
      onEvent: options.onEvent,
      onTaken: meta => this.#snapshotTaken(meta),
      onUnreadable: ({ index }) => {
        if (index !== this.#log.snapshot()?.index || this.#snapshots.isTaking()) return;
        this.#options.onEvent({ kind: 'snapshot', index, phase: 'unreadable' });
        this.#policy.replace(index);
      },
      onGivenUp: () => this.#policy.failed(this.#log.snapshot()?.index ?? 0),
      onFailure: error => this.#fail(error),
    });
    this.#sender = createSender({
      transport: options.transport,
      keeper: this.#snapshots,
      onTooOld: () => this.#policy.want(),
      report: (to, sent) => this.#call(node => core.reportSnapshot(node, to, sent)),
    });
    this.#reads = createReadQueue({
      retryTicks: Math.ceil(limits.electionTicks / 2),
      giveUpTicks: limits.electionTicks * 5,
      firstRequest: 1 + options.random(2 ** 31) * 2 ** 21,
    });
    const { state, snapshot } = opened;
    this.#policy = createSnapshotPolicy({ limits, nowTick: () => this.#ticks, index: snapshot?.index ?? 0 });
    const guarded = (work: () => void) => this.#guarded(() => !this.#halted && work());
    const restoring = { ...options, sliceMs: limits.applySliceMs, guarded };
    this.#installer = createSnapshotInstaller({
      storage: this.#storage,
      keeper: this.#snapshots,
      restoring,
      onInstalled: installed => this.#installed(installed),
    });
    this.#log = createMemoryLog({
      hardState: state.hardState,
      entries: state.entries,
      snapshot: snapshot && snapshotOf(snapshot),
    });
    if (!snapshot) this.#start(undefined);
    else this.#snapshots.load(snapshot, pieces => restoreInSlices(restoring, pieces, () => this.#start(snapshot)));
  }

  /** One tick of time. Called at most once per timer, however late that was; `late` says that it was very late. */
  tick(late = false): void {
    const node = this.#node;
    if (!node || this.#halted) return;
    this.#ticks += 1;
    const { electionTicks } = this.#options.limits;
    const since = { disk: this.#storage.oldestTick(), apply: this.#apply!.stuckSinceTick() };
    const stuck = late ? 'event-loop' : findStuck(since, this.#ticks - electionTicks);
    const because = node.raft.role === 'leader' && mayFollow(stuck, this.#apply!.confState(), this.#options.id);
    if (because) {
      if (because === 'disk' || !handOver(node)) core.stepDown(node);
      this.#options.onEvent({ kind: 'stepped-down', because });
    }
    if (stuck !== 'disk') core.tickNode(node); // with a still disk it can promise nothing: no beats, no elections
    if (this.#storage.lowSpace() && this.#ticks % electionTicks === 0) this.#storage.lookForSpace();
    this.#reads.tick(node);
    this.#wake();
  }

  receive(message: Message): void {
    if (this.#halted) return;
    this.#inbox.push(message);
    this.#wake();
  }

  /** Proposes an entry. `done` is called once: when it was applied here, or with why not. */
  propose(data: Uint8Array, done: (outcome: NodeProposeOutcome) => void): void {
    const refusal = this.#refusal();
    if (refusal) return void done(refusal);
    this.#proposals.push({ data, done });
    this.#wake();
  }

  /** Proposes a change of the members. One at a time; `committed` = it is in force here. */
  changeMembers(change: MembershipChange, done: (outcome: NodeProposeOutcome) => void): void {
    this.#call(node => proposeChange({ change, done }, { node, apply: this.#apply!, refusal: this.#refusal() }));
  }

  /** `ready` when everything that was committed before this call is applied here. */
  read(done: (outcome: NodeReadOutcome) => void): void {
    if (this.#halted) done({ kind: 'stopped' });
    else if (this.#reads.size() >= this.#options.limits.waitingReadsMax) done({ kind: 'no-leader' });
    else this.#reads.add(done);
    this.#wake();
  }

  /** Hands leadership to another voter, or asks the leader to. */
  transferTo(peer: PeerId): TransferOutcome {
    if (!this.#node || this.#halted) return { kind: 'refused', because: 'no-leader', lag: 0 };
    const outcome = core.transferLeader(this.#node, peer);
    this.#wake();
    return outcome;
  }

  onStorageReply(reply: StorageReply): void {
    if (!this.#halted) this.#storage.onReply(reply);
  }

  /** Writes the state anew, under the present key: what lies under others may go then. */
  renewSnapshot(): void {
    this.#policy.replace(this.#log.snapshot()?.index ?? 0);
    this.#wake();
  }

  /** Keys and counters of the disk. */
  askStorage(work: OwnerWork, answer: (answer: StorageAnswer) => void): void {
    this.#storage.ask(work, answer);
  }

  beginSnapshot(message: SnapshotRequest, answer: (receivedBytes: number | undefined) => void): void {
    if (this.#halted || !this.#node) answer(undefined);
    else this.#snapshots.begin(message, answer);
  }

  snapshotChunk(
    message: SnapshotRequest,
    chunk: ArrivingChunk,
    answer: (receivedBytes: number | undefined) => void,
  ): void {
    if (this.#halted) answer(undefined);
    else this.#snapshots.chunk(message, chunk, answer);
  }

  finishSnapshot(message: SnapshotRequest, totalBytes: number, answer: (stored: boolean) => void): void {
    if (this.#halted) answer(false);
    else
      this.#snapshots.finish(message, totalBytes, stored => {
        if (stored) this.receive(message);
        answer(stored);
      });
  }

  unreachable(peer: PeerId): void {
    this.#call(node => core.reportUnreachable(node, peer));
  }

  ended(peer: PeerId): void {
    this.#call(node => campaignAfterEnd(node, peer));
  }

  /** Ends: everything that waits is answered. The storage is closed by its owner. */
  stop(): void {
    if (!this.#halted) this.#halt();
  }

  status(): NodeStatus {
    return statusOf(this.#options, {
      raft: this.#node?.raft,
      apply: this.#apply,
      log: this.#log,
      lowSpace: this.#storage.lowSpace(),
    });
  }

  /** The core, for the invariants of the simulator and for metrics; not to be changed. */
  get core(): core.RawNode | undefined {
    return this.#node;
  }

  get isHalted(): boolean {
    return this.#halted;
  }

  #start(snapshot: SnapshotMeta | undefined): void {
    const { limits, machine, scheduler } = this.#options;
    const applied = snapshot?.index ?? 0;
    this.#node = core.createRawNode(coreConfig(this.#options, this.#log, applied));
    this.#apply = createApplyQueue({
      node: () => this.#node!,
      machine,
      scheduler,
      sliceMs: limits.applySliceMs,
      lookEntries: limits.applyLookEntries,
      nowTick: () => this.#ticks,
      applied,
      confState: this.#log.initialState().confState,
      onConfigured: (confState, index) => this.#announcer.configured(confState, index),
    });
    this.#options.onEvent({ kind: 'started', applied });
    // The only voter has nobody to wait for.
    if (isOnlyVoter(this.#log.initialState().confState, this.#options.id)) core.campaign(this.#node);
    this.#wake();
  }

  #wake(): void {
    if (this.#turnDue || this.#halted) return;
    this.#turnDue = true;
    this.#options.scheduler.defer(() => {
      this.#turnDue = false;
      if (!this.#halted && this.#node) this.#guarded(() => this.#turn(this.#node!, this.#apply!));
    });
  }

  #call(call: (node: core.RawNode) => void): void {
    this.#calls.push(() => call(this.#node!));
    this.#wake();
  }

  #turn(node: core.RawNode, apply: ApplyQueue): void {
    this.#storage.drain();
    const inbox = this.#inbox;
    this.#inbox = [];
    for (const message of inbox) core.stepNode(node, message);
    const calls = this.#calls;
    this.#calls = [];
    for (const call of calls) call();
    this.#proposeAll(node, apply);
    this.#reads.ask(node);
    this.#handleReady(node, apply);
    const more = this.#installer.isBusy() ? false : apply.run();
    this.#handleReady(node, apply);
    this.#reads.release(apply.applied());
    this.#announcer.leading(node.raft, apply.applied());
    this.#takeSnapshotIfDue(apply);
    if (more) this.#wake();
  }

  #handleReady(node: core.RawNode, apply: ApplyQueue): void {
    while (!this.#halted && core.hasReady(node)) {
      const work = core.ready(node);
      if (work.softState) this.#roleChanged(work.softState, node);
      for (const message of work.messages) this.#sender.send(message);
      if (work.storageAppend) this.#store(work.storageAppend);
      if (work.storageApply) apply.push(work.storageApply);
      for (const state of work.readStates) this.#reads.onState(state);
      this.#storage.drain();
    }
  }

  #store(append: StorageAppend): void {
    const { hardState, snapshot, entries } = append;
    const marker = snapshot && { index: snapshot.index, term: snapshot.term, replaces: true };
    const mustSync = append.mustSync || snapshot !== undefined;
    // The core stands at the snapshot from now on: what was committed before it must not be applied any more (bug B41).
    if (snapshot) this.#installer.expect();
    this.#storage.append({ hardState, marker, entries }, { mustSync, done: () => this.#stored(append) });
  }

  /** The batch is on disk: the log in memory follows, and what hung on it may leave. */
  #stored(append: StorageAppend): boolean {
    if (append.snapshot) {
      if (!this.#installer.isInstalled(append.snapshot)) return false;
      this.#log.replaceBy(append.snapshot);
    }
    this.#log.append(append.entries);
    for (const response of append.responses) {
      if (response.kind === 'storage-append-done' || response.to === this.#options.id)
        core.stepNode(this.#node!, response);
      else this.#sender.send(response);
    }
    return true;
  }

  /** Why nothing can be proposed right now, whoever asks. */
  #refusal(): NodeProposeOutcome | undefined {
    if (this.#halted) return { kind: 'stopped' };
    return refusalOf(this.#options.limits, {
      raft: this.#node?.raft,
      apply: this.#apply,
      lowSpace: this.#storage.lowSpace(),
      waiting: this.#proposals.length,
    });
  }

  #proposeAll(node: core.RawNode, apply: ApplyQueue): void {
    const proposals = this.#proposals;
    if (proposals.length === 0) return;
    this.#proposals = [];
    proposeTogether(proposals, { node, apply, refusal: this.#refusal() });
  }

  #roleChanged(state: SoftState, node: core.RawNode): void {
    if (state.role !== 'leader') this.#apply!.giveUpWaiters({ kind: 'unknown' });
    this.#announcer.role(state, node.raft.term);
  }

  #takeSnapshotIfDue(apply: ApplyQueue): void {
    const index = apply.applied();
    const busy = this.#snapshots.isTaking() || this.#installer.isBusy();
    const term = this.#log.term(index);
    if (busy || term === undefined || !this.#policy.isDue(index, apply.bytesSinceSnapshot())) return;
    apply.snapshotTaken();
    this.#policy.taking(index);
    this.#snapshots.take({ index, term, confState: apply.confState() });
  }

  #snapshotTaken(meta: SnapshotMeta): void {
    const { keepEntries, keepBytes } = this.#options.limits;
    this.#log.setSnapshot(snapshotOf(meta));
    this.#log.compact({ entries: keepEntries, bytes: keepBytes });
  }

  /** The application now stands at a snapshot from the leader. */
  #installed(snapshot: Snapshot): void {
    this.#apply!.jumpTo(snapshot.index, snapshot.confState);
    this.#policy.taking(snapshot.index);
    this.#options.onEvent({ kind: 'snapshot', index: snapshot.index, phase: 'installed' });
    this.#announcer.configured(snapshot.confState, snapshot.index);
    this.#wake();
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(cause: unknown): void {
    if (this.#halted) return;
    this.#halt();
    const bug = () => new CoveyError('bug', 'Cannot go on as a member of the Raft group', { cause });
    this.#options.onEvent({ kind: 'failed', error: cause instanceof CoveyError ? cause : bug() });
  }

  #halt(): void {
    this.#halted = true;
    const proposals = this.#proposals;
    this.#proposals = [];
    for (const { done } of proposals) done({ kind: 'stopped' });
    this.#apply?.giveUpWaiters({ kind: 'unknown' });
    this.#reads.giveUp({ kind: 'stopped' });
  }
}
