import t from 'tap';
import type { TaskStatus } from '../../src/gen/types.js';
import {
  desiredStates,
  isFinal,
  judge,
  laterStatus,
  rankOf,
  sizeText,
  step,
  type TaskEnd,
  type TaskView,
  taskStates,
} from '../../src/tasks/task.js';
import { assignedStatus } from './fixtures.js';

const fresh: TaskView = {
  desired: 'running',
  unwanted: false,
  asked: false,
  state: 'accepted',
  main: 'none',
  alive: false,
  failed: false,
  gentle: false,
  begun: false,
  others: { kind: 'none' },
  health: 'none',
  stopping: 'no',
  graceOver: false,
  held: true,
  waitsFor: undefined,
};

const view = (changes: Partial<TaskView>): TaskView => ({ ...fresh, ...changes });

/** Every view that the fields allow, also those that should never come up. */
function* allViews(): Generator<TaskView> {
  for (const state of taskStates)
    for (const desired of desiredStates)
      for (const main of ['none', 'created', 'running', 'ended'] as const)
        for (const health of ['none', 'starting', 'healthy', 'unhealthy'] as const)
          for (const stopping of ['no', 'asked', 'killed'] as const)
            for (const bits of Array.from({ length: 128 }, (_, at) => at))
              yield {
                state,
                desired,
                main,
                health,
                gentle: false,
                begun: false,
                others: { kind: 'none' },
                stopping,
                unwanted: (bits & 1) !== 0,
                alive: (bits & 2) !== 0,
                failed: (bits & 4) !== 0,
                graceOver: (bits & 8) !== 0,
                held: (bits & 16) !== 0,
                asked: (bits & 64) !== 0,
                waitsFor: (bits & 32) === 0 ? undefined : 'a secret',
              };
}

t.test('over all views', async t => {
  const broken: string[] = [];
  const law = (name: string, holds: boolean, seen: TaskView): void => {
    if (!holds && broken.length < 20) broken.push(`${name}: ${JSON.stringify(seen)}`);
  };
  let count = 0;
  for (const seen of allViews()) {
    count += 1;
    const action = step(seen);
    const ending = seen.unwanted || seen.desired === 'shutdown' || seen.desired === 'remove';
    if (action.kind === 'tell') law('a state that is told is higher', rankOf(action.state) > rankOf(seen.state), seen);
    if (isFinal(seen.state))
      law('what has ended is only released or forgotten', ['release', 'forget', 'wait'].includes(action.kind), seen);
    if (action.kind === 'prepare' || action.kind === 'start' || action.kind === 'tell')
      law('nothing goes up that is to end', !ending && !seen.failed && seen.health !== 'unhealthy', seen);
    if (action.kind === 'start')
      law('only a created container is started', seen.main === 'created' && seen.desired === 'running', seen);
    if (action.kind === 'prepare')
      law('nothing is made twice, or without its secrets', seen.main === 'none' && seen.waitsFor === undefined, seen);
    if (action.kind === 'finish') law('nothing is finished that lives', !seen.alive && !isFinal(seen.state), seen);
    if (action.kind === 'forget') law('nothing is forgotten that is held or wanted', !seen.held && seen.unwanted, seen);
    if (action.kind === 'stop' || action.kind === 'kill') law('only the living are stopped', seen.alive, seen);
    if (action.kind === 'stop') law('nobody is asked twice', seen.stopping === 'no', seen);
    if (ending && seen.alive && !isFinal(seen.state) && seen.graceOver)
      law('after the grace comes the end', seen.stopping !== 'asked' || action.kind === 'kill', seen);
  }
  t.equal(count, 13 * 4 * 4 * 4 * 3 * 128);
  t.strictSame(broken, []);
});

