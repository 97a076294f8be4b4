// A node is cut off for 10 to 30 s while services change; 2 s after healing at the latest a task on any node is told the same,
// and no address that nobody has. A round is one cut.
import { cutAndHeal, setUpServices } from '../../dist/test/cluster/cut.js';
import { openDevCluster } from '../../dist/test/cluster/dev-cluster.js';

const withinMs = 2_000;

export async function run({ rounds, say }) {
  const ends = [];
  const cluster = openDevCluster({ teardown: end => ends.push(end) }, { name: 'tpt', workers: 2 });
  const counts = { passed: 0, failed: 0, slowestMs: 0 };
  try {
    setUpServices(cluster);
    for (let round = 1; round <= rounds; round += 1) {
      const cutMs = 10_000 + (((round - 1) * 7_000) % 21_000);
      const { problems, equalAfterMs } = await cutAndHeal(cluster, { cutMs, to: round % 2 === 1 ? 5 : 3 });
      counts.slowestMs = Math.max(counts.slowestMs, Math.round(equalAfterMs));
      if (equalAfterMs > withinMs) problems.push(`equal only after ${Math.round(equalAfterMs)} ms`);
      if (problems.length === 0) counts.passed += 1;
      else counts.failed += 1;
      say(`round ${round}: cut for ${cutMs} ms, equal after ${Math.round(equalAfterMs)} ms ${problems.join('; ')}`);
    }
  } finally {
    for (const end of ends) end();
  }
  return counts;
}
