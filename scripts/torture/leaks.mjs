// Tasks are made, or refused by the machine at one step or by the runtime for one reason, and removed; after each round links,
// namespaces, addresses, cgroups, mounts, directories and processes are as they were, and so is the daemon's own table of
// descriptors at the end. A round is one task.
import * as fs from 'node:fs';
import { CoveyError } from '../../dist/src/errors.js';
import { linuxHost } from '../../dist/src/host-linux/index.js';
import { injectFaults } from '../../dist/test/tasks/faults.js';
import { doomedTasks, makeSteps, removeSteps } from '../../dist/test/tasks/steps.js';
import { fullSet, wholeTask } from '../../dist/test/tasks/whole.js';
import { openStage } from '../../dist/test/tasks/whole-stage.js';

export async function run({ rounds, say }) {
  let passed = 0;
  let failed = 0;
  let refused;
  const fail = text => {
    failed += 1;
    say(text);
  };
  const t = {
    strictSame: (found, wanted, text) => {
      if (JSON.stringify(found) !== JSON.stringify(wanted)) fail(`${text}: ${JSON.stringify(found)}`);
    },
  };
  const fault = {
    around: (effect, work) => {
      if (refused?.test(effect) !== true) return work();
      refused = undefined;
      throw new CoveyError('no-space', `Cannot ${effect}: the test refuses`);
    },
  };
  await using stage = await openStage(t, 'cvsl');
  const whole = await stage.open(injectFaults(linuxHost, fault, stage.place.directory));
  const steps = [...Object.values(makeSteps).filter(({ source }) => !source.includes('sync line')), undefined];
  const doomed = doomedTasks();
  const descriptors = () => fs.readdirSync('/proc/self/fd').length;
  let before;
  for (let round = 1; round <= rounds; round += 1) {
    const kind = round % 3;
    const dies = kind === 1 ? doomed[Math.floor(round / 3) % doomed.length] : undefined;
    const task = dies === undefined ? wholeTask() : { ...dies.task, id: wholeTask().id };
    refused = kind === 0 ? steps[Math.floor(round / 3) % steps.length] : undefined;
    await whole.agent.assign(fullSet([task]));
    await stage.wait(task.id, 'running', 'failed', 'rejected');
    refused =
      kind === 2 ? Object.values(removeSteps)[Math.floor(round / 3) % Object.keys(removeSteps).length] : undefined;
    const left = await stage.clear();
    if (left.length === 0) passed += 1;
    else fail(`round ${round} (${dies?.name ?? 'a step'}): ${left.slice(0, 5).join('; ')}`);
    if (round === Math.min(60, rounds)) before = descriptors();
    if (round % 100 === 0) say(`${round} of ${rounds}: ${passed} passed, ${failed} failed`);
  }
  if (descriptors() > before + 2) fail(`${before} descriptors became ${descriptors()}`);
  return { passed, failed };
}
