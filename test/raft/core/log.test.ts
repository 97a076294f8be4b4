/**
 * The log (storage plus unstable part) against one plain array, through appends, conflicts, late and repeated messages,
 * writes that finish late, compaction and snapshots.
 */
import fc from 'fast-check';
import t from 'tap';
import {
  acceptApplying,
  appendEntries,
  appliedTo,
  commitTo,
  createLog,
  firstIndex,
  guessMatch,
  isUpToDate,
  lastIndex,
  lastTerm,
  nextCommitted,
  type RaftLog,
  restoreLog,
  slice,
  snapshotStored,
  termAt,
  tryAppend,
} from '../../../src/raft/core/log.js';
import { entriesSize, entrySize } from '../../../src/raft/core/sizes.js';
import type { Entry } from '../../../src/raft/core/types.js';
import { acceptUnstable, nextUnstableEntries, stabilize } from '../../../src/raft/core/unstable.js';
import { MemoryStorage, noConfState } from '../memory-storage.js';
import { entry, unlimited } from './network.js';
import { randomFrom } from './random.js';

/** Terms of the whole log from index 1 on; what is below `compacted` cannot be read any more. */
interface Model {
  terms: number[];
  committed: number;
  applied: number;
  compacted: number;
}

interface World {
  readonly log: RaftLog;
  readonly storage: MemoryStorage;
  readonly model: Model;
  /** Writes under way: what storage will do, in order. */
  readonly writes: {
    readonly entries: readonly Entry[];
    readonly last: number;
    readonly lastTerm: number;
    readonly epoch: number;
  }[];
  /** Grows when the log is cut: only acknowledgements of the same epoch count, as with terms. */
  epoch: number;
}

function makeWorld(applyingBytesMax: number): World {
  const storage = new MemoryStorage();
  const model = { terms: [], committed: 0, applied: 0, compacted: 0 };
  return { log: createLog(storage, applyingBytesMax), storage, model, writes: [], epoch: 0 };
}

const actions: Readonly<Record<string, (world: World, draw: (bound: number) => number) => void>> = {
  append(world, draw) {
    const { log, model } = world;
    const term = (model.terms.at(-1) ?? 0) + draw(2);
    const entries = Array.from({ length: 1 + draw(4) }, (_, at) =>
      entry(model.terms.length + 1 + at, Math.max(term, 1), 'x'.repeat(draw(30))),
    );
    appendEntries(log, entries);
    model.terms.push(...entries.map(each => each.term));
  },
  conflict(world, draw) {
    const { log, model } = world;
    if (model.terms.length <= model.committed) return;
    const prevIndex = model.committed + draw(model.terms.length - model.committed);
    const term = model.terms.at(-1)! + 1;
    const entries = Array.from({ length: 1 + draw(3) }, (_, at) => entry(prevIndex + 1 + at, term));
    const result = tryAppend(log, { prevIndex, prevTerm: model.terms[prevIndex - 1] ?? 0, entries, commit: 0 });
    if (result.kind !== 'accepted' || result.conflict?.index !== prevIndex + 1)
      throw new Error('a conflict was not seen');
    model.terms.splice(prevIndex, model.terms.length, ...entries.map(each => each.term));
    world.epoch++;
  },
  repeat(world, draw) {
    const { log, model } = world;
    const from = model.compacted + draw(model.terms.length - model.compacted + 1);
    const to = from + draw(model.terms.length - from + 1);
    const entries = model.terms.slice(from, to).map((term, at) => entry(from + 1 + at, term));
    if (from < model.committed) return;
    const result = tryAppend(log, { prevIndex: from, prevTerm: model.terms[from - 1] ?? 0, entries, commit: 0 });
    if (result.kind !== 'accepted' || result.conflict !== undefined) throw new Error('a repeated append did not match');
  },
  hand(world) {
    const { log, writes } = world;
    writes.push({
      entries: nextUnstableEntries(log.unstable),
      last: lastIndex(log),
      lastTerm: lastTerm(log),
      epoch: world.epoch,
    });
    acceptUnstable(log.unstable);
  },
  finish(world) {
    const { log, storage, writes } = world;
    const write = writes.shift();
    if (write === undefined) return;
    storage.append(write.entries);
    if (write.epoch === world.epoch && write.last > 0) stabilize(log.unstable, write.last, write.lastTerm);
  },
  commit(world, draw) {
    const { log, model } = world;
    model.committed += draw(model.terms.length - model.committed + 1);
    commitTo(log, model.committed);
  },
  apply(world) {
    const { log, model } = world;
    const entries = nextCommitted(log, false);
    if (entries.length === 0) return;
    if (entries[0]!.index !== model.applied + 1)
      throw new Error(`applied ${model.applied}, handed out ${entries[0]!.index}`);
    acceptApplying(log, entries, false);
    model.applied = entries.at(-1)!.index;
    appliedTo(log, model.applied, entriesSize(entries));
  },
  compact(world, draw) {
    const { storage, model } = world;
    const index =
      model.compacted + draw(Math.max(0, Math.min(model.applied, storage.lastIndex()) - model.compacted) + 1);
    if (storage.compact(index) === undefined) model.compacted = index;
  },
};

