// How long a change of endpoints takes until every node has acknowledged it: five real nodes that put it into effect, and a
// hundred whose agents acknowledge at once (all in another process) beside one real manager. Tasks come and go by ones and by
// fives; what is measured is each change of the tables, from the store to the last acknowledgement, as the leader sees it.
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from './dev-cluster.mjs';
import { openFleet } from './managers-agents.mjs';
import { percentile } from './stats.mjs';

const flags = '--bench yes';
const replicas = [1, 5];
const rounds = 6;
const simulated = 100;

export async function* acknowledgements({ signal, say }) {
  {
    await using cluster = await openDevCluster({ name: 'bka', managers: 1, workers: 4, flags, signal });
    yield* percentiles('endpoint_ack_5', await changes(cluster, [], say));
  }
  await using cluster = await openDevCluster({ name: 'bkb', managers: 1, workers: 0, flags, signal });
  const token = cluster.covey(1, 'token', 'worker', '-q').trim();
  await using fleet = openFleet([`${cluster.nodes[0].address}:7377`, token, String(simulated)], signal);
  await fleet.connected;
  yield* percentiles('endpoint_ack_100', await changes(cluster, ['node.role==manager'], say));
}

/** p99 as the value, with every sample, and the median of the same. */
function* percentiles(name, samples) {
  yield { metric: `${name}_ms`, value: percentile(samples, 0.99), unit: 'ms', samples: samples.map(Math.round) };
  yield { metric: `${name}_p50_ms`, value: percentile(samples, 0.5), unit: 'ms', samples: [] };
}

async function changes(cluster, constraints, say) {
  const bench = cluster.benchOf(1);
  const ask = () => bench.acknowledged({}, { signal: cluster.signal });
  const before = await ask();
  for (let round = 0; round < rounds && !cluster.signal?.aborted; round += 1) {
    for (const count of replicas) {
      const spec = sleeperSpec(`r${round}x${count}`, count, { networks: [{ network: 'default', aliases: [] }] });
      const port = { protocol: 'tcp', target: 80, published: 20_000, mode: 'ingress' };
      const placement = { ...spec.task.placement, constraints };
      const { service } = await timeCreate(
        cluster,
        { ...spec, ports: [port], task: { ...spec.task, placement } },
        count,
      );
      await timeRemove(cluster, service);
    }
  }
  const after = await ask();
  const samples = after.milliseconds.slice(-(after.count - before.count));
  say?.(`${samples.length} changes of endpoints on ${cluster.nodes.length} real nodes`);
  return samples;
}
