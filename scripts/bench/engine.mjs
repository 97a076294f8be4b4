// The task engine of one node without managers: tasks one after the other, and a thousand at once. The peer gets 300 at once (it
// needs minutes for a thousand); beside it ours with as many, in the same run.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from './dev-cluster.mjs';
import { openPeer } from './peer-swarm.mjs';
import { metric, percentile } from './stats.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const rounds = Number(process.env.BENCH_ROUNDS ?? 200);
const many = 1000;
const manyForPeer = 300;
/** As bin/coveyd starts the daemon. */
const daemonFlags = ['--max-semi-space-size=1', '--optimize-for-size'];

export async function* metrics({ peer, signal, say }) {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...daemonFlags, join(here, 'engine-child.mjs'), String(rounds)],
    { signal },
  );
  const starts = JSON.parse(stdout);
  yield metric('start_p50_ms', 'ms', starts);
  yield { ...metric('start_p99_ms', 'ms', starts), value: percentile(starts, 0.99) };

  const swarm = peer ? await createOnPeer({ signal, say }) : undefined;
  await using cluster = await openDevCluster({ name: 'be', workers: 0, signal });
  if (swarm !== undefined) {
    const ours = await createMany(cluster, manyForPeer);
    const row = (name, unit, key) => metric(`${name}_${manyForPeer}_${unit}`, unit, [ours[key]], [swarm[key]]);
    yield row('create', 's', 'createS');
    yield { ...row('per_container', 'mib', 'eachMib'), unit: 'MiB' };
    yield row('remove', 's', 'removeS');
  }
  say(`one node up; ${many} containers`);
  const { createS, eachMib, removeS } = await createMany(cluster, many);
  yield metric('create_1000_s', 's', [createS]);
  yield metric('per_container_1000_mib', 'MiB', [eachMib]);
  yield metric('remove_1000_s', 's', [removeS]);
}

async function createMany(cluster, count) {
  const before = availableMib();
  const { ms, service } = await timeCreate(cluster, sleeperSpec(`many${count}`, count), count);
  const eachMib = (before - availableMib()) / count;
  return { createS: ms / 1000, eachMib, removeS: (await timeRemove(cluster, service)) / 1000 };
}

/** Gone again before ours begins: neither is to carry the other's load. */
async function createOnPeer({ signal, say }) {
  await using swarm = await openPeer({ nodes: 1, signal, say });
  await swarm.create(1); // what is read for the first time is read now
  const before = availableMib();
  let eachMib = 0;
  const { createMs, removeMs } = await swarm.create(manyForPeer, [], () => {
    eachMib = (before - availableMib()) / manyForPeer;
  });
  return { createS: createMs / 1000, eachMib, removeS: removeMs / 1000 };
}

function availableMib() {
  return Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) / 1024;
}
