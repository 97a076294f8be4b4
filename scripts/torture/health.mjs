// Health and ready checks of all kinds at about 50 a second, among them such that hang and such whose program is missing
// (test/tasks/health-load.ts). Must hold after --rounds of them: memory grew by less than 10 MiB, and no descriptor, zombie,
// child or record of a program is left. Memory is read without garbage, and the last tenth compared with the first.
//
// In a process with the flags of coveyd: how much room V8 gives to young objects moves between 10 and 40 MiB without them.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const growthMaxMib = 10;
const self = fileURLToPath(import.meta.url);
const root = join(dirname(self), '../..');

export async function run({ rounds, say }) {
  const flags = fs.readFileSync(join(root, 'bin/coveyd'), 'utf8').match(/(?<=\s)--(?:min|max|no)-[\w=-]+/g) ?? [];
  if (!flags.some(flag => flag.startsWith('--max-semi-space-size=')))
    throw new Error('Cannot find the flags of coveyd in bin/coveyd');
  const child = spawn(process.execPath, [...flags, self, String(rounds)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const piece of child.stdout) text += piece;
  const line = text.split('\n').find(one => one.startsWith('{'));
  if (line === undefined) throw new Error(`the load ended without a result: ${text.slice(-2_000)}`);
  const found = JSON.parse(line);
  say(line);
  const laws = {
    'memory grew': found.rssGrowthMib < growthMaxMib,
    'descriptors are left': found.fdGrowth <= 0,
    'zombies are left': found.zombies.length === 0,
    'records are left': found.records.length === 0,
    'children are left': found.children === 0,
  };
  const broken = Object.entries(laws).filter(([, holds]) => !holds);
  for (const [law] of broken) say(law);
  const { rssGrowthMib, heapGrowthMib, youngGrowthMib } = found;
  const memory = Object.fromEntries(
    Object.entries({ rssGrowthMib, heapGrowthMib, youngGrowthMib }).map(([name, mib]) => [
      name,
      Math.round(mib * 10) / 10,
    ]),
  );
  return {
    ...memory,
    zombies: found.zombies.length,
    passed: broken.length === 0 ? found.checks : 0,
    failed: broken.length,
  };
}

if (process.argv[1] === self) {
  setFlagsFromString('--optimize-for-size'); // as the daemon does
  const { default: t } = await import('tap');
  const { runLoad } = await import(join(root, 'dist/test/tasks/health-load.js'));
  t.setTimeout(0);
  const rounds = Number(process.argv[2]);
  const found = await runLoad(t, { checks: rounds, warmUp: Math.min(1_000, rounds), prefix: 'cvhl' });
  process.stdout.write(`${JSON.stringify({ ...found, perSecond: Math.round(found.checks / found.seconds) })}\n`);
}
