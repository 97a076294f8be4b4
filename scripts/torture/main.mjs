// `npm run torture -- NAME [--rounds N] [--seed N]`: tests that are too long for the check. Each appends a line (commit, seed,
// rounds, passed, failed, seconds) to docs/torture.ndjson. Not here: what CI runs (npm run check).
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const tortures = {
  adopt: {
    file: './adopt.mjs',
    rounds: 200,
    says: 'kill -9 of the daemon at random moments while 30 replicas come and go',
  },
  core: {
    file: './core.mjs',
    rounds: 60,
    says: 'what `load` does, for an hour, with all daemons, their containers and the load on one core',
  },
  cycles: {
    file: './cycles.mjs',
    rounds: 1_000,
    says: 'tasks that come, are asked from another node and go, and what they leave in the network',
  },
  load: {
    file: './load.mjs',
    rounds: 10,
    says: 'minutes of full load on all cores and the disk with three managers: nobody is elected, nobody is lost',
  },
  matrix: {
    file: './matrix.mjs',
    rounds: 7,
    says: 'who reaches whom on 5 nodes, 20 containers and 3 networks, after all that may happen',
  },
  nemesis: {
    file: './nemesis.mjs',
    rounds: 200,
    says: 'three managers and two workers: killed, stopped, cut off, without power or disk, while people work',
  },
  sim: {
    file: './sim.mjs',
    rounds: 50_000,
    says: 'seeds of the Raft simulator, from --seed on',
  },
  leaks: {
    file: './leaks.mjs',
    rounds: 1_000,
    says: 'tasks that cannot be made, for all reasons, and what they leave',
  },
  elections: {
    file: './elections.mjs',
    rounds: 500,
    says: 'leaders of a real Raft group change while services come and go',
  },
  partition: {
    file: './partition.mjs',
    rounds: 12,
    says: 'a worker, a manager, a majority is cut off for 5 to 60 s while services change',
  },
  thousand: {
    file: './thousand.mjs',
    rounds: 3,
    says: 'a thousand containers on one node: all run, all answer by name, nothing stays',
  },
  health: {
    file: './health.mjs',
    rounds: 20_000,
    says: 'health and ready checks of all kinds at 50 a second, and what they leave',
  },
  renewals: {
    file: './renewals.mjs',
    rounds: 1_000,
    says: 'certificates renewed while streams carry messages',
  },
  steps: {
    file: './steps.mjs',
    rounds: 100,
    says: 'kill -9 of the daemon at each step of making and removing a task',
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '1' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const [name = ''] = positionals;
const torture = tortures[name];
if (values.help || torture === undefined) {
  process.stderr.write(
    `Usage: npm run torture -- NAME [--rounds N] [--seed N] [--from ROUND]\n\n${Object.entries(tortures)
      .map(([key, { says, rounds }]) => `  ${key.padEnd(10)} ${says} (${rounds} rounds)`)
      .join('\n')}\n`,
  );
  process.exit(values.help ? 0 : 2);
}
const rounds = Number(values.rounds ?? torture.rounds);
const seed = Number(values.seed);
const begin = performance.now();
const { run } = await import(torture.file);
const outcome = await run({ rounds, seed, from: Number(values.from), say: text => process.stderr.write(`${text}\n`) });
const line = {
  name,
  commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim(),
  seed,
  rounds,
  ...outcome,
  seconds: Math.round((performance.now() - begin) / 1000),
};
fs.appendFileSync(join(root, 'docs/torture.ndjson'), `${JSON.stringify(line)}\n`);
process.stdout.write(`${JSON.stringify(line)}\n`);
process.exit(outcome.failed === 0 ? 0 : 1);
