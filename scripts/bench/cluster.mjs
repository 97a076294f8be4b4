// Three nodes: joining, and services whose tasks share an overlay network.
import { openDevCluster, sleeperSpec, timeCreate, timeRemove, timeUpdate } from './dev-cluster.mjs';
import { openPeer } from './peer-swarm.mjs';
import { metric } from './stats.mjs';

const rounds = 10;

export async function* metrics({ peer, signal, say }) {
  await using swarm = peer ? await openPeer({ nodes: 3, signal, say }) : undefined;
  await using cluster = await openDevCluster({ name: 'bc', workers: 2, signal });
  say('three nodes up');
  yield metric('join_s', 's', joins(cluster), swarm?.joinSeconds);

  await cluster.control.createNetwork(
    {
      spec: { name: 'ov1', labels: {}, stack: '', driver: 'overlay', subnets: [], internal: false, attachable: false },
    },
    { signal },
  );
  const samples = [];
  const peerSamples = [];
  for (let round = 0; round < rounds && !signal.aborted; round += 1) {
    const spec = sleeperSpec(`ov${round}`, 31, { networks: [{ network: 'ov1', aliases: [] }] });
    const { ms, service } = await timeCreate(cluster, spec, 31);
    samples.push(ms / 1000);
    await timeRemove(cluster, service);
    if (swarm && round < 3) peerSamples.push((await swarm.create(31, ['--network', 'ov1'])).createMs / 1000);
  }
  yield metric('create_31_overlay_s', 's', samples, swarm && peerSamples);
  yield metric('update_9_s', 's', await updates(cluster), swarm && (await swarm.updates(9, 3, ['--network', 'ov1'])));
}

/** Nine replicas are replaced, one after the other, stopped first; without delay and monitor time. */
async function updates(cluster) {
  const spec = sleeperSpec('roll', 9, { networks: [{ network: 'ov1', aliases: [] }] });
  const config = { delayMs: 0, monitorMs: 0, failureAction: 'pause', maxFailureRatio: 0, order: 'stop-first' };
  const { service } = await timeCreate(cluster, { ...spec, update: config }, 9);
  const samples = [];
  for (let round = 0; round < rounds && !cluster.signal.aborted; round += 1)
    samples.push((await timeUpdate(cluster, service)) / 1000);
  await timeRemove(cluster, service);
  return samples;
}

/** Node 3 leaves and joins again; from the command to the node being ready, as the command itself waits for it. */
function joins(cluster) {
  const [manager] = cluster.nodes;
  const node = cluster.nodes[2];
  return Array.from({ length: rounds }, () => {
    cluster.covey(3, 'leave', '--yes');
    const token = cluster.covey(1, 'token', 'worker', '-q').trim();
    const begin = performance.now();
    cluster.covey(3, 'join', '--token', token, '--advertise-addr', node.address, `${manager.address}:7377`);
    const seconds = (performance.now() - begin) / 1000;
    return seconds;
  });
}
