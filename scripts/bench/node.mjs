// One node: start of the command line, create and remove, memory and idle cost with 100 tasks.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from './dev-cluster.mjs';
import { openPeer } from './peer-swarm.mjs';
import { metric } from './stats.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const rounds = 10;

export async function* metrics({ peer, signal, say }) {
  yield metric(
    'help_ms',
    'ms',
    timesOf(() => execFileSync(join(root, 'bin/covey'), ['--help'])),
    peer ? timesOf(() => execFileSync('docker', ['--help'])) : undefined,
  );
  await using swarm = peer ? await openPeer({ nodes: 1, signal, say }) : undefined;
  await using cluster = await openDevCluster({ name: 'bn', workers: 0, signal });
  const { socket, dataDir } = cluster.nodes[0];
  say(`one node up (${socket})`);
  yield memory('rss_idle_mib', daemonsOf(dataDir), swarm?.memory());

  const ones = [];
  const peerOnes = [];
  for (let round = 0; round < rounds && !signal.aborted; round += 1) {
    const { ms, service } = await timeCreate(cluster, sleeperSpec(`one${round}`, 1), 1);
    ones.push(ms);
    await timeRemove(cluster, service);
    if (swarm) peerOnes.push((await swarm.create(1)).createMs);
  }
  yield metric('create_1_ms', 'ms', ones, swarm && peerOnes);
  yield* userNamespaces(cluster, signal);

  const creates = [];
  const removes = [];
  const peerCreates = [];
  const peerRemoves = [];
  for (let round = 0; round < (process.env.BENCH_ROUNDS ?? rounds) && !signal.aborted; round += 1) {
    const { ms, service } = await timeCreate(cluster, sleeperSpec(`hundred${round}`, 100), 100);
    creates.push(ms / 1000);
    removes.push((await timeRemove(cluster, service)) / 1000);
    if (swarm && round < 3) {
      const measured = await swarm.create(100);
      peerCreates.push(measured.createMs / 1000);
      peerRemoves.push(measured.removeMs / 1000);
    }
  }
  yield metric('create_100_s', 's', creates, swarm && peerCreates);
  yield metric('remove_100_s', 's', removes, swarm && peerRemoves);

  const before = availableMib();
  const { service } = await timeCreate(cluster, sleeperSpec('stay', 100), 100);
  await sleep(3_000, undefined, { signal });
  yield {
    metric: 'per_container_mib',
    unit: 'MiB',
    value: (before - availableMib()) / 100,
    samples: [(before - availableMib()) / 100],
  };
  yield memory('rss_100_mib', daemonsOf(dataDir), swarm?.memory());
  yield metric('idle_cpu_pct', '%', await idleCpu(daemonsOf(dataDir), signal));
  await timeRemove(cluster, service);
}

/** What a user namespace costs a start: by turns, so that the machine's mood is the same for both. */
async function* userNamespaces(cluster, signal) {
  const taken = { host: [], auto: [] };
  for (let round = 0; round < 5 * rounds && !signal.aborted; round += 1) {
    for (const mode of round % 2 === 0 ? ['host', 'auto'] : ['auto', 'host']) {
      const { ms, service } = await timeCreate(cluster, sleeperSpec(`${mode}${round}`, 1, {}, mode), 1);
      if (round > 0) taken[mode].push(ms);
      await timeRemove(cluster, service);
    }
  }
  yield metric('create_1_userns_host_ms', 'ms', taken.host);
  yield metric('create_1_userns_auto_ms', 'ms', taken.auto);
}

function timesOf(run) {
  run();
  return Array.from({ length: rounds }, () => {
    const begin = performance.now();
    run();
    return performance.now() - begin;
  });
}

/** The daemon and its children that are no monitors of containers. */
function daemonsOf(dataDir) {
  return fs
    .readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      const argv = read(`/proc/${pid}/cmdline`).split('\0');
      return argv.includes(dataDir) && argv.some(word => word.endsWith('coveyd.js'));
    });
}

function read(path) {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Proportional set size: shared pages count by their share. */
function memory(name, pids, peerMib) {
  const kib = pids
    .map(pid => Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0))
    .reduce((a, b) => a + b, 0);
  return metric(name, 'MiB', [kib / 1024], peerMib === undefined ? undefined : [peerMib]);
}

function availableMib() {
  return Number(/^MemAvailable:\s+(\d+)/m.exec(read('/proc/meminfo'))?.[1]) / 1024;
}

async function idleCpu(pids, signal) {
  const ticks = () =>
    pids
      .map(pid => read(`/proc/${pid}/stat`).split(') ')[1]?.split(' ') ?? [])
      .reduce((sum, fields) => sum + Number(fields[11] ?? 0) + Number(fields[12] ?? 0), 0);
  const samples = [];
  for (let round = 0; round < 3 && !signal.aborted; round += 1) {
    const before = ticks();
    await sleep(10_000, undefined, { signal });
    samples.push(((ticks() - before) / 100 / 10) * 100);
  }
  return samples;
}
