/**
 * What must hold after every single event, on all members at once: the safety properties of Raft, and the promises of
 * storage and driver. A checker sees everything (also what no member can see) and changes nothing.
 *
 * Not here: linearizability of what clients saw and liveness after healing (run.ts).
 */
import { crc32 } from 'node:zlib';
import { asV2, isJoint } from '../../../src/raft/core/confchange.js';
import { firstIndex, lastIndex, slice, termAt } from '../../../src/raft/core/log.js';
import type { Raft } from '../../../src/raft/core/raft/index.js';
import type { TraceEvent } from '../../../src/raft/core/trace.js';
import type { Entry, Message, PeerId } from '../../../src/raft/core/types.js';
import type { Batch } from '../../../src/raft/storage/batch.js';
import type { LogState } from '../../../src/raft/storage/log-reader.js';
import {
  type DurableLog,
  durableLogOf,
  emptyDurableLog,
  hasDurable,
  isFaithful,
  lastDurable,
  storeBatch,
} from './durable-log.js';

export interface Checks {
  /** The first thing that was wrong. */
  violation(): string | undefined;
  fail(what: string): void;
  /** `raft` = the state in which it happened; undefined while the member is being made. */
  onTrace(event: TraceEvent, raft: Raft | undefined): void;
  onSend(message: Message): void;
  /** A batch went to the storage of this member. */
  onPosted(id: PeerId, batch: Batch): void;
  /** The oldest batch that went there is on disk. */
  onStored(id: PeerId): void;
  onStart(id: PeerId, state: LogState): void;
  onApplied(id: PeerId, index: number, term: number, chain: number): void;
  onRestored(id: PeerId, index: number, chain: number): void;
  /** After an event at this member. */
  afterEvent(raft: Raft): void;
  /** The highest index that any member knows to be committed. */
  committed(): number;
  readonly durable: ReadonlyMap<PeerId, DurableLog>;
}

interface Seen {
  commit: number;
  term: number;
  leaderLast: number;
  leaderTerm: number;
}

interface CheckState {
  violation: string | undefined;
  readonly leaders: Map<number, PeerId>;
  /** By index: the term under which it was committed. */
  readonly committed: number[];
  /** By index: the term of the first member seen to know it; it was committed in that term or before. */
  readonly committedIn: number[];
  readonly applied: Map<number, { readonly term: number; readonly chain: number }>;
  readonly durable: Map<PeerId, DurableLog>;
  readonly posted: Map<PeerId, Batch[]>;
  readonly seen: Map<PeerId, Seen>;
  readonly lastApplied: Map<PeerId, number>;
  /** By (index, term): predecessor's term and content of the entry, wherever it was stored. */
  readonly contents: Map<string, { readonly before: number | undefined; readonly hash: number }>;
  readonly elected: Set<PeerId>;
}

export function createChecks(): Checks {
  const state: CheckState = {
    violation: undefined,
    leaders: new Map(),
    committed: [],
    committedIn: [],
    applied: new Map(),
    durable: new Map(),
    posted: new Map(),
    seen: new Map(),
    lastApplied: new Map(),
    contents: new Map(),
    elected: new Set(),
  };
  const fail = (what: string) => {
    state.violation ??= what;
  };
  const durableOf = (id: PeerId) => {
    let log = state.durable.get(id);
    if (!log) {
      log = emptyDurableLog();
      state.durable.set(id, log);
    }
    return log;
  };
  return {
    violation: () => state.violation,
    fail,
    durable: state.durable,
    committed: () => state.committed.length - 1,
    onTrace(event, raft) {
      if (event.kind === 'became' && event.role === 'leader') {
        const before = state.leaders.get(event.term);
        if (before !== undefined && before !== event.id)
          fail(`election safety: ${before} and ${event.id} both lead term ${event.term}`);
        state.leaders.set(event.term, event.id);
        state.elected.add(event.id);
      }
      if (event.kind === 'committed' && raft?.role === 'leader') checkDurable(state, raft, event.index, fail);
    },
    onSend: message => checkSend(message, durableOf(message.from), fail),
    onPosted(id, batch) {
      const list = state.posted.get(id);
      if (list) list.push(batch);
      else state.posted.set(id, [batch]);
    },
    onStored(id) {
      const batch = state.posted.get(id)?.shift();
      if (!batch) return fail(`member ${id}: storage acknowledged what was never given to it`);
      const log = durableOf(id);
      if (batch.hardState && batch.hardState.term < log.term)
        fail(`member ${id}: stored term fell from ${log.term} to ${batch.hardState.term}`);
      if (batch.hardState && batch.hardState.term === log.term && log.vote !== 0 && batch.hardState.vote !== log.vote) {
        fail(`member ${id}: vote in term ${log.term} changed from ${log.vote} to ${batch.hardState.vote}`);
      }
      storeBatch(log, batch);
      for (const entry of batch.entries) checkContent(state, log, entry, fail);
    },
    onStart(id, found) {
      const onTheWay = state.posted.get(id) ?? [];
      const now = durableLogOf(found);
      if (!isFaithful(durableOf(id), onTheWay, now)) {
        fail(
          `member ${id}: after a restart its log is ${show(now)}; promised was ${show(durableOf(id))} and ${onTheWay.length} batches on the way`,
        );
      }
      state.durable.set(id, now);
      state.posted.delete(id);
      state.seen.delete(id);
      state.lastApplied.delete(id);
      state.elected.delete(id);
    },
    onApplied(id, index, term, chain) {
      const before = state.lastApplied.get(id) ?? 0;
      if (index <= before) fail(`member ${id}: entry ${index} applied after entry ${before}`);
      state.lastApplied.set(id, index);
      const known = state.applied.get(index);
      if (!known) state.applied.set(index, { term, chain });
      else if (known.term !== term || known.chain !== chain)
        fail(`state machine safety: member ${id} applied another entry (or another history) at ${index}`);
    },
    onRestored(id, index, chain) {
      state.lastApplied.set(id, index);
      const known = state.applied.get(index);
      if (known && known.chain !== chain)
        fail(`member ${id}: the snapshot at ${index} is not what replaying the log gives`);
    },
    afterEvent: raft => checkMember(state, raft, fail),
  };
}

