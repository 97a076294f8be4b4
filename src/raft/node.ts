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
import { asV2, configOf, membersOf, planChange } from './core/confchange.js';
import { lastIndex } from './core/log.js';
import {
  createRawNode,
  hasReady,
  propose,
  proposeConfChange,
  type RawNode,
  ready,
  reportSnapshot,
  reportUnreachable,
  stepDown,
  stepNode,
  tickNode,
  transferLeader,
} from './core/rawnode.js';
import type {
  ConfState,
  Message,
  PeerId,
  ProposeOutcome,
  Ready,
  SnapshotRequest,
  SoftState,
  StorageAppend,
  TransferOutcome,
} from './core/types.js';
import { type ApplyQueue, createApplyQueue } from './node/apply-queue.js';
import { createReadQueue, type ReadQueue } from './node/read-queue.js';
import { createSnapshotKeeper, type SnapshotKeeper, snapshotOf } from './node/snapshot-keeper.js';
import { createStorageQueue, type StorageQueue } from './node/storage-queue.js';
import type {
  DropReason,
  MembershipChange,
  NodeOptions,
  NodeProposeOutcome,
  NodeReadOutcome,
  NodeStatus,
} from './node/types.js';
import { createMemoryLog, type MemoryLog } from './storage/memory-log.js';
import type { SnapshotMeta, SnapshotName } from './storage/snapshot-store.js';
import type { StorageAnswer, StorageReply, StorageWork } from './storage/storage-protocol.js';
import type { Arrivals } from './transport.js';

interface Proposal {
  readonly data: Uint8Array;
  readonly done: (outcome: NodeProposeOutcome) => void;
}

export class RaftNode implements Arrivals {
  readonly #options: NodeOptions;
  readonly #storage: StorageQueue;
  readonly #snapshots: SnapshotKeeper;
  readonly #reads: ReadQueue;
  readonly #log: MemoryLog;
  #node: RawNode | undefined;
  #apply: ApplyQueue | undefined;
  #inbox: Message[] = [];
  #proposals: Proposal[] = [];
  #calls: (() => void)[] = [];
  #ticks = 0;
  #turnDue = false;
  #halted = false;
  #announcedTerm = 0;
  #snapshotIndex: number;
  #removedTold = false;
  #snapshotWanted = false;
  /** After a failure the next try waits until this tick. */
  #snapshotNotBefore = 0;
  /** Snapshots from the leader that are not installed yet. */
  #applyHeld = 0;
  /** A snapshot from the leader whose content is being read back. */
  #installing: { readonly index: number; done: boolean } | undefined;

