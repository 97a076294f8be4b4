/**
 * Laws of updates that hold whatever happens, tried with seeds: agents that walk their tasks at random, tasks that fail or
 * hang, nodes that are lost, elections, further updates and rollbacks in between.
 */
import t from 'tap';
import type { UpdateConfig } from '../../src/gen/types.js';
import { isEnded } from '../../src/raft/store.js';
import { checkHistory, create } from './plane-checks.js';
import { type Behaviour, callerOf, obedient, openPlane, type Plane, seededRandom } from './plane-fixtures.js';
import { changeWeb, image, images, pass, rolloutOf, updateConfig, webOf } from './update-fixtures.js';

const seeds = 16;

interface Dice {
  readonly chance: (share: number) => boolean;
  readonly pick: <Item>(...items: readonly [Item, ...Item[]]) => Item;
}

function diceOf(seed: number): Dice {
  const { fraction } = seededRandom(seed * 7_919 + 1);
  return {
    chance: share => fraction() < share,
    pick: (...items) => items[Math.floor(fraction() * items.length)] ?? items[0],
  };
}

/** Agents in no hurry: a task goes one step at a time, and not every time; stopping takes longest. */
function slowly({ chance }: Dice, next: Behaviour = obedient): Behaviour {
  const steps = ['assigned', 'preparing', 'ready', 'running'] as const;
  const stepNames: readonly string[] = steps;
  return task => {
    const goal = next(task);
    if (goal === undefined || chance(goal.state === 'shutdown' ? 0.8 : 0.4)) return undefined;
    const at: number = stepNames.indexOf(task.status.state);
    const isOn = goal.state === 'running' || goal.state === 'ready';
    return isOn && at >= 0 && steps[at + 1] !== goal.state ? { state: steps[at + 1] ?? 'running' } : goal;
  };
}

const isUnderWay = (plane: Plane): boolean => ['updating', 'rolling-back'].includes(rolloutOf(plane).state);

t.test('never too few, never too many, whatever is asked for in between', async t => {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const dice = diceOf(seed);
    const replicas = dice.pick(1, 3, 6, 7);
    const config = updateConfig({
      parallelism: dice.pick(1, 2, 3),
      order: dice.pick('stop-first', 'start-first'),
      delayMs: dice.pick(0, 0, 3_000),
      monitorMs: dice.pick(0, 2_000),
    });
    await using plane = await openPlane();
    const mode = dice.chance(0.3) ? ({ kind: 'global' } as const) : ({ kind: 'replicated', replicas } as const);
    await create(plane, { mode, update: config, rollback: config });
    const wanted = plane.running('web').length;
    let [fewest, most] = [wanted, wanted];
    plane.store.watch(() => {
      const up = plane.tasks('web').filter(task => task.status.state === 'running').length;
      [fewest, most] = [Math.min(fewest, up), Math.max(most, up)];
    });
    plane.setAgent(slowly(dice));
    for (let turn = 0; turn < 40; turn += 1) {
      if (turn % 13 === 0) await changeWeb(plane, image(`hello:${turn + 2}`));
      else if (turn % 17 === 0) await plane.control.rollbackService({ service: 'web', to: 0 }, callerOf());
      if (dice.chance(0.1)) await plane.reelect();
      await pass(plane, 1_000);
    }
    plane.setAgent(obedient);
    await pass(plane, 60_000, 5_000);
    const parallelism = config.parallelism ?? 1;
    const isStopFirst = config.order === 'stop-first';
    const what = `seed ${seed}: ${mode.kind} ${wanted}, ${config.order}, ${parallelism}: ${fewest} to ${most} ran`;
    t.ok(fewest >= wanted - (isStopFirst ? parallelism : 0) && most <= wanted + (isStopFirst ? 0 : parallelism), what);
    t.notOk(isUnderWay(plane), what);
    t.equal(new Set(images(plane)).size, 1, what);
    checkHistory(t, plane);
  }
});

/** Longest that an update and its rollback may take: each slot once until its deadline, and the waits in between. */
function longestMs({ deadlineMs = 0, delayMs, monitorMs = 0 }: UpdateConfig, slots: number): number {
  return 2 * ((slots + 1) * (deadlineMs + delayMs + 10_000) + monitorMs);
}

t.test('an update ends, whatever fails, hangs or is lost, and whoever leads', async t => {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const dice = diceOf(seed + 1_000);
    const config = updateConfig({
      parallelism: dice.pick(0, 1, 2),
      order: dice.pick('stop-first', 'start-first'),
      delayMs: dice.pick(0, 5_000),
      monitorMs: dice.pick(0, 5_000),
      failureAction: dice.pick('pause', 'continue', 'rollback'),
      maxFailureRatio: dice.pick(0, 0.3, 1),
      deadlineMs: 30_000,
    });
    const what = `seed ${seed}: ${JSON.stringify(config)}`;
    await using plane = await openPlane({ nodes: ['a', 'b', 'c', 'd'] });
    const mode = dice.chance(0.3) ? ({ kind: 'global' } as const) : ({ kind: 'replicated', replicas: 5 } as const);
    await create(plane, { mode, update: config, rollback: { ...config, failureAction: 'pause' } });
    const fate = new Map<string, 'fails' | 'hangs' | 'dies' | 'runs'>();
    plane.setAgent(
      slowly(dice, task => {
        if (isEnded(task.status.state) || task.desired !== 'running') return obedient(task);
        const known = fate.get(task.id) ?? dice.pick('runs', 'runs', 'fails', 'hangs', 'dies');
        fate.set(task.id, known);
        if (known === 'hangs') return task.status.state === 'assigned' ? { state: 'preparing' } : undefined;
        if (known === 'fails' || (known === 'dies' && task.status.state === 'running')) return { state: 'failed' };
        return obedient(task);
      }),
    );
    await changeWeb(plane, image('hello:2'));
    const limitMs = longestMs(config, 5);
    let tookMs = 0;
    for (; isUnderWay(plane) && tookMs < limitMs; tookMs += 2_500) {
      if (dice.chance(0.05)) await plane.reelect();
      const state = dice.pick('ready', 'lost');
      if (dice.chance(0.05)) {
        if (state === 'lost') plane.mute.add('d');
        else plane.mute.delete('d');
        await plane.setNode('d', node => ({ ...node, status: { ...node.status, state } }));
      }
      await pass(plane, 2_500, 2_500);
    }
    const { state, total, done, failed } = rolloutOf(plane);
    t.notOk(isUnderWay(plane), `${what}: ${state} after ${tookMs} of at most ${limitMs} ms`);
    t.ok(done + failed.length <= total + 1, `${done} and ${failed.length} of ${total}`);
    checkHistory(t, plane);
    if (state === 'paused' || state === 'rollback-paused') continue;
    plane.mute.delete('d');
    plane.setAgent(obedient);
    await plane.setNode('d', node => ({ ...node, status: { ...node.status, state: 'ready' } }));
    await pass(plane, 180_000, 30_000);
    const expected = webOf(plane).spec.task.containers[0]?.image;
    t.ok(images(plane).length > 3 && images(plane).every(each => each === expected), `${what}: ${images(plane)}`);
  }
});
