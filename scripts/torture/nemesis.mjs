// Three managers and two workers while daemons are killed and stopped, disks stand still and fill up, the network is cut in all
// ways and nodes lose power, by seed; people work all the while. Afterwards: no acknowledged change lost, none made twice,
// histories linearizable, one holder of each address, port and slot, tasks adopted and not started anew, nothing left.
// A round that fails keeps the logs of the daemons and gets a fresh cluster after it; `--from N` begins with round N.
import * as fs from 'node:fs';
import { openDevCluster } from '../../dist/test/cluster/dev-cluster.js';
import { compareStates, readMachineState } from '../../dist/test/cluster/machine-state.js';
import { longPace } from '../../dist/test/cluster/nemesis/plan.js';
import { keepEvidence, openNemesis, renderOutcome } from '../../dist/test/cluster/nemesis/round.js';

const name = 'tnx';
/** After so many rounds a fresh cluster, so that what a cluster leaves behind is looked at too. */
const roundsPerCluster = 25;

export async function run({ rounds, seed, from, say }) {
  const counts = { passed: 0, failed: 0, operations: 0, slowestMs: 0 };
  for (let round = from; round < from + rounds; ) {
    const before = readMachineState();
    const last = Math.min(round + roundsPerCluster, from + rounds);
    round = await runOnOneCluster({ round, last, seed, say, counts });
    const left = compareStates(before, readMachineState(), /covey-tnx|cvtnx|\btnx[1-5]\b|covey-dev\/tnx/);
    if (left.length === 0) continue;
    counts.failed += 1;
    say(`left behind:\n${left.join('\n')}`);
  }
  return counts;
}

/** Resolves to the round to go on with. */
async function runOnOneCluster({ round: first, last, seed, say, counts }) {
  const ends = [];
  try {
    const cluster = openDevCluster(
      { teardown: end => ends.unshift(end) },
      { name, managers: 3, workers: 2, diskMib: 384 },
    );
    const options = { cluster, name, seed, pace: longPace, lostAfterMs: 10_000, settleMs: 120_000, clients: 4 };
    const nemesis = await openNemesis(options);
    ends.unshift(() => nemesis.close());
    for (let round = first; round < last; round += 1) {
      const outcome = await nemesis.run(round);
      const text = renderOutcome(seed, round, outcome);
      counts.operations += outcome.operations;
      counts.slowestMs = Math.max(counts.slowestMs, Math.round(outcome.settledAfterMs));
      if (outcome.problems.length === 0) {
        counts.passed += 1;
        say(`${text}\n  ${outcome.operations} operations, settled after ${Math.round(outcome.settledAfterMs)} ms`);
        continue;
      }
      counts.failed += 1;
      const folder = fs.mkdtempSync('/tmp/covey-nemesis-');
      keepEvidence(cluster, folder, text);
      say(
        `FAILED ${text}\n  logs of the daemons: ${folder}; npm run torture -- nemesis --seed ${seed} --from ${round} --rounds 1`,
      );
      return round + 1;
    }
    return last;
  } finally {
    for (const end of ends) end();
  }
}
