/**
 * The daemon is killed right after each step of making, starting, stopping and giving back a task (F2 of failures.md).
 *
 * `npm run torture -- steps` runs the same over every effect on the machine, before and after it, a hundred times each.
 */
import t from 'tap';
import { whyNotReal } from './fixtures.js';
import { makeSteps, recoverMade, removeSteps } from './steps.js';
import { fullSet, wholeTask } from './whole.js';
import { openStage } from './whole-stage.js';

const skip = whyNotReal();
t.setTimeout(300_000);

t.test('F2: the daemon may be killed after any step', { skip, timeout: 600_000 }, async t => {
  await using stage = await openStage(t, 'cvst');

  await t.test('all steps are known by their effects on the machine', async t => {
    const task = wholeTask();
    const made = await stage.die({ tasks: [task] });
    for (const [name, pattern] of Object.entries(makeSteps)) {
      t.ok(
        made.said.some(effect => pattern.test(effect)),
        `${name} is a step of making`,
      );
    }
    const removed = await stage.die({ tasks: [] });
    for (const [name, pattern] of Object.entries(removeSteps)) {
      t.ok(
        removed.said.some(effect => pattern.test(effect)),
        `${name} is a step of removing`,
      );
    }
    await stage.open();
    t.strictSame(await stage.clear(), []);
    await stage.drop();
  });

  for (const [name, pattern] of Object.entries(makeSteps)) {
    await t.test(`making: after ${name} the task runs once, and goes without a trace`, async t => {
      const task = wholeTask();
      const { signal } = await stage.die({ tasks: [task], step: { pattern: pattern.source, when: 'after', nth: 1 } });
      t.equal(signal, 'SIGKILL', 'it died there');
      t.strictSame(await recoverMade(stage, task), []);
      t.strictSame(await stage.clear(), []);
      await stage.drop();
    });
  }

  for (const [name, pattern] of Object.entries(removeSteps)) {
    await t.test(`removing: after ${name} nothing stays and nothing comes back`, async t => {
      const task = wholeTask();
      const whole = await stage.open();
      await whole.agent.assign(fullSet([task]));
      await stage.wait(task.id, 'running');
      await stage.drop();
      const { signal } = await stage.die({ tasks: [], step: { pattern: pattern.source, when: 'after', nth: 1 } });
      t.equal(signal, 'SIGKILL', 'it died there');
      await stage.open();
      t.strictSame(await stage.clear({ byItself: true }), [], 'no manager has to ask again');
      await stage.drop();
    });
  }
});
