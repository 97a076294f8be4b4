/**
 * The machine refuses one step, or the runtime refuses the container: the task ends with the reason, and leaves nothing (F3 of
 * failures.md). `npm run torture -- leaks` does it a thousand times.
 */
import t from 'tap';
import { CoveyError } from '../../src/errors.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { type Fault, injectFaults } from './faults.js';
import { whyNotReal } from './fixtures.js';
import { doomedTasks, makeSteps, removeSteps } from './steps.js';
import { fullSet, wholeTask } from './whole.js';
import { openStage } from './whole-stage.js';

t.setTimeout(120_000);

t.test('F3: what cannot be made leaves nothing', { skip: whyNotReal() }, async t => {
  await using stage = await openStage(t, 'cvsf');
  let refused: RegExp | undefined;
  const fault: Fault = {
    around: (effect, work) => {
      if (refused?.test(effect) !== true) return work();
      refused = undefined;
      throw new CoveyError('no-space', `Cannot ${effect}: the test refuses`);
    },
  };
  const whole = await stage.open(injectFaults(linuxHost, fault, stage.place.directory));

  for (const [name, pattern] of Object.entries(makeSteps)) {
    if (name === 'its answer') continue; // comes by itself: nobody is asked who could refuse
    await t.test(`making: ${name} is refused`, async t => {
      const task = wholeTask();
      refused = pattern;
      await whole.agent.assign(fullSet([task]));
      const { status } = await stage.wait(task.id, 'running', 'failed', 'rejected');
      t.equal(refused, undefined, 'it came there');
      if (status.state !== 'running') t.match(status.error, /the test refuses/, 'the reason is told');
      t.strictSame(await stage.clear(), []);
    });
  }

  for (const [name, pattern] of Object.entries(removeSteps)) {
    await t.test(`removing: ${name} is refused once`, async t => {
      const task = wholeTask();
      await whole.agent.assign(fullSet([task]));
      await stage.hears(task.id);
      refused = pattern;
      t.strictSame(await stage.clear(), []);
      t.equal(refused, undefined, 'it came there');
    });
  }

  for (const { name, task, errorCode } of doomedTasks()) {
    await t.test(`the runtime refuses ${name}`, async t => {
      await whole.agent.assign(fullSet([task]));
      const { status } = await stage.wait(task.id, 'running', 'failed', 'rejected');
      t.equal(status.errorCode, errorCode, status.error);
      t.strictSame(await stage.clear(), []);
    });
  }
  t.strictSame(whole.failures, []);
});
