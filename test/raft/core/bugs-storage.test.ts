/**
 * Bugs that other implementations had where the rules meet the disk and the application (numbers as in test/raft/bugs.md).
 */
import fc from 'fast-check';
import t from 'tap';
import {
  applyConfChangeNode,
  campaign,
  createRawNode,
  hasReady,
  propose,
  ready,
  stepNode,
} from '../../../src/raft/core/rawnode.js';
import { entriesSize } from '../../../src/raft/core/sizes.js';
import type { RaftConfig, Ready, StorageAppend, StorageApplyDone } from '../../../src/raft/core/types.js';
import type { MemoryStorage } from '../memory-storage.js';
import { append, voteRequest } from './messages.js';
import { bytes, configFor, diskWith, entry, single, takeMessages } from './network.js';
import { randomFrom } from './random.js';

const three = { voters: [1, 2, 3] };

/** One member whose disk and application answer only when told to. */
class Slow {
  readonly node;
  readonly storage: MemoryStorage;
  readonly appends: StorageAppend[] = [];
  readonly applies: StorageApplyDone[] = [];
  readonly handed: number[] = [];
  commit = 0;

  constructor(storage: MemoryStorage, overrides: Partial<RaftConfig>) {
    this.storage = storage;
    this.node = createRawNode(configFor(1, storage, { asyncStorage: true, ...overrides }));
  }

  /** Takes all there is; returns what was handed out. */
  take(): Ready[] {
    const outs: Ready[] = [];
    while (hasReady(this.node)) {
      const out = ready(this.node);
      outs.push(out);
      if (out.storageAppend !== undefined) this.appends.push(out.storageAppend);
      if (out.storageApply !== undefined) this.applies.push(out.storageApply.done);
      this.handed.push(...out.committedEntries.map(each => each.index));
      if (out.hardState !== undefined) {
        if (out.hardState.commit < this.commit) throw new Error('the stored commit index fell');
        this.commit = out.hardState.commit;
      }
    }
    return outs;
  }

  store(): boolean {
    const batch = this.appends.shift();
    if (batch === undefined) return false;
    if (batch.hardState !== undefined) this.storage.hardState = batch.hardState;
    this.storage.append(batch.entries);
    for (const response of batch.responses) if (!('to' in response) || response.to === 1) stepNode(this.node, response);
    return true;
  }

  apply(): boolean {
    const done = this.applies.shift();
    if (done === undefined) return false;
    for (const each of done.entries) if (each.kind !== 'normal') applyConfChangeNode(this.node, each.change);
    stepNode(this.node, done);
    return true;
  }
}

t.test(
  'B30: pages of committed entries skip none, repeat none, and never turn the stored commit index back',
  async t => {
    fc.assert(
      fc.property(fc.integer(), fc.constantFrom(1, 40, 90, 1_000), (seed, applyingBytesMax) => {
        const random = randomFrom(seed);
        const slow = new Slow(diskWith({ voters: [1] }), { applyingBytesMax });
        campaign(slow.node);
        for (let round = 0; round < 60; round++) {
          if (random(2) === 0) propose(slow.node, [bytes('x'.repeat(random(40)))]);
          const outs = slow.take();
          const waiting = slow.applies.flatMap(done => done.entries);
          // The limit is soft by one entry.
          if (entriesSize(waiting.slice(0, -1)) > applyingBytesMax) return false;
          for (const { committedEntries } of outs) {
            if (committedEntries.length > 1 && entriesSize(committedEntries) > applyingBytesMax) return false;
          }
          if (random(2) === 0) slow.store();
          if (random(3) === 0) slow.apply();
        }
        for (let busy = true; busy; ) {
          slow.take();
          const stored = slow.store();
          const applied = slow.apply();
          busy = stored || applied || hasReady(slow.node);
        }
        const { log } = slow.node.raft;
        const expected = Array.from({ length: log.committed }, (_, at) => at + 1);
        return (
          log.applied === log.committed &&
          String(slow.handed) === String(expected) &&
          slow.storage.lastIndex() === log.committed
        );
      }),
      { numRuns: 200 },
    );
    t.pass();
  },
);

