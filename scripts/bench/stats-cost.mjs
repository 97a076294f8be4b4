// What looking at tasks costs: 200 real containers with limits, sampled every 5 s, as the share of one core that the daemon
// uses more than with the looks turned off. One daemon, whose looks are turned on and off by restarting it between windows: what
// else happens on the machine, and what grows with the age of a daemon, is in both halves.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from './dev-cluster.mjs';
import { median } from './stats.mjs';

const containers = 200;
const windowMs = 20_000;
const rounds = 3;
const intervals = { off: '0', on: '5s' };

export async function* metrics({ signal, say }) {
  process.env.COVEY_LIMITS_INTERVAL = intervals.off;
  await using cluster = await openDevCluster({ name: 'bl', workers: 0, signal });
  const spec = sleeperSpec('many', containers);
  const limits = { cpuNanos: 5e8, memoryBytes: 64 << 20, pids: 50 };
  const { service } = await timeCreate(cluster, { ...spec, task: { ...spec.task, limits } }, containers);
  const off = [];
  const on = [];
  for (let round = 0; round < rounds && !signal.aborted; round += 1) {
    off.push(await look(cluster, { interval: intervals.off, signal }));
    on.push(await look(cluster, { interval: intervals.on, signal }));
    say(
      `window ${round + 1} of ${rounds}: ${on.at(-1).toFixed(2)} % of a core with looks, ${off.at(-1).toFixed(2)} without`,
    );
  }
  await timeRemove(cluster, service);
  const samples = on.map((value, at) => value - off[at]);
  yield { metric: 'stats_cpu_pct', unit: '%', value: Math.max(0, median(samples)), samples };
}

/** The share of a core over one window, of a daemon that was started for it and has adopted all. */
async function look(cluster, { interval, signal }) {
  process.env.COVEY_LIMITS_INTERVAL = interval;
  const { dataDir } = cluster.nodes[0];
  cluster.run('kill', '1');
  cluster.run('start', '1');
  await settled(cluster, signal);
  const pids = daemonsOf(dataDir);
  const isTaken = read(`/proc/${pids[0]}/environ`).split('\0').includes(`COVEY_LIMITS_INTERVAL=${interval}`);
  if (!isTaken) throw new Error('the daemon did not take the interval over');
  const before = ticksOf(pids);
  const begin = performance.now();
  await sleep(windowMs, undefined, { signal });
  const seconds = (performance.now() - begin) / 1_000;
  return ((ticksOf(pids) - before) / Number(execFileSync('getconf', ['CLK_TCK'])) / seconds) * 100;
}

/** Until all tasks are running again in the store, and the daemon has been quiet for a second. */
async function settled(cluster, signal) {
  const asked = { tasks: [], service: 'many', node: '', stack: '', current: true };
  for (;;) {
    signal.throwIfAborted();
    const found = await cluster.control.listTasks(asked, { signal, timeoutMs: 5_000 }).catch(() => undefined);
    const isWhole = found?.tasks.filter(task => task.status.state === 'running').length === containers;
    const pids = daemonsOf(cluster.nodes[0].dataDir);
    const before = ticksOf(pids);
    await sleep(1_000, undefined, { signal });
    if (isWhole && ticksOf(pids) - before < quietTicks) return;
  }
}

/** In a second, of a hundred. */
const quietTicks = 10;

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