function check(world: World, draw: (bound: number) => number): void {
  const { log, model } = world;
  const wrong = (what: string) => {
    throw new Error(`${what}: ${JSON.stringify(model)}`);
  };
  if (lastIndex(log) !== model.terms.length) wrong(`last index ${lastIndex(log)}`);
  if (firstIndex(log) !== model.compacted + 1) wrong(`first index ${firstIndex(log)}`);
  for (let at = 0; at <= model.terms.length + 1; at++) {
    const expected = at < model.compacted || at > model.terms.length ? undefined : at === 0 ? 0 : model.terms[at - 1];
    if (termAt(log, at) !== expected) wrong(`term at ${at} is ${termAt(log, at)}`);
  }
  const low = 1 + draw(model.terms.length + 1);
  const high = low + draw(model.terms.length + 2 - low);
  const maxBytes = draw(2) === 0 ? unlimited : draw(120);
  const read = slice(log, low, high, maxBytes);
  if (low <= model.compacted) {
    if (read !== undefined) wrong(`read compacted ${low}`);
    return;
  }
  if (read === undefined) throw new Error(`could not read [${low}, ${high})`);
  if (read.some((each, at) => each.index !== low + at || each.term !== model.terms[each.index - 1]))
    wrong(`read of [${low}, ${high})`);
  if (high > low && read.length === 0) wrong('nothing read');
  if (read.length > 1 && entriesSize(read) > maxBytes) wrong('too much read');
  if (read.length < high - low && read.length > 0) {
    const next = slice(log, low + read.length, low + read.length + 1, unlimited)![0]!;
    if (entriesSize(read) + entrySize(next) <= maxBytes) wrong('too little read');
  }
}

t.test('the log reads like one array, whatever is on disk and whatever is not', async t => {
  const names = Object.keys(actions);
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...names), { maxLength: 60 }),
      fc.integer(),
      fc.constantFrom(1, 100, unlimited),
      (list, seed, bytes) => {
        const draw = randomFrom(seed);
        const world = makeWorld(bytes);
        for (const name of list) {
          actions[name]!(world, draw);
          check(world, draw);
        }
        while (world.writes.length > 0) actions['finish']!(world, draw);
        actions['hand']!(world, draw);
        actions['finish']!(world, draw);
        for (let applied = -1; applied !== world.model.applied; ) {
          applied = world.model.applied;
          actions['apply']!(world, draw);
        }
        // Everything committed was handed out once, in order, whatever the page size.
        return world.model.applied === world.model.committed && world.log.unstable.entries.length === 0;
      },
    ),
    { numRuns: 600 },
  );
  t.pass();
});

t.test('the guess where logs match never goes below the last place where they do', async t => {
  const terms = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 12 }).map(steps => {
    let term = 1;
    return steps.map(step => (term += step));
  });
  fc.assert(
    fc.property(terms, terms, (ours, theirs) => {
      const log = makeWorld(unlimited).log;
      appendEntries(
        log,
        ours.map((term, at) => entry(at + 1, term)),
      );
      let common = 0;
      while (common < Math.min(ours.length, theirs.length) && ours[common] === theirs[common]) common++;
      const index = Math.min(ours.length, theirs.length);
      const guess = guessMatch(log, index, theirs[index - 1] ?? 0);
      return guess.index >= Math.min(common, index) && guess.term === (ours[guess.index - 1] ?? 0);
    }),
  );
  t.pass();
});

t.test('a log is up to date by its last term, then by its length', async t => {
  const { log } = makeWorld(unlimited);
  appendEntries(log, [entry(1, 1), entry(2, 2)]);
  t.equal(isUpToDate(log, 1, 3), true);
  t.equal(isUpToDate(log, 2, 2), true);
  t.equal(isUpToDate(log, 1, 2), false);
  t.equal(isUpToDate(log, 9, 1), false);
});

t.test('what is committed is never replaced, what is not there is never committed', async t => {
  const { log } = makeWorld(unlimited);
  appendEntries(log, [entry(1, 1), entry(2, 1)]);
  commitTo(log, 2);
  t.throws(() => appendEntries(log, [entry(2, 5)]), { code: 'bug' });
  t.throws(() => commitTo(log, 3), { code: 'bug' });
  commitTo(log, 1);
  t.equal(log.committed, 2, 'never falls');
  t.throws(() => appliedTo(log, 3, 0), { code: 'bug' });
});

t.test('a snapshot is where the log begins from then on, before it is stored and after', async t => {
  const { log, storage } = makeWorld(unlimited);
  appendEntries(log, [entry(1, 1), entry(2, 1)]);
  const snapshot = { version: 1, index: 9, term: 4, confState: noConfState, data: new Uint8Array(0) };
  restoreLog(log, snapshot);
  t.same([firstIndex(log), lastIndex(log), termAt(log, 9), termAt(log, 8), log.committed], [10, 9, 4, undefined, 9]);
  t.same(nextCommitted(log, true), [], 'nothing is applied before the snapshot');
  storage.applySnapshot(snapshot);
  snapshotStored(log, { ...snapshot, index: 5 });
  t.not(log.unstable.snapshot, undefined, 'another snapshot says nothing about this one');
  snapshotStored(log, snapshot);
  t.same([firstIndex(log), lastIndex(log), termAt(log, 9)], [10, 9, 4]);
});
