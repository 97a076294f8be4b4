// Five nodes, three of them managers, 20 containers on three networks, some on two of them: after each thing that may happen every
// pair that may talk does, by TCP, UDP and ICMP, and every other does not. A round is one of those things, in turns.
import { openDevCluster } from '../../dist/test/cluster/dev-cluster.js';
import { openMatrix } from '../../dist/test/cluster/matrix.js';

const plan = {
  red: { networks: ['left'], replicas: 5 },
  green: { networks: ['middle'], replicas: 4 },
  blue: { networks: ['right'], replicas: 5 },
  west: { networks: ['left', 'middle'], replicas: 3 },
  east: { networks: ['middle', 'right'], replicas: 3 },
};

export async function run({ rounds, say }) {
  const ends = [];
  const counts = { passed: 0, failed: 0, questions: 0 };
  try {
    const cluster = openDevCluster({ teardown: end => ends.push(end) }, { name: 'tmx', managers: 3, workers: 2 });
    await using matrix = openMatrix(cluster, plan);
    counts.questions = await matrix.holds();
    const events = Object.entries(matrix.events);
    for (let round = 1; round <= rounds; round += 1) {
      const [what, happens] = events[(round - 1) % events.length];
      try {
        await happens();
        const asked = await matrix.holds();
        if (asked !== counts.questions) throw new Error(`${asked} questions instead of ${counts.questions}`);
        counts.passed += 1;
        say(`round ${round}: ${what}: ${asked} answers as they have to be`);
      } catch (error) {
        counts.failed += 1;
        say(`round ${round}: ${what}: ${error.message}`);
      }
    }
  } finally {
    for (const end of ends) end();
  }
  return counts;
}