t.test('B30: a restart with more committed than one page applies all of it', async t => {
  const storage = diskWith({ voters: [1], terms: [1, 1, 1, 1, 1, 1], commit: 6 });
  const slow = new Slow(storage, { applyingBytesMax: 1 });
  for (let round = 0; round < 10; round++) {
    slow.take();
    slow.apply();
  }
  t.same(slow.handed, [1, 2, 3, 4, 5, 6]);
});

t.test('B32: a batch asks for a sync exactly when entries, term or vote are new', async t => {
  const cases: [string, (slow: Slow) => void, boolean][] = [
    ['a vote', slow => stepNode(slow.node, voteRequest({ from: 2, to: 1, term: 3, lastIndex: 9, lastTerm: 3 })), true],
    [
      'a vote in the term that it has',
      slow => {
        slow.node.raft.vote = 0;
        slow.node.hardState = { ...slow.node.hardState, vote: 0 };
        stepNode(slow.node, voteRequest({ from: 3, to: 1, term: 2, lastIndex: 9, lastTerm: 2 }));
      },
      true,
    ],
    ['a new term', slow => stepNode(slow.node, append({ from: 2, to: 1, term: 3, prevIndex: 2, prevTerm: 1 })), true],
    [
      'entries',
      slow =>
        stepNode(slow.node, append({ from: 2, to: 1, term: 2, prevIndex: 2, prevTerm: 1, entries: [entry(3, 2)] })),
      true,
    ],
    [
      'a commit index',
      slow => stepNode(slow.node, append({ from: 2, to: 1, term: 2, prevIndex: 2, prevTerm: 1, commit: 2 })),
      false,
    ],
    [
      'an append that is there',
      slow =>
        stepNode(slow.node, append({ from: 2, to: 1, term: 2, prevIndex: 1, prevTerm: 1, entries: [entry(2, 1)] })),
      false,
    ],
  ];
  for (const [what, act, mustSync] of cases) {
    const slow = new Slow(diskWith({ ...three, terms: [1, 1], term: 2, vote: 2 }), {});
    act(slow);
    const [out] = slow.take();
    t.equal(out?.mustSync, mustSync, what);
    t.equal(out?.storageAppend?.mustSync, mustSync, `${what}, in its batch`);
  }
});

t.test('B33: a member alone has nothing committed before its disk has it, and nothing applied either', async t => {
  const slow = new Slow(diskWith({ voters: [1] }), {});
  campaign(slow.node);
  slow.take();
  while (slow.store()) slow.take();
  propose(slow.node, [bytes('x')]);
  slow.take();
  const { log } = slow.node.raft;
  t.equal(log.committed, 1);
  slow.take();
  t.same(slow.handed, [1], 'entry 2 is on its way to the disk');
  slow.store();
  t.equal(log.committed, 2);
  slow.take();
  t.same(slow.handed, [1, 2]);
});

t.test('B33: a follower applies nothing that is not on its own disk, even if a quorum has it', async t => {
  const slow = new Slow(diskWith(three), {});
  stepNode(slow.node, append({ from: 2, to: 1, term: 1, entries: [entry(1, 1), entry(2, 1)], commit: 2 }));
  slow.take();
  t.same(slow.handed, []);
  t.equal(slow.node.raft.log.committed, 2);
  slow.store();
  slow.take();
  t.same(slow.handed, [1, 2]);
});

t.test('B35: what was applied was committed, even if the commit index was not synced', async t => {
  const storage = diskWith({ ...three, terms: [1, 1, 1, 1], commit: 1 });
  const node = createRawNode(configFor(1, storage, { applied: 3 }));
  t.same([node.raft.log.committed, node.raft.log.applied], [3, 3]);
  t.equal(hasReady(node), false, 'nothing is applied again');
  const broken = diskWith({ ...three, terms: [1], commit: 4 });
  t.throws(() => createRawNode(configFor(1, broken)), { code: 'bug' }, 'a log that lost committed entries is not used');
});

