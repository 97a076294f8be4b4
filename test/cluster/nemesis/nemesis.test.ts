/**
 * The nemesis itself: its plans follow from the seed and its judge sees what is wrong.
 */
import t from 'tap';
import { History } from './history.js';
import { describeFault, longPace, planRound, quickPace } from './plan.js';

const nodes = [1, 2, 3, 4, 5];
const rounds = Array.from({ length: 200 }, (_, at) => at + 1);
const planOf = (seed: number, round: number, pace = longPace) => planRound({ seed, round, nodes, managers: 3, pace });

t.test('the same seed and round give the same faults, another seed gives others', async t => {
  const texts = (seed: number): string => rounds.flatMap(round => planOf(seed, round).map(describeFault)).join('\n');
  t.equal(texts(1), texts(1));
  t.not(texts(1), texts(2));
});

t.test('ten quick rounds show each kind of fault, and each shape of cut is drawn', async t => {
  const kinds = new Set(
    rounds.slice(0, 10).flatMap(round => planOf(1, round, quickPace).map(({ fault }) => fault.kind)),
  );
  t.same(kinds, new Set(['kill', 'cut', 'pause', 'power']));
  const faults = rounds.flatMap(round => planOf(1, round)).map(({ fault }) => fault);
  t.same(new Set(faults.map(fault => fault.kind)), new Set(longPace.kinds));
  const shapes = faults.flatMap(fault => (fault.kind === 'cut' ? [fault.shape] : []));
  t.same(new Set(shapes), new Set(['one-way', 'full', 'bridge']));
  t.ok(
    faults.every(fault => fault.kind !== 'cut' || fault.links.length > 0),
    'each cut cuts something',
  );
});

t.test('a node has one fault of its own at a time, and each is within its limits', async t => {
  for (const round of rounds) {
    const plan = planOf(7, round);
    const own = plan.flatMap(({ fault }) => (fault.kind === 'cut' ? [] : [fault.node]));
    t.equal(new Set(own).size, own.length, plan.map(describeFault).join(', '));
    for (const { fault, forMs } of plan) t.ok(forMs >= 100 && forMs <= longPace.maxMs[fault.kind]);
  }
});

t.test('a history with a lost, a doubled or a stale answer is refused', async t => {
  const judge = (fill: (history: History) => void): string => {
    const history = new History();
    history.add('a', { kind: 'change', from: 'none', to: 1, known: true }, 0, 1);
    fill(history);
    return history.judge().kind;
  };
  t.equal(
    judge(history => {
      history.add('a', { kind: 'change', from: 1, to: 2, known: false }, 2, Number.POSITIVE_INFINITY);
      history.add('a', { kind: 'read', value: 1 }, 3, 4);
      history.add('a', { kind: 'read', value: 2 }, 5, 6);
      history.add('a', { kind: 'remove', known: true }, 7, 8);
      history.add('a', { kind: 'read', value: 'none' }, 9, 10);
    }),
    'linearizable',
  );
  t.equal(
    judge(history => history.add('a', { kind: 'read', value: 'none' }, 2, 3)),
    'illegal',
    'an acknowledged change is lost',
  );
  t.equal(
    judge(history => {
      history.add('a', { kind: 'change', from: 1, to: 2, known: true }, 2, 3);
      history.add('a', { kind: 'change', from: 1, to: 3, known: true }, 4, 5);
    }),
    'illegal',
    'two changes of one state',
  );
  t.equal(
    judge(history => {
      history.add('a', { kind: 'change', from: 1, to: 2, known: true }, 2, 3);
      history.add('a', { kind: 'read', value: 1 }, 4, 5);
    }),
    'illegal',
    'a read of the past',
  );
});
