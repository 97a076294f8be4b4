/** The algebra of configurations: joint changes lead where single ones lead, and no rule is ever broken. */
import fc from 'fast-check';
import t from 'tap';
import {
  asV2,
  type ChangeResult,
  type Config,
  configOf,
  confStateOf,
  emptyConfig,
  isJoint,
  leavesJoint,
  membersOf,
  planChange,
  planEnterJoint,
  planLeaveJoint,
  planSimple,
  problemOf,
} from '../../../src/raft/core/confchange.js';
import { applyChange, createTracker, restoreConfig } from '../../../src/raft/core/tracker.js';
import type { ConfChangeSingle } from '../../../src/raft/core/types.js';

const kinds = ['add-voter', 'add-learner', 'remove', 'update'] as const;
/** Voter 1 stays, so that there is always one. */
const singles = fc.array(
  fc.record({
    kind: fc.constantFrom(...kinds),
    peer: fc.integer({ min: 2, max: 8 }),
  }) as fc.Arbitrary<ConfChangeSingle>,
  { maxLength: 12 },
);
const one: ConfChangeSingle = { kind: 'add-voter', peer: 1 };
const limits = { inflightMessagesMax: 4, inflightBytesMax: Number.POSITIVE_INFINITY };

function must(result: ChangeResult): Config {
  if (result.kind === 'refused') throw new Error(result.because);
  return result.config;
}

function simpleChain(start: Config, changes: readonly ConfChangeSingle[]): Config {
  return changes.reduce((config, change) => must(planSimple(config, [change])), start);
}

t.test('many simple changes and one joint change lead to the same configuration', async t => {
  fc.assert(
    fc.property(singles, singles, fc.boolean(), (setup, changes, autoLeave) => {
      const start = simpleChain(emptyConfig, [one, ...setup]);
      const joint = must(planEnterJoint(start, changes, autoLeave));
      t.ok(isJoint(joint) && problemOf(joint) === undefined);
      t.equal(joint.autoLeave, autoLeave);
      t.same(must(planLeaveJoint(joint)), simpleChain(start, changes));
    }),
    { numRuns: 300 },
  );
});

t.test('a plain change shares a majority with what was before', async t => {
  fc.assert(
    fc.property(singles, singles, (setup, changes) => {
      const start = simpleChain(emptyConfig, [one, ...setup]);
      const result = planSimple(start, changes);
      const before = start.voters.incoming;
      const after = result.kind === 'changed' ? result.config.voters.incoming : undefined;
      if (after === undefined) return true;
      const moved = before.filter(id => !after.includes(id)).length + after.filter(id => !before.includes(id)).length;
      return moved <= 1;
    }),
  );
  t.pass();
});

t.test('a stored configuration comes back as it was, joint or not', async t => {
  fc.assert(
    fc.property(singles, singles, fc.boolean(), (setup, changes, stayJoint) => {
      const start = simpleChain(emptyConfig, [one, ...setup]);
      const joint = must(planEnterJoint(start, changes, true));
      const config = stayJoint ? joint : must(planLeaveJoint(joint));
      t.same(configOf(confStateOf(config)), config);
      const tracker = createTracker(limits);
      restoreConfig(tracker, confStateOf(config), 7);
      t.same(tracker.config, config);
      t.same(
        tracker.peers.map(({ id }) => id),
        membersOf(config),
      );
    }),
    { numRuns: 200 },
  );
});

t.test('there is a progress for each member, learners are marked, what is known of those who stay is kept', async t => {
  fc.assert(
    fc.property(singles, singles, (setup, changes) => {
      const tracker = createTracker(limits);
      for (const change of [one, ...setup]) applyChange(tracker, planSimple(tracker.config, [change]), 5);
      for (const progress of tracker.peers) progress.match = 40 + progress.id;
      const before = new Set(tracker.peers.map(({ id }) => id));
      applyChange(tracker, planEnterJoint(tracker.config, changes, false), 9);
      t.same(
        tracker.peers.map(({ id }) => id),
        membersOf(tracker.config),
      );
      for (const { id, match, learner } of tracker.peers) {
        t.equal(learner, tracker.config.learners.includes(id));
        if (tracker.config.voters.outgoing.includes(id)) t.equal(match, 40 + id);
        if (!before.has(id)) t.equal(match, 0);
      }
    }),
    { numRuns: 200 },
  );
});

t.test('who is removed and added again within one change is a newcomer', async t => {
  const config = simpleChain(emptyConfig, [one, { kind: 'add-learner', peer: 2 }]);
  const result = planSimple(config, [
    { kind: 'remove', peer: 2 },
    { kind: 'add-learner', peer: 2 },
  ]);
  t.ok(result.kind === 'changed' && result.fresh.has(2));
});

t.test('each form of change is carried out the way it asks for', async t => {
  const config = simpleChain(emptyConfig, [one, { kind: 'add-voter', peer: 2 }, { kind: 'add-voter', peer: 3 }]);
  const context = new Uint8Array(0);
  const add: ConfChangeSingle = { kind: 'add-voter', peer: 4 };
  const remove: ConfChangeSingle = { kind: 'remove', peer: 2 };
  const joint = (transition: 'auto' | 'implicit' | 'explicit', ...changes: ConfChangeSingle[]) => {
    const { voters, autoLeave } = must(planChange(config, { transition, changes, context }));
    return [voters.outgoing.length > 0, autoLeave];
  };
  t.same(joint('auto', add), [false, false]);
  t.same(joint('auto', add, remove), [true, true]);
  t.same(joint('implicit', add), [true, true]);
  t.same(joint('explicit', add), [true, false]);
  t.ok(leavesJoint({ transition: 'auto', changes: [], context: new Uint8Array([1]) }));
  t.notOk(leavesJoint({ transition: 'explicit', changes: [], context }));
  t.same(asV2({ change: add, context }), { transition: 'auto', changes: [add], context });
});

t.test('a configuration that breaks its rules is not restored', async t => {
  const none = { voters: [1], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  for (const broken of [
    { ...none, learners: [1] },
    { ...none, learnersNext: [1] },
    { ...none, autoLeave: true },
    { ...none, voters: [], votersOutgoing: [1] },
    { ...none, voters: [], learners: [2] },
  ]) {
    t.throws(() => configOf(broken), { code: 'bug' }, JSON.stringify(broken));
  }
});