  /** Begins to start: the application is restored from the newest snapshot, then the member takes part. */
  constructor(options: NodeOptions) {
    this.#options = options;
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
      onUnreadable: name => this.#snapshotUnreadable(name),
      onGivenUp: () => {
        this.#snapshotIndex = this.#log.snapshot()?.index ?? 0;
        this.#snapshotNotBefore = this.#ticks + limits.electionTicks;
      },
      onFailure: error => this.#fail(error),
    });
    this.#reads = createReadQueue({
      retryTicks: Math.ceil(limits.electionTicks / 2),
      giveUpTicks: limits.electionTicks * 5,
      firstRequest: 1 + options.random(2 ** 31) * 2 ** 21,
    });
    const { state, snapshot } = opened;
    this.#snapshotIndex = snapshot?.index ?? 0;
    this.#log = createMemoryLog({
      hardState: state.hardState,
      entries: state.entries,
      snapshot: snapshot && snapshotOf(snapshot),
    });
    if (!snapshot) this.#start(undefined);
    else
      this.#snapshots.load(snapshot, pieces =>
        this.#guarded(() => {
          options.machine.restore(pieces);
          this.#start(snapshot);
        }),
      );
  }

  /** One tick of time. Called at most once per timer, however late that was; `late` says that it was very late. */
  tick(late = false): void {
    const node = this.#node;
    if (!node || this.#halted) return;
    this.#ticks += 1;
    const stuck = late ? 'event-loop' : this.#stuck();
    if (stuck && node.raft.role === 'leader') {
      if (stuck === 'disk' || !this.#handOver()) stepDown(node);
      this.#options.onEvent({ kind: 'stepped-down', because: stuck });
    }
    // While the disk stands still this member can promise nothing: no beats, no elections.
    if (stuck !== 'disk') tickNode(node);
    if (this.#storage.lowSpace() && this.#ticks % this.#options.limits.electionTicks === 0)
      this.#storage.lookForSpace();
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
    if (refusal) {
      done(refusal);
      return;
    }
    this.#proposals.push({ data, done });
    this.#wake();
  }

  /** Proposes a change of the members. One at a time; `committed` = it is in force here. */
  changeMembers(change: MembershipChange, done: (outcome: NodeProposeOutcome) => void): void {
    this.#calls.push(() => {
      const refusal = this.#refusal();
      if (refusal) return done(refusal);
      const node = this.#node!;
      const plan = planChange(configOf(this.#apply!.confState()), asV2(change));
      if (plan.kind === 'refused')
        return done({ kind: 'dropped', because: plan.because === 'not-joint' ? 'not-joint' : 'must-leave-joint' });
      const outcome = proposeConfChange(node, change);
      if (outcome.kind === 'appended') this.#apply!.wait(outcome.index, { term: outcome.term, done });
      else done(refusedOutcome(outcome));
    });
    this.#wake();
  }

  /** `ready` when everything that was committed before this call is applied here. */
  read(done: (outcome: NodeReadOutcome) => void): void {
    if (this.#halted) return done({ kind: 'stopped' });
    if (this.#reads.size() >= this.#options.limits.waitingReadsMax) return done({ kind: 'no-leader' });
    this.#reads.add(done);
    this.#wake();
  }

  /** Hands leadership to another voter, or asks the leader to. */
  transferTo(peer: PeerId): TransferOutcome {
    if (!this.#node || this.#halted) return { kind: 'refused', because: 'no-leader', lag: 0 };
    const outcome = transferLeader(this.#node, peer);
    this.#wake();
    return outcome;
  }

  onStorageReply(reply: StorageReply): void {
    if (!this.#halted) this.#storage.onReply(reply);
  }

  /** Keys and counters of the disk. */
  askStorage(
    work: StorageWork & { readonly kind: 'set-keyring' | 'stats' },
    answer: (answer: StorageAnswer) => void,
  ): void {
    this.#storage.ask(work, answer);
  }

  beginSnapshot(message: SnapshotRequest, answer: (receivedBytes: number | undefined) => void): void {
    if (this.#halted || !this.#node) answer(undefined);
    else this.#snapshots.begin(message, answer);
  }

  snapshotChunk(
    message: SnapshotRequest,
    chunk: { readonly offset: number; readonly bytes: Uint8Array },
    answer: (receivedBytes: number | undefined) => void,
  ): void {
    if (this.#halted) answer(undefined);
    else this.#snapshots.chunk(message, chunk, answer);
  }

  finishSnapshot(message: SnapshotRequest, totalBytes: number, answer: (stored: boolean) => void): void {
    if (this.#halted) return answer(false);
    this.#snapshots.finish(message, totalBytes, stored => {
      if (stored) this.receive(message);
      answer(stored);
    });
  }

  unreachable(peer: PeerId): void {
    this.#call(node => reportUnreachable(node, peer));
  }

  /** Ends: everything that waits is answered. The storage is closed by its owner. */
  stop(): void {
    if (this.#halted) return;
    this.#halt({ kind: 'stopped' });
  }

  status(): NodeStatus {
    const { id } = this.#options;
    const raft = this.#node?.raft;
    return {
      id,
      role: raft?.role ?? 'follower',
      leader: raft?.leader ?? 0,
      term: raft?.term ?? this.#options.opened.state.hardState.term,
      commit: raft?.log.committed ?? 0,
      applied: this.#apply?.applied() ?? 0,
      firstIndex: this.#log.firstIndex(),
      lastIndex: raft ? lastIndex(raft.log) : this.#log.lastIndex(),
      confState: this.#apply?.confState() ?? this.#log.initialState().confState,
      lowSpace: this.#storage.lowSpace(),
      peers:
        raft?.role === 'leader'
          ? raft.tracker.peers.map(peer => ({
              id: peer.id,
              match: peer.match,
              learner: peer.learner,
              active: peer.recentActive,
              state: peer.state,
            }))
          : [],
    };
  }

  /** The core, for the invariants of the simulator and for metrics; not to be changed. */
  get core(): RawNode | undefined {
    return this.#node;
  }

  get isHalted(): boolean {
    return this.#halted;
  }

  #start(snapshot: SnapshotMeta | undefined): void {
    const { id, limits, machine, scheduler, random, trace } = this.#options;
    const applied = snapshot?.index ?? 0;
    this.#node = createRawNode({
      id,
      storage: this.#log,
      applied,
      electionTicks: limits.electionTicks,
      heartbeatTicks: limits.heartbeatTicks,
      random,
      asyncStorage: true,
      messageBytesMax: limits.messageBytesMax,
      applyingBytesMax: limits.applyingBytesMax,
      uncommittedBytesMax: limits.uncommittedBytesMax,
      proposalBytesMax: limits.proposalBytesMax,
      inflightMessagesMax: limits.inflightMessagesMax,
      inflightBytesMax: limits.inflightBytesMax,
      transferLagMax: limits.transferLagMax,
      preVote: true,
      checkQuorum: true,
      stepDownOnRemoval: true,
      forwardProposals: false,
      commitByVote: true,
      leaseReads: false,
      checkConfChanges: true,
      trace,
    });
    this.#apply = createApplyQueue({
      node: () => this.#node!,
      machine,
      scheduler,
      sliceMs: limits.applySliceMs,
      lookEntries: limits.applyLookEntries,
      nowTick: () => this.#ticks,
      applied,
      confState: this.#log.initialState().confState,
      onConfigured: (confState, index) => this.#configured(confState, index),
    });
    this.#options.onEvent({ kind: 'started', applied });
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

  #call(call: (node: RawNode) => void): void {
    this.#calls.push(() => call(this.#node!));
    this.#wake();
  }

  #turn(node: RawNode, apply: ApplyQueue): void {
    this.#storage.drain();
    const inbox = this.#inbox;
    this.#inbox = [];
    for (const message of inbox) stepNode(node, message);
    const calls = this.#calls;
    this.#calls = [];
    for (const call of calls) call();
    this.#proposeAll(node, apply);
    this.#reads.ask(node);
    this.#handleReady(node, apply);
    const more = this.#applyHeld > 0 ? false : apply.run();
    this.#handleReady(node, apply);
    this.#reads.release(apply.applied());
    this.#announce(node, apply);
    this.#takeSnapshotIfDue(apply);
    if (more) this.#wake();
  }

  #handleReady(node: RawNode, apply: ApplyQueue): void {
    while (!this.#halted && hasReady(node)) {
      const work = ready(node);
      if (work.softState) this.#roleChanged(work.softState, node);
      for (const message of work.messages) this.#send(message);
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
    if (snapshot) this.#applyHeld += 1;
    this.#storage.append({ hardState, marker, entries }, { mustSync, done: () => this.#stored(append) });
  }

  /** The batch is on disk: the log in memory follows, and what hung on it may leave. */
  #stored(append: StorageAppend): boolean {
    if (append.snapshot) {
      if (!this.#install(append.snapshot)) return false;
      this.#log.replaceBy(append.snapshot);
    }
    this.#log.append(append.entries);
    for (const response of append.responses) {
      if (response.kind === 'storage-append-done' || response.to === this.#options.id) stepNode(this.#node!, response);
      else this.#send(response);
    }
    return true;
  }

  /** Reads the snapshot back into the application; true when that is done. */
  #install(snapshot: Ready['snapshot'] & object): boolean {
    if (this.#installing?.index === snapshot.index) {
      if (!this.#installing.done) return false;
      this.#installing = undefined;
      this.#applyHeld -= 1;
      return true;
    }
    const installing = { index: snapshot.index, done: false };
    this.#installing = installing;
    this.#snapshots.load(snapshot, pieces => {
      if (this.#halted) return;
      this.#guarded(() => {
        this.#options.machine.restore(pieces);
        this.#apply!.jumpTo(snapshot.index, snapshot.confState);
        this.#snapshotIndex = snapshot.index;
        installing.done = true;
        this.#storage.ask({ kind: 'compact', index: snapshot.index, term: snapshot.term }, () => undefined);
        this.#options.onEvent({ kind: 'snapshot', index: snapshot.index, phase: 'installed' });
        this.#configured(snapshot.confState, snapshot.index);
        this.#wake();
      });
    });
    return false;
  }

  #send(message: Message): void {
    if (message.kind !== 'snapshot') {
      this.#options.transport.send(message);
      return;
    }
    const { to, snapshot } = message;
    const report = (sent: boolean) => this.#call(node => reportSnapshot(node, to, sent));
    if (!membersOf(configOf(snapshot.confState)).includes(to)) {
      // It would be refused: it is from before that member joined. A newer one is due.
      this.#snapshotWanted = true;
      report(false);
      return;
    }
    this.#options.transport.sendSnapshot(message, this.#snapshots.sourceOf(snapshot), report);
  }

  /** All proposals of this turn go together; when that is too much at once, one by one. */
  #proposeAll(node: RawNode, apply: ApplyQueue): void {
    const proposals = this.#proposals;
    if (proposals.length === 0) return;
    this.#proposals = [];
    const refusal = this.#refusal();
    if (refusal) {
      for (const { done } of proposals) done(refusal);
      return;
    }
    const outcome = propose(
      node,
      proposals.map(({ data }) => data),
    );
    if (outcome.kind === 'appended') {
      for (const [place, { done }] of proposals.entries())
        apply.wait(outcome.index + place, { term: outcome.term, done });
    } else if (proposals.length === 1) {
      proposals[0]!.done(refusedOutcome(outcome));
    } else {
      for (const { data, done } of proposals) {
        const single = propose(node, [data]);
        if (single.kind === 'appended') apply.wait(single.index, { term: single.term, done });
        else done(refusedOutcome(single));
      }
    }
  }

  /** Why nothing can be proposed right now, whoever asks. */
  #refusal(): NodeProposeOutcome | undefined {
    const { limits } = this.#options;
    const raft = this.#node?.raft;
    if (this.#halted) return { kind: 'stopped' };
    if (raft?.role !== 'leader') return { kind: 'not-leader', leader: raft?.leader ?? 0 };
    if (this.#storage.lowSpace()) return { kind: 'no-space' };
    if (this.#proposals.length + this.#apply!.waiting() >= limits.waitingProposalsMax)
      return { kind: 'dropped', because: 'overload' };
    if (raft.log.committed - this.#apply!.applied() > limits.applyLagMax)
      return { kind: 'dropped', because: 'apply-lag' };
    return undefined;
  }

  #roleChanged({ role, leader }: SoftState, node: RawNode): void {
    if (role !== 'leader') this.#apply!.giveUpWaiters({ kind: 'unknown' });
    this.#options.onEvent({ kind: 'role', role, leader, term: node.raft.term });
  }

  /** A leader begins its work only when all that earlier leaders committed is applied here. */
  #announce({ raft }: RawNode, apply: ApplyQueue): void {
    if (raft.role !== 'leader' || this.#announcedTerm === raft.term || apply.applied() < raft.termStartIndex) return;
    this.#announcedTerm = raft.term;
    this.#options.onEvent({ kind: 'leading', term: raft.term });
  }

  #configured(confState: ConfState, index: number): void {
    this.#options.onEvent({ kind: 'configured', confState, index });
    const isIn = membersOf(configOf(confState)).includes(this.#options.id);
    if (!isIn && !this.#removedTold) this.#options.onEvent({ kind: 'removed' });
    this.#removedTold = !isIn;
  }

  #takeSnapshotIfDue(apply: ApplyQueue): void {
    const { limits } = this.#options;
    const index = apply.applied();
    if (this.#snapshots.isTaking() || this.#applyHeld > 0 || index === this.#snapshotIndex) return;
    const grown =
      index - this.#snapshotIndex >= limits.snapshotEntries || apply.bytesSinceSnapshot() >= limits.snapshotBytes;
    if ((!grown && !this.#snapshotWanted) || this.#ticks < this.#snapshotNotBefore) return;
    const term = this.#log.term(index);
    if (term === undefined) return;
    apply.snapshotTaken();
    this.#snapshotWanted = false;
    this.#snapshotIndex = index;
    this.#snapshots.take({ index, term, confState: apply.confState() });
  }

  /** The newest snapshot is damaged on disk: the state is good in memory, so another is written in its place. */
  #snapshotUnreadable({ index }: SnapshotName): void {
    if (index !== this.#log.snapshot()?.index || this.#snapshots.isTaking()) return;
    this.#options.onEvent({ kind: 'snapshot', index, phase: 'unreadable' });
    this.#snapshotIndex = index - 1;
    this.#snapshotWanted = true;
  }

  #snapshotTaken(meta: SnapshotMeta): void {
    const { keepEntries, keepBytes } = this.#options.limits;
    this.#log.setSnapshot(snapshotOf(meta));
    this.#log.compact({ entries: keepEntries, bytes: keepBytes });
  }

  /** What has stood still for longer than an election takes. */
  #stuck(): 'disk' | 'apply' | undefined {
    const { electionTicks } = this.#options.limits;
    const tooOld = (tick: number | undefined) => tick !== undefined && this.#ticks - tick > electionTicks;
    if (tooOld(this.#storage.oldestTick())) return 'disk';
    return tooOld(this.#apply!.stuckSinceTick()) ? 'apply' : undefined;
  }

  /** Gives leadership to the voter that is furthest; false when there is nobody. */
  #handOver(): boolean {
    const { raft } = this.#node!;
    const best = raft.tracker.peers
      .filter(peer => peer.id !== raft.id && !peer.learner && peer.recentActive)
      .reduce<{ id: PeerId; match: number } | undefined>(
        (most, peer) => (most && most.match >= peer.match ? most : peer),
        undefined,
      );
    return best !== undefined && ['started', 'in-progress'].includes(transferLeader(this.#node!, best.id).kind);
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#halted) return;
    const failure =
      error instanceof CoveyError
        ? error
        : new CoveyError('bug', 'Cannot go on as a member of the Raft group', { cause: error });
    this.#halt({ kind: 'unknown' });
    this.#options.onEvent({ kind: 'failed', error: failure });
  }

  #halt(outcome: NodeProposeOutcome): void {
    this.#halted = true;
    const proposals = this.#proposals;
    this.#proposals = [];
    for (const { done } of proposals) done({ kind: 'stopped' });
    this.#apply?.giveUpWaiters(outcome.kind === 'stopped' ? { kind: 'unknown' } : outcome);
    this.#reads.giveUp({ kind: 'stopped' });
  }
}

function refusedOutcome(outcome: Exclude<ProposeOutcome, { readonly kind: 'appended' }>): NodeProposeOutcome {
  switch (outcome.kind) {
    case 'forwarded':
      return { kind: 'unknown' };
    case 'refused':
      return { kind: 'dropped', because: outcome.because };
    case 'dropped': {
      const because: DropReason = outcome.because;
      return { kind: 'dropped', because };
    }
    default:
      return outcome;
  }
}
