/**
 * Ten short rounds of the nemesis: kill -9, SIGSTOP, cuts and lost power while people work. `npm run torture -- nemesis` does
 * 200 longer ones, with slow and full disks.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { cannotCluster, openDevCluster } from '../dev-cluster.js';
import { compareStates, readMachineState } from '../machine-state.js';
import { quickPace } from './plan.js';
import { keepEvidence, openNemesis, renderOutcome } from './round.js';

const name = 'nx';
const seed = 1;
const rounds = 10;

t.test('whatever fails, nothing acknowledged is lost', { skip: cannotCluster, timeout: 900_000 }, async t => {
  const before = readMachineState();
  await t.test('ten rounds', { timeout: 900_000 }, async t => {
    const cluster = openDevCluster(t, { name, managers: 3, workers: 2 });
    // No fault lasts for as long as lost-after, however slow the machine: only lost power replaces a task.
    const lostAfterMs = 600_000;
    const options = { cluster, name, seed, pace: quickPace, lostAfterMs, settleMs: 120_000, clients: 3 };
    const nemesis = await openNemesis(options);
    t.teardown(() => nemesis.close());
    for (let round = 1; round <= rounds; round += 1) {
      const outcome = await nemesis.run(round);
      const text = renderOutcome(seed, round, outcome);
      t.comment(`${text}\n${outcome.operations} operations, settled after ${Math.round(outcome.settledAfterMs)} ms`);
      t.strictSame(outcome.problems, [], text);
      if (outcome.problems.length > 0) {
        const folder = fs.mkdtempSync('/tmp/covey-nemesis-');
        keepEvidence(cluster, folder, text);
        t.comment(`logs of the daemons: ${folder}`);
        break;
      }
    }
  });
  t.strictSame(compareStates(before, readMachineState(), /covey-nx|cvnx|\bnx[1-5]\b|covey-dev\/nx/), []);
});
