/**
 * Whatever happens to nodes, daemons and services: every pair of containers that may talk does, every other does not.
 */
import t from 'tap';
import { cannotCluster, openDevCluster } from './dev-cluster.js';
import { openMatrix } from './matrix.js';

t.test('who reaches whom', { skip: cannotCluster, timeout: 1_200_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'mx', managers: 3, workers: 0 });
  await using matrix = openMatrix(cluster, {
    red: { networks: ['left'], replicas: 4 },
    blue: { networks: ['right'], replicas: 4 },
    both: { networks: ['left', 'right'], replicas: 4 },
  });
  // From each of 12, to 11 others with 4 addresses more than they are: TCP, UDP, ICMP.
  const questions = 3 * (12 * 16 - 16);
  t.equal(await matrix.holds(), questions, 'from the beginning');
  for (const [what, happens] of Object.entries(matrix.events)) {
    await t.test(`after ${what}`, async t => {
      await happens();
      t.equal(await matrix.holds(), questions);
    });
  }
});