/** A reply that needs durability must not leave before what it says is on disk. */
function checkSend(message: Message, log: DurableLog, fail: (what: string) => void): void {
  if (
    message.kind === 'vote-reply' &&
    !message.reject &&
    (log.term < message.term || (log.term === message.term && log.vote !== message.to))
  ) {
    fail(`member ${message.from}: its vote for ${message.to} in term ${message.term} left before it was on disk`);
  }
  // An acknowledgement of an older term may leave late, when a newer leader has shortened the log already: it was true.
  const timely = message.kind === 'append-reply' && !message.reject && log.term <= message.term;
  if (timely && message.index > lastDurable(log)) {
    fail(`member ${message.from}: it acknowledged entry ${message.index}, on disk is ${lastDurable(log)}`);
  }
}

function checkContent(state: CheckState, log: DurableLog, entry: Entry, fail: (what: string) => void): void {
  if (entry.index <= log.snapshotIndex) return;
  const place = entry.index - log.snapshotIndex - 1;
  const before = place > 0 ? log.terms[place - 1] : log.snapshotTerm;
  const hash = entry.kind === 'normal' ? crc32(entry.data) : crc32(JSON.stringify(asV2(entry.change).changes));
  const key = `${entry.index}.${entry.term}`;
  const known = state.contents.get(key);
  if (!known) state.contents.set(key, { before, hash });
  else if (known.before !== before || known.hash !== hash) fail(`log matching: two different entries ${key}`);
  if (before !== undefined && before > entry.term) fail(`terms fall in a log: entry ${key} after term ${before}`);
}

function checkMember(state: CheckState, raft: Raft, fail: (what: string) => void): void {
  const seen = state.seen.get(raft.id) ?? { commit: 0, term: 0, leaderLast: 0, leaderTerm: 0 };
  state.seen.set(raft.id, seen);
  const { log } = raft;
  const last = lastIndex(log);
  if (raft.term < seen.term) fail(`member ${raft.id}: term fell from ${seen.term} to ${raft.term}`);
  if (log.committed < seen.commit) fail(`member ${raft.id}: commit fell from ${seen.commit} to ${log.committed}`);
  if (log.committed > last) fail(`member ${raft.id}: commit ${log.committed} is beyond its log (${last})`);
  if (log.applied > log.committed) fail(`member ${raft.id}: applied ${log.applied} is beyond commit ${log.committed}`);
  if (raft.role === 'leader') checkLeader(state, raft, fail);
  for (let index = seen.commit + 1; index <= log.committed; index += 1) recordCommitted(state, raft, index, fail);
  if (state.elected.delete(raft.id) && raft.role === 'leader') {
    checkComplete(state, raft, fail);
    checkElected(state, raft, fail);
  }
  seen.commit = log.committed;
  seen.term = raft.term;
}

