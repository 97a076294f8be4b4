// What a cluster costs that does nothing: bytes on the wire of one idle worker, by the link that it is told to have, and the
// processor time of daemons that have nothing to do, of a worker and of one of three managers.
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster } from './dev-cluster.mjs';

const wireMs = 120_000;
const cpuMs = 60_000;
const rounds = 3;
/** After a change: sessions, tables and what a daemon does once after its start are over. */
const settleMs = 20_000;

export async function* metrics({ signal, say }) {
  {
    await using cluster = await openDevCluster({ name: 'bi', workers: 1, signal });
    for (const link of ['lan', 'metered']) {
      cluster.covey(1, 'node', 'update', '--link', link, cluster.nodes[1].name);
      await sleep(settleMs, undefined, { signal });
      say(`one worker, link ${link}`);
      yield row(`idle_node_bytes_s_${link}`, 'B/s', [await bytesPerSecond(cluster.nodes[1], signal)]);
      if (link === 'lan') yield row('idle_cpu_worker_pct', '%', await idleCpu(cluster.nodes[1], signal));
    }
  }
  await using cluster = await openDevCluster({ name: 'bi', managers: 3, workers: 0, signal });
  await sleep(settleMs, undefined, { signal });
  say('three managers');
  yield row('idle_cpu_manager_pct', '%', await idleCpu(cluster.nodes[0], signal));
  yield row('idle_cpu_follower_pct', '%', await idleCpu(cluster.nodes[1], signal));
}

function row(metric, unit, samples) {
  return { metric, unit, value: [...samples].sort((a, b) => a - b)[samples.length >> 1], samples };
}

/** Both ways, frames whole, as the interface of its namespace counts them. */
async function bytesPerSecond({ pid }, signal) {
  const read = () => {
    const line = fs
      .readFileSync(`/proc/${pid}/net/dev`, 'utf8')
      .split('\n')
      .find(text => text.trim().startsWith('eth0:'));
    const fields = line.split(':')[1].trim().split(/\s+/).map(Number);
    return fields[0] + fields[8];
  };
  const before = read();
  const begin = performance.now();
  await sleep(wireMs, undefined, { signal });
  return (read() - before) / ((performance.now() - begin) / 1_000);
}

/** Of one core, with the threads of the daemon. */
async function idleCpu({ pid }, signal) {
  const seconds = () => {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  const samples = [];
  for (let round = 0; round < rounds && !signal.aborted; round += 1) {
    const before = seconds();
    const begin = performance.now();
    await sleep(cpuMs, undefined, { signal });
    samples.push(((seconds() - before) / ((performance.now() - begin) / 1_000)) * 100);
  }
  return samples;
}
