/**
 * `npm run sim -- --seeds N --from S` runs N seeds from S on; `--replay SEED` runs one twice and prints what happened
 * (`--trace` every event, `--shrink` the fewest faults that still break it). Ends with `N passed, N failed`.
 */
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { TimedFault } from './faults.js';
import { type RunResult, runSeed } from './run.js';

export function main(args: readonly string[]): number {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '100' },
      from: { type: 'string', default: '1' },
      replay: { type: 'string' },
      trace: { type: 'boolean', default: false },
      shrink: { type: 'boolean', default: false },
    },
  });
  if (values.replay !== undefined) return replay(Number(values.replay), values);
  return runMany(Number(values.from), Number(values.seeds));
}

/** Seeds between two lines that say how far it is. */
const progressEvery = 1000;

function runMany(from: number, count: number): number {
  const begin = performance.now();
  let [failed, events, commits, terms, operations] = [0, 0, 0, 0, 0];
  for (let seed = from; seed < from + count; seed += 1) {
    const result = runSeed(seed);
    events += result.events;
    commits += Math.max(0, result.commits);
    terms += result.leaderTerms;
    operations += result.counts.ok + result.counts.reads;
    if ((seed - from + 1) % progressEvery === 0)
      process.stderr.write(`${seed - from + 1} of ${count} seeds, ${failed} failed\n`);
    if (result.violation === undefined) continue;
    failed += 1;
    console.log(`seed ${seed}: ${result.violation}\n  replay: npm run sim -- --replay ${seed} --shrink`);
  }
  const seconds = (performance.now() - begin) / 1000;
  console.log(
    `${count} seeds from ${from}: ${events} events, ${commits} entries committed, ${operations} operations answered, ${terms} terms, ${seconds.toFixed(1)} s`,
  );
  console.log(`${count - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

function replay(seed: number, options: { readonly trace: boolean; readonly shrink: boolean }): number {
  const result = runSeed(seed, options.trace ? { record: line => console.log(line) } : {});
  const again = runSeed(seed);
  console.log(
    `seed ${seed}: trace hash ${result.hash}, again ${again.hash}${result.hash === again.hash ? '' : ' (DIFFERENT)'}`,
  );
  console.log(
    `${result.events} events, ${JSON.stringify(result.counts)}, ${result.commits} committed, term ${result.leaderTerms}`,
  );
  console.log(result.violation === undefined ? 'no violation' : `violation: ${result.violation}`);
  const faults = options.shrink && result.violation !== undefined ? shrink(result) : result.faults;
  for (const { at, fault } of faults) console.log(`  ${at} ${JSON.stringify(fault)}`);
  const good = result.violation === undefined && result.hash === again.hash;
  console.log(good ? '1 passed, 0 failed' : '0 passed, 1 failed');
  return good ? 0 : 1;
}

/** Takes away faults, half of them, then quarters, down to single ones, as long as the run still breaks. */
function shrink(broken: RunResult): readonly TimedFault[] {
  let faults = broken.faults;
  for (let size = Math.ceil(faults.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < faults.length; ) {
      const fewer = [...faults.slice(0, at), ...faults.slice(at + size)];
      if (runSeed(broken.seed, { faults: fewer }).violation === undefined) at += size;
      else faults = fewer;
    }
  }
  const small = runSeed(broken.seed, { faults });
  console.log(`${faults.length} of ${broken.faults.length} faults are enough: ${small.violation}`);
  return faults;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = main(process.argv.slice(2));
