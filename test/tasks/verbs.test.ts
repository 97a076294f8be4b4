import t from 'tap';
import { errorCodes } from '../../src/error-codes.js';
import type { DesiredState, TaskState } from '../../src/gen/types.js';
import { desiredStates, taskStates } from '../../src/tasks/task.js';
import { checkVerb, judgeVerb, type TaskVerbName, taskVerbs, type VerbView } from '../../src/tasks/verbs.js';

function* allViews(): Generator<VerbView> {
  for (const state of taskStates)
    for (const desired of desiredStates) for (const paused of [false, true]) yield { state, desired, paused };
}

const isEnded = (state: TaskState): boolean => taskStates.indexOf(state) >= taskStates.indexOf('complete');
const isStarted = (state: TaskState): boolean => state === 'starting' || state === 'running';
const isWanted = (desired: DesiredState): boolean => desired === 'ready' || desired === 'running';
const isHeld = ({ state, paused, desired }: VerbView): boolean => isStarted(state) && paused && isWanted(desired);

/** In words that are not those of the table. */
const legal: Readonly<Record<TaskVerbName, (view: VerbView) => boolean>> = {
  pause: view => isStarted(view.state) && isWanted(view.desired) && !view.paused,
  unpause: isHeld,
  stop: ({ state }) => state !== 'new' && state !== 'pending',
  kill: ({ state }) => isStarted(state),
  restart: ({ state, desired }) => isWanted(desired) && !['new', 'pending', 'orphaned'].includes(state),
  wait: ({ state }) => state !== 'orphaned',
  exec: view => isStarted(view.state) && !isHeld(view),
  attach: view => isStarted(view.state) && !isHeld(view),
  copy: ({ state }) => isStarted(state) || state === 'ready',
  logs: ({ state }) => !['new', 'pending', 'orphaned'].includes(state),
  top: ({ state }) => isStarted(state),
};

/** Told to end before it was made: it is on its way out, and its agent says what it has. */
const leaving = ({ state, desired }: VerbView): boolean =>
  ['assigned', 'accepted', 'preparing', 'ready'].includes(state) && !isWanted(desired);

t.test('all pairs of verb and state: the legal ones go through, the others have their error', async t => {
  let count = 0;
  for (const verb of taskVerbs)
    for (const view of allViews()) {
      const answer = judgeVerb(verb, view);
      const what = `${verb} ${JSON.stringify(view)}: ${answer}`;
      count += 1;
      if (answer !== 'do' && answer !== 'done' && errorCodes[answer] === undefined) t.fail(`${what} has no paragraph`);
      if (leaving(view)) continue;
      if (legal[verb](view) !== (answer === 'do' || answer === 'done')) t.fail(what);
      if (answer === 'done' && !isEnded(view.state)) t.fail(`${what}: only what has ended is stopped already`);
    }
  t.equal(count, 11 * 13 * 4 * 2);
});

t.test('a refusal says the state that forbids it', async t => {
  const rows: readonly (readonly [TaskVerbName, Partial<VerbView>, string, RegExp])[] = [
    ['pause', { state: 'pending' }, 'task-not-running', /it is pending/],
    ['pause', { paused: true }, 'task-paused', /it is paused/],
    ['unpause', {}, 'task-not-paused', /it is running/],
    ['exec', { paused: true }, 'task-paused', /it is paused/],
    ['kill', { state: 'failed' }, 'task-ended', /it is failed/],
    ['pause', { desired: 'shutdown' }, 'task-stopping', /told to end/],
    ['wait', { state: 'orphaned' }, 'exit-code-unknown', /it is orphaned/],
  ];
  for (const [verb, change, code, state] of rows) {
    const view = { name: 'web.1', state: 'running', desired: 'running', paused: false, ...change } as const;
    t.throws(() => checkVerb(verb, view), { code, state }, `${verb} ${JSON.stringify(change)}`);
  }
  t.equal(checkVerb('stop', { name: 'web.1', state: 'complete', desired: 'running', paused: false }), false);
});
