// Nodes of a cluster of three managers and two workers are cut off for 5 to 60 s while services change: a worker, a manager (the
// leader among them), a majority together, a majority each alone, the leader with a worker. Nothing is restarted, and 2 s after
// healing at the latest every node shows the same: names, addresses, backends. A round is one cut.
import { cutAndHeal, setUpServices } from '../../dist/test/cluster/cut.js';
import { openDevCluster, until } from '../../dist/test/cluster/dev-cluster.js';

const withinMs = 2_000;

export async function run({ rounds, seed, say }) {
  const ends = [];
  const cluster = openDevCluster({ teardown: end => ends.push(end) }, { name: 'tpt', managers: 3, workers: 2 });
  const counts = { passed: 0, failed: 0, slowestMs: 0 };
  const next = generator(seed);
  try {
    setUpServices(cluster);
    for (let round = 1; round <= rounds; round += 1) {
      const leader = await leaderOf(cluster);
      const { what, groups, commands } = kindOf(round, leader, next);
      const cutMs = Math.round(5_000 + 55_000 * next());
      const { problems, equalAfterMs } = await cutAndHeal(cluster, {
        groups,
        commands,
        cutMs,
        to: round % 2 === 1 ? 5 : 3,
      }).catch(error => ({ problems: [error.message], equalAfterMs: Number.NaN }));
      counts.slowestMs = Math.max(counts.slowestMs, Math.round(equalAfterMs) || 0);
      if (equalAfterMs > withinMs) problems.push(`equal only after ${Math.round(equalAfterMs)} ms`);
      if (problems.length === 0) counts.passed += 1;
      else counts.failed += 1;
      say(`round ${round}: ${what} for ${cutMs} ms, equal after ${Math.round(equalAfterMs)} ms ${problems.join('; ')}`);
      cluster.script('heal');
    }
  } finally {
    for (const end of ends) end();
  }
  return counts;
}

/** Which nodes are cut off, and which one takes commands meanwhile. */
function kindOf(round, leader, next) {
  const others = [1, 2, 3].filter(index => index !== leader);
  const worker = next() < 0.5 ? 4 : 5;
  const kinds = [
    { what: `worker ${worker} cut off`, groups: [[worker]], commands: leader },
    { what: `leader ${leader} cut off`, groups: [[leader]], commands: others[0] },
    { what: `managers ${others.join(' and ')} cut off together`, groups: [others], commands: others[0] },
    {
      what: `managers ${others.join(' and ')} cut off alone`,
      groups: others.map(index => [index]),
      commands: undefined,
    },
    { what: `leader ${leader} and worker ${worker} cut off together`, groups: [[leader, worker]], commands: others[1] },
    { what: `manager ${others[0]} cut off`, groups: [[others[0]]], commands: leader },
  ];
  return kinds[(round - 1) % kinds.length];
}

async function leaderOf(cluster) {
  const rows = await until(
    'a leader',
    () => {
      const answer = cluster.covey(1, 'node', 'ls', '--format', 'json');
      return answer.status === 0
        ? answer.stdout
            .trim()
            .split('\n')
            .map(line => JSON.parse(line))
        : [];
    },
    nodes => nodes.length === 5 && nodes.some(node => node.leader) && nodes.every(node => node.state === 'ready'),
    60_000,
  );
  const { name } = rows.find(node => node.leader);
  return cluster.nodes.find(node => node.name === name).index;
}

/** The same numbers for the same seed. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}
