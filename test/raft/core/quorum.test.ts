/** Majorities against brute force, over random configurations. */
import fc from 'fast-check';
import t from 'tap';
import {
  committedIndex,
  jointCommittedIndex,
  jointVoteResult,
  voteResult,
  votersOf,
} from '../../../src/raft/core/quorum.js';

const ids = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 8 }).map(list => list.sort((a, b) => a - b));
const acks = fc.dictionary(fc.integer({ min: 1, max: 9 }).map(String), fc.integer({ min: 0, max: 6 }));
const votes = fc.dictionary(fc.integer({ min: 1, max: 9 }).map(String), fc.boolean());

t.test('the committed index is the highest that more than half have reached', async t => {
  fc.assert(
    fc.property(ids, acks, (voters, known) => {
      const reached = (index: number) => voters.filter(id => (known[id] ?? 0) >= index).length > voters.length / 2;
      const index = committedIndex(voters, id => known[id]);
      if (voters.length === 0) return index === Number.POSITIVE_INFINITY;
      return reached(index) && !reached(index + 1);
    }),
    { numRuns: 2_000 },
  );
  t.pass();
});

t.test('what two halves commit is what both commit, whichever comes first', async t => {
  fc.assert(
    fc.property(ids, ids, acks, (incoming, outgoing, known) => {
      const acked = (id: number) => known[id];
      const joint = jointCommittedIndex({ incoming, outgoing }, acked);
      const both = Math.min(committedIndex(incoming, acked), committedIndex(outgoing, acked));
      return joint === both && joint === jointCommittedIndex({ incoming: outgoing, outgoing: incoming }, acked);
    }),
  );
  t.pass();
});

t.test('a vote is pending exactly while the answers still missing can turn it either way', async t => {
  const wins = (voters: readonly number[], of: (id: number) => boolean) =>
    voters.length === 0 || voters.filter(of).length > voters.length / 2;
  fc.assert(
    fc.property(ids, ids, votes, (incoming, outgoing, given) => {
      const outcome = (missing: boolean) => {
        const of = (id: number) => given[id] ?? missing;
        return wins(incoming, of) && wins(outgoing, of);
      };
      const result = jointVoteResult({ incoming, outgoing }, id => given[id]);
      if (outcome(false)) return result === 'won';
      return outcome(true) ? result === 'pending' : result === 'lost';
    }),
    { numRuns: 2_000 },
  );
  t.pass();
});

t.test('any two majorities of one configuration share a voter', async t => {
  fc.assert(
    fc.property(ids, fc.func(fc.boolean()), (voters, side) => {
      const one = voteResult(voters, id => side(id));
      const other = voteResult(voters, id => !side(id));
      return voters.length === 0 || !(one === 'won' && other === 'won');
    }),
  );
  t.pass();
});

t.test('voters of both halves are listed once, ascending', async t => {
  t.same(votersOf({ incoming: [2, 5], outgoing: [] }), [2, 5]);
  t.same(votersOf({ incoming: [2, 5], outgoing: [1, 5, 9] }), [1, 2, 5, 9]);
});
