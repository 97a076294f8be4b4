/**
 * Whatever happens to nodes, daemons and services: every pair of containers that may talk does, every other does not.
 */
import t from 'tap';
import { cannotCluster, type DevCluster, openDevCluster, until } from './dev-cluster.js';
import { wantedAt } from './living.js';
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
      if (what.includes('flushed'))
        for (const { name } of cluster.nodes) t.not(await mendedOn(cluster, name), '', name);
    });
  }

  await t.test('a service is taken off a network, and put on it again', async t => {
    const haveAddresses = (count: number) =>
      until(
        `${count} addresses for each task`,
        () => wantedAt(cluster, 1).get('both') ?? [],
        tasks => tasks.length === 4 && tasks.every(task => task.addresses.length === count),
        300_000,
      );
    cluster.must(1, 'network', 'disconnect', '--detach', 'right', 'both');
    await haveAddresses(1);
    t.equal(await matrix.holds(), 3 * (12 * 12 - 12));
    cluster.must(1, 'network', 'connect', '--detach', '--alias', 'twice', 'right', 'both');
    await haveAddresses(2);
    t.equal(await matrix.holds(), questions);
  });
});

/** What the managers know of the last mending on a node: everybody can look it up. */
async function mendedOn(cluster: DevCluster, name: string): Promise<string> {
  interface Row {
    readonly networkMended: { readonly last: readonly string[] } | null;
  }
  const rows = await until(
    `what was mended on ${name}`,
    () => cluster.json<Row>(1, 'node', 'inspect', name),
    ([row]) => row?.networkMended != null,
  );
  return rows[0]?.networkMended?.last.join('; ') ?? '';
}
