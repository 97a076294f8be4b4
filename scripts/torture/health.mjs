// Health and ready checks of all kinds at about 50 a second, among them such that hang and such whose program is missing
// (test/tasks/health-load.ts). Must hold after --rounds of them: memory grew by less than 10 MiB, and no descriptor, zombie,
// child or record of a program is left. Memory is read without garbage, and the last tenth compared with the first.
import t from 'tap';
import { runLoad } from '../../dist/test/tasks/health-load.js';

const growthMaxMib = 10;

export async function run({ rounds, say }) {
  t.setTimeout(0);
  const found = await runLoad(t, { checks: rounds, warmUp: Math.min(1_000, rounds), prefix: 'cvhl' });
  say(JSON.stringify({ ...found, perSecond: Math.round(found.checks / found.seconds) }));
  const laws = {
    'memory grew': found.rssGrowthMib < growthMaxMib,
    'descriptors are left': found.fdGrowth <= 0,
    'zombies are left': found.zombies.length === 0,
    'records are left': found.records.length === 0,
    'children are left': found.children === 0,
  };
  const broken = Object.entries(laws).filter(([, holds]) => !holds);
  for (const [law] of broken) say(law);
  const memory = { rssGrowthMib: round(found.rssGrowthMib), heapGrowthMib: round(found.heapGrowthMib) };
  return { ...memory, passed: broken.length === 0 ? found.checks : 0, failed: broken.length };
}

function round(mib) {
  return Math.round(mib * 10) / 10;
}
