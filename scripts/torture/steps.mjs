// The daemon's half of a node is killed at each step of making and removing a task (test/tasks/steps.ts), before it in odd
// rounds and after it in even ones; the first two rounds also at every other effect that it has on the machine.
import { makeSteps, recoverMade, removeSteps } from '../../dist/test/tasks/steps.js';
import { fullSet, wholeTask } from '../../dist/test/tasks/whole.js';
import { openStage } from '../../dist/test/tasks/whole-stage.js';

export async function run({ rounds, say }) {
  let passed = 0;
  let failed = 0;
  const fail = text => {
    failed += 1;
    say(text);
  };
  const t = {
    strictSame: (found, wanted, text) => {
      if (JSON.stringify(found) !== JSON.stringify(wanted)) fail(`${text}: ${JSON.stringify(found)}`);
    },
  };
  await using stage = await openStage(t, 'cvsx');
  const effects = await allEffects(stage);
  for (let round = 1; round <= rounds; round += 1) {
    const when = round % 2 === 1 ? 'before' : 'after';
    const makes = [...Object.values(makeSteps).map(({ source }) => source), ...(round <= 2 ? effects.making : [])];
    const removes = [
      ...Object.values(removeSteps).map(({ source }) => source),
      ...(round <= 2 ? effects.removing : []),
    ];
    for (const [kind, patterns] of [
      ['making', makes],
      ['removing', removes],
    ]) {
      for (const pattern of patterns) {
        const once = effects[kind].includes(pattern);
        const problems = await (kind === 'making' ? dieMaking : dieRemoving)(stage, { pattern, when, nth: 1 });
        // Some effects are had by the first task only, and some by chance.
        if (once && problems[0] === 'it did not come there') problems.shift();
        if (problems.length === 0) passed += 1;
        else fail(`${kind}, ${when} ${pattern}: ${problems.slice(0, 5).join('; ')}`);
      }
    }
    if (round <= 2 || round % 10 === 0) say(`round ${round} of ${rounds}: ${passed} passed, ${failed} failed`);
  }
  return { passed, failed };
}

/** A pattern for each different effect. */
async function allEffects(stage) {
  const exact = effect => `^${effect.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`;
  const making = (await stage.die({ tasks: [wholeTask()] })).said;
  const removing = (await stage.die({ tasks: [] })).said;
  await stage.open();
  await stage.clear();
  await stage.drop();
  return { making: [...new Set(making.map(exact))], removing: [...new Set(removing.map(exact))] };
}

async function dieMaking(stage, step) {
  const task = wholeTask();
  const { signal } = await stage.die({ tasks: [task], step });
  const problems = signal === 'SIGKILL' ? [] : ['it did not come there'];
  problems.push(...(await recoverMade(stage, task)), ...(await stage.clear()));
  await stage.drop();
  return problems;
}

async function dieRemoving(stage, step) {
  const task = wholeTask();
  const whole = await stage.open();
  await whole.agent.assign(fullSet([task]));
  await stage.wait(task.id, 'running');
  await stage.drop();
  const { signal } = await stage.die({ tasks: [], step });
  const problems = signal === 'SIGKILL' ? [] : ['it did not come there'];
  await stage.open();
  problems.push(...(await stage.clear()));
  await stage.drop();
  return problems;
}
