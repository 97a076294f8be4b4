// Seeds of the Raft simulator, each a group of members under faults from beginning to end. A round is a seed: `--seed FROM
// --rounds N` runs FROM … FROM+N-1, so that slices of a long run can be made one after the other or beside each other. As many
// processes work as there are cores (taskset says how many). A seed that breaks something is printed with the command that
// replays it. Not here: the simulator (test/raft/sim).
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const simulator = join(dirname(fileURLToPath(import.meta.url)), '../../dist/test/raft/sim/main.js');
const seedsPerProcess = 500;

export async function run({ rounds, seed, say }) {
  const totals = { passed: 0, failed: 0, events: 0 };
  let next = seed;
  let told = 0;
  const work = async () => {
    while (next < seed + rounds) {
      const from = next;
      const count = Math.min(seedsPerProcess, seed + rounds - from);
      next += count;
      const slice = await runSlice({ from, count, say });
      for (const key of Object.keys(totals)) totals[key] += slice[key];
      const done = totals.passed + totals.failed;
      if (done - told < 5000 && done < rounds) continue;
      told = done;
      say(`${done} of ${rounds} seeds: ${totals.passed} passed, ${totals.failed} failed`);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return totals;
}

/** A process of its own each: what one seed leaves behind in memory reaches few others. A process that dies is a failure. */
async function runSlice({ from, count, say }) {
  const child = spawn(process.execPath, [simulator, '--from', `${from}`, '--seeds', `${count}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise(resolve => child.once('close', (code, signal) => resolve(signal ?? code)));
  let [passed, failed, events] = [undefined, undefined, 0];
  for await (const line of createInterface({ input: child.stdout })) {
    const last = /^(\d+) passed, (\d+) failed$/.exec(line);
    const summary = /^\d+ seeds from \d+: (\d+) events/.exec(line);
    if (last) [passed, failed] = last.slice(1).map(Number);
    else if (summary) events = Number(summary[1]);
    else say(line);
  }
  const code = await ended;
  if (passed !== undefined) return { passed, failed, events };
  say(`seeds ${from} to ${from + count - 1}: the simulator ended with ${code} and no result`);
  return { passed: 0, failed: count, events };
}