t.test(
  'acknowledgements of an older term trim nothing: the same place may be on its way to the disk again',
  async t => {
    // Entries of term 1, then of term 2, then the first ones again, all unstored (the A-B-A of asynchronous writes).
    const slow = new Slow(diskWith({ voters: [1, 2, 3, 4, 5] }), {});
    const { node } = slow;
    stepNode(node, append({ from: 2, to: 1, term: 1, entries: [entry(1, 1)] }));
    slow.take();
    stepNode(node, append({ from: 3, to: 1, term: 2, entries: [entry(1, 2)] }));
    slow.take();
    stepNode(node, append({ from: 2, to: 1, term: 3, entries: [entry(1, 1)] }));
    slow.take();
    t.equal(slow.appends.length, 3);
    slow.store();
    t.equal(
      node.raft.log.unstable.entries.length,
      1,
      'storage has (1, 1), but (1, 2) will overwrite it before (1, 1) comes again',
    );
    slow.store();
    t.equal(node.raft.log.unstable.entries.length, 1);
    slow.store();
    t.equal(node.raft.log.unstable.entries.length, 0);
    t.equal(slow.storage.term(1), 1);
  },
);

t.test('a change of term alone lets entries be trimmed whose own acknowledgement came too late', async t => {
  const slow = new Slow(diskWith(three), {});
  const { node } = slow;
  stepNode(node, append({ from: 2, to: 1, term: 1, entries: [entry(1, 1)] }));
  slow.take();
  stepNode(node, voteRequest({ from: 3, to: 1, term: 2, lastIndex: 1, lastTerm: 1 }));
  slow.take();
  slow.store();
  t.equal(node.raft.log.unstable.entries.length, 1);
  slow.store();
  t.equal(node.raft.log.unstable.entries.length, 0);
});

t.test('an acknowledgement of an append waits for its batch; a heartbeat’s answer does not', async t => {
  const slow = new Slow(diskWith(three), {});
  stepNode(slow.node, append({ from: 2, to: 1, term: 1, entries: [entry(1, 1)] }));
  stepNode(slow.node, { kind: 'heartbeat', version: 1, from: 2, to: 1, term: 1, commit: 0, readCount: 4 });
  const [out] = slow.take();
  t.match(out?.messages, [{ kind: 'heartbeat-reply', readCount: 4 }]);
  t.match(out?.storageAppend?.responses, [
    { kind: 'append-reply', index: 1 },
    { kind: 'storage-append-done', index: 1, term: 1 },
  ]);
});

t.test('limits: a proposal too large, a full log of uncommitted bytes, a batch kept together', async t => {
  const peer = single(1, { voters: [1, 2] }, { proposalBytesMax: 10, uncommittedBytesMax: 25 });
  campaign(peer.node);
  takeMessages(peer);
  stepNode(peer.node, {
    kind: 'vote-reply',
    version: 1,
    from: 2,
    to: 1,
    term: 1,
    reject: false,
    commit: 0,
    commitTerm: 0,
  });
  takeMessages(peer);
  t.match(propose(peer.node, [bytes('0123456789a')]), { kind: 'too-large', sizeBytes: 11, limitBytes: 10 });
  t.match(propose(peer.node, [bytes('0123456789'), bytes('0123456789')]), {
    kind: 'appended',
    index: 2,
    count: 2,
    term: 1,
  });
  t.match(propose(peer.node, [bytes('012345'), bytes('012345')]), { kind: 'dropped', because: 'uncommitted-limit' });
  t.match(propose(peer.node, [bytes('01234')]), { kind: 'appended', index: 4 });
  t.match(propose(peer.node, [bytes('')]), { kind: 'appended' }, 'what is empty always passes');
  t.throws(() => propose(peer.node, []), { code: 'bug' });
});