function checkLeader(state: CheckState, raft: Raft, fail: (what: string) => void): void {
  const seen = state.seen.get(raft.id)!;
  const last = lastIndex(raft.log);
  if (seen.leaderTerm === raft.term && last < seen.leaderLast)
    fail(`leader ${raft.id} shortened its log from ${seen.leaderLast} to ${last}`);
  if (seen.leaderTerm !== raft.term || seen.leaderLast !== last) checkPendingChanges(raft, fail);
  seen.leaderTerm = raft.term;
  seen.leaderLast = last;
  for (const peer of raft.tracker.peers) {
    if (peer.match >= peer.next)
      fail(`leader ${raft.id}: match ${peer.match} is not before next ${peer.next} of ${peer.id}`);
    if (peer.match > last) fail(`leader ${raft.id}: match ${peer.match} of ${peer.id} is beyond its log`);
    const durable = state.durable.get(peer.id);
    // In a newer term another leader may have shortened what this one only hoped to commit.
    const ours = durable && peer.id !== raft.id && durable.term <= raft.term;
    if (ours && peer.match > lastDurable(durable)) {
      fail(`leader ${raft.id}: match ${peer.match} of ${peer.id}, on whose disk is ${lastDurable(durable)}`);
    }
    if (peer.id === raft.id && peer.learner && !isJoint(raft.tracker.config)) fail(`learner ${raft.id} leads`);
  }
  if (raft.log.committed === last && raft.uncommittedBytes !== 0) {
    fail(`leader ${raft.id}: ${raft.uncommittedBytes} uncommitted bytes although all is committed`);
  }
}

/** One change of the members at a time: a second one waits until the first is applied. */
function checkPendingChanges(raft: Raft, fail: (what: string) => void): void {
  const tail = slice(raft.log, raft.log.applied + 1, lastIndex(raft.log) + 1, Number.POSITIVE_INFINITY) ?? [];
  const changes = tail.filter(entry => entry.kind !== 'normal');
  if (changes.length > 1)
    fail(
      `leader ${raft.id}: changes of the members at ${changes.map(entry => entry.index).join(', ')} are pending together`,
    );
}

function recordCommitted(state: CheckState, raft: Raft, index: number, fail: (what: string) => void): void {
  const term = termAt(raft.log, index);
  if (term === undefined) return;
  const known = state.committed[index];
  if (known !== undefined && known !== term)
    fail(`member ${raft.id} committed ${index}.${term}, but ${index}.${known} is committed`);
  if (known === undefined) {
    // Indexes that only a snapshot brought are filled in with what is learnt later.
    state.committed[index] = term;
    state.committedIn[index] = raft.term;
  }
}

/** A new leader has everything that was committed in earlier terms. */
function checkComplete(state: CheckState, raft: Raft, fail: (what: string) => void): void {
  for (let index = firstIndex(raft.log); index < state.committed.length; index += 1) {
    const term = state.committed[index];
    if (term !== undefined && state.committedIn[index]! < raft.term && termAt(raft.log, index) !== term) {
      fail(`leader completeness: ${raft.id} leads term ${raft.term} without the committed entry ${index}.${term}`);
      return;
    }
  }
}

/** Who leads has on disk the votes of a quorum of each half of the configuration (or those voters have moved on since). */
function checkElected(state: CheckState, raft: Raft, fail: (what: string) => void): void {
  const { incoming, outgoing } = raft.tracker.config.voters;
  const own = state.durable.get(raft.id);
  if (own?.term !== raft.term || own.vote !== raft.id) {
    fail(
      `${raft.id} leads term ${raft.term} although its own disk says term ${own?.term}, vote ${own?.vote}: it could win this term twice`,
    );
  }
  for (const half of [incoming, outgoing]) {
    const granted = half.filter(id => {
      const durable = state.durable.get(id);
      return (
        durable !== undefined && (durable.term > raft.term || (durable.term === raft.term && durable.vote === raft.id))
      );
    });
    if (half.length > 0 && granted.length * 2 <= half.length) {
      fail(
        `${raft.id} leads term ${raft.term} with the votes of ${granted.join(', ') || 'nobody'} of ${half.join(', ')}`,
      );
    }
  }
}

/** What a leader counts as committed is on the disks of a quorum of each half of the configuration. */
function checkDurable(state: CheckState, raft: Raft, index: number, fail: (what: string) => void): void {
  const term = termAt(raft.log, index);
  if (term === undefined) return;
  if (term !== raft.term)
    fail(`leader ${raft.id} of term ${raft.term} committed entry ${index}.${term} by counting (paper 5.4.2)`);
  const { incoming, outgoing } = raft.tracker.config.voters;
  for (const half of [incoming, outgoing]) {
    const holders = half.filter(id => hasDurable(state.durable.get(id) ?? emptyDurableLog(), index, term));
    if (half.length > 0 && holders.length * 2 <= half.length) {
      fail(
        `leader ${raft.id} committed ${index}.${term}, which is on the disks of ${holders.join(', ') || 'nobody'} of ${half.join(', ')}`,
      );
    }
  }
}

function show(log: DurableLog): string {
  return `term ${log.term}, vote ${log.vote}, snapshot ${log.snapshotIndex}, entries to ${lastDurable(log)} (${log.terms.slice(-5).join(' ')})`;
}
