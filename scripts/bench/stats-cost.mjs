// What looking at tasks costs: 200 real containers with limits, sampled every 5 s, as the share of one core that the daemon
// uses more than with the looks turned off.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from './dev-cluster.mjs';
import { median } from './stats.mjs';

const containers = 200;
const windowMs = 15_000;
const rounds = 2;

export async function* metrics({ signal, say }) {
  const off = await measure({ interval: '0', signal, say });
  const on = await measure({ interval: '5s', signal, say });
  const samples = on.map((value, at) => value - off[at]);
  say(
    `with looks ${on.map(value => value.toFixed(2)).join(' ')} %, without ${off.map(value => value.toFixed(2)).join(' ')} %`,
  );
  yield { metric: 'stats_cpu_pct', unit: '%', value: Math.max(0, median(on) - median(off)), samples };
}

async function measure({ interval, signal, say }) {
  process.env.COVEY_LIMITS_INTERVAL = interval;
  await using cluster = await openDevCluster({ name: 'bl', workers: 0, signal });
  const { dataDir } = cluster.nodes[0];
  const spec = sleeperSpec('many', containers);
  const limits = { cpuNanos: 5e8, memoryBytes: 64 << 20, pids: 50 };
  const { service } = await timeCreate(cluster, { ...spec, task: { ...spec.task, limits } }, containers);
  await sleep(5_000, undefined, { signal });
  const pids = daemonsOf(dataDir);
  const interval0 = fs.readFileSync(`/proc/${pids[0]}/environ`, 'utf8').includes(`COVEY_LIMITS_INTERVAL=${interval}`);
  if (!interval0) throw new Error('the daemon did not take the interval over');
  const samples = [];
  for (let round = 0; round < rounds && !signal.aborted; round += 1) {
    const before = ticksOf(pids);
    await sleep(windowMs, undefined, { signal });
    samples.push(((ticksOf(pids) - before) / Number(execFileSync('getconf', ['CLK_TCK'])) / (windowMs / 1000)) * 100);
  }
  say(
    `${containers} containers, looks every ${interval}: ${samples.map(value => value.toFixed(2)).join(' ')} % of a core`,
  );
  await timeRemove(cluster, service);
  return samples;
}

function daemonsOf(dataDir) {
  return fs
    .readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      const argv = read(`/proc/${pid}/cmdline`).split('\0');
      return argv.includes(dataDir) && argv.some(word => word.endsWith('coveyd.js'));
    });
}

function ticksOf(pids) {
  return pids
    .map(pid => read(`/proc/${pid}/stat`).split(') ')[1]?.split(' ') ?? [])
    .reduce((sum, fields) => sum + Number(fields[11] ?? 0) + Number(fields[12] ?? 0), 0);
}

function read(path) {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