const steps: readonly (readonly [string, Partial<TaskView>, string])[] = [
  ['an accepted task says that it prepares', {}, 'tell preparing'],
  ['one without its secret waits', { waitsFor: 'waits for a secret' }, 'wait'],
  ['then it is made', { state: 'preparing' }, 'prepare'],
  ['made, it is ready', { state: 'preparing', main: 'created', alive: true }, 'tell ready'],
  ['ready waits for the word to start', { state: 'ready', desired: 'ready', main: 'created', alive: true }, 'wait'],
  ['with the word it starts', { state: 'ready', main: 'created', alive: true }, 'tell starting'],
  ['it is started once', { state: 'starting', main: 'created', alive: true }, 'start'],
  ['started, it runs', { state: 'starting', main: 'running', alive: true }, 'tell running'],
  [
    'with a check it runs only when healthy',
    { state: 'starting', main: 'running', alive: true, health: 'starting' },
    'wait',
  ],
  ['healthy, it runs', { state: 'starting', main: 'running', alive: true, health: 'healthy' }, 'tell running'],
  ['running it waits', { state: 'running', main: 'running', alive: true }, 'wait'],
  ['unhealthy, it is stopped', { state: 'running', main: 'running', alive: true, health: 'unhealthy' }, 'stop'],
  ['not wanted, it is stopped', { state: 'running', main: 'running', alive: true, desired: 'shutdown' }, 'stop'],
  [
    'asked, it gets its time',
    { state: 'running', main: 'running', alive: true, desired: 'shutdown', stopping: 'asked' },
    'wait',
  ],
  [
    'then it is killed',
    { state: 'running', main: 'running', alive: true, desired: 'shutdown', stopping: 'asked', graceOver: true },
    'kill',
  ],
  [
    'what was never started has no time to get',
    { state: 'ready', main: 'created', alive: true, desired: 'shutdown' },
    'kill',
  ],
  ['what lost its monitor is killed', { state: 'running', main: 'running', alive: true, failed: true }, 'kill'],
  ['an end is finished', { state: 'running', main: 'ended' }, 'finish'],
  ['others of the task are stopped when the main one ends', { state: 'running', main: 'ended', alive: true }, 'stop'],
  ['not wanted before it was made, it is finished', { desired: 'remove' }, 'finish'],
  ['what could not be given back is tried again', { state: 'failed' }, 'release'],
  ['ended, it is kept', { state: 'failed', held: false }, 'wait'],
  ['not named any more, it is forgotten', { state: 'failed', held: false, unwanted: true }, 'forget'],
];

t.test('step by step', async t => {
  for (const [name, changes, expected] of steps) {
    const action = step(view(changes));
    t.equal(action.kind === 'tell' ? `tell ${action.state}` : action.kind, expected, name);
  }
});

const end: TaskEnd = {
  state: 'running',
  failure: undefined,
  exitCode: 0,
  stopped: false,
  asked: false,
  outOfMemory: false,
  memoryLimitBytes: 0,
  unhealthy: undefined,
};

const ends: readonly (readonly [string, Partial<TaskEnd>, object])[] = [
  ['exit 0', {}, { state: 'complete', error: '', errorCode: '' }],
  ['exit 2', { exitCode: 2 }, { state: 'failed', errorCode: 'container-exit', error: 'exit code 2' }],
  ['a signal', { exitCode: 139 }, { state: 'failed', error: 'exit code 139: killed by signal 11' }],
  [
    'memory',
    { exitCode: 137, outOfMemory: true, memoryLimitBytes: 256 * 2 ** 20 },
    {
      state: 'failed',
      errorCode: 'out-of-memory',
      outOfMemory: true,
      error: 'exit code 137: killed for memory at its limit of 256 MiB',
    },
  ],
  ['memory of the node', { exitCode: 137, outOfMemory: true }, { errorCode: 'out-of-memory', error: /ran out of/ }],
  [
    'a child lost to memory',
    { exitCode: 1, outOfMemory: true, memoryLimitBytes: 2 ** 20 },
    {
      errorCode: 'container-exit',
      outOfMemory: false,
      error: /one of its processes was killed for memory at its limit of 1 MiB/,
    },
  ],
  ['stopped', { exitCode: 143, stopped: true }, { state: 'shutdown', error: '', errorCode: '' }],
  [
    'killed when stopped, at the limit',
    { exitCode: 137, stopped: true, outOfMemory: true },
    { state: 'shutdown', outOfMemory: false },
  ],
  ['never made', { exitCode: undefined, state: 'preparing' }, { state: 'shutdown' }],
  [
    'could not be made',
    { exitCode: undefined, state: 'preparing', failure: { code: 'mount-source', message: 'Cannot mount' } },
    { state: 'rejected', errorCode: 'mount-source', error: 'Cannot mount' },
  ],
  [
    'monitor lost',
    { exitCode: undefined, failure: { code: 'monitor-lost', message: 'Cannot watch' } },
    { state: 'failed', errorCode: 'monitor-lost' },
  ],
  [
    'unhealthy',
    { exitCode: 143, stopped: true, unhealthy: 'no answer' },
    { state: 'failed', errorCode: 'unhealthy', error: /no answer/ },
  ],
];

t.test('how an end is judged', async t => {
  for (const [name, changes, expected] of ends) t.match(judge({ ...end, ...changes }), expected, name);
});

t.test('the later attempt wins, then the later state', async t => {
  const status = (attempt: number, state: TaskStatus['state']): TaskStatus => ({ ...assignedStatus, attempt, state });
  const pairs = taskStates.flatMap(one => taskStates.map(other => [one, other] as const));
  for (const [one, other] of pairs) {
    const later = laterStatus(status(1, one), status(1, other));
    t.equal(rankOf(later.state), Math.max(rankOf(one), rankOf(other)), `${one} and ${other}`);
    t.equal(laterStatus(status(2, one), status(1, other)).attempt, 2);
  }
});

t.test('sizes are binary with at most one decimal', async t => {
  t.equal(sizeText(0), '0 B');
  t.equal(sizeText(256 * 2 ** 20), '256 MiB');
  t.equal(sizeText(1.5 * 2 ** 30), '1.5 GiB');
});
