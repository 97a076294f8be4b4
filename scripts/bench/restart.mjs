// A daemon that starts with 100 tasks to adopt: from the start of its process until its socket answers, and until it knows all
// of them to run.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from './dev-cluster.mjs';
import { metric } from './stats.mjs';

const rounds = 7;
const tasks = 100;

export async function* metrics({ signal, say }) {
  await using cluster = await openDevCluster({ name: 'br', workers: 0, signal });
  const { service } = await timeCreate(cluster, sleeperSpec('adopt', tasks), tasks);
  const answers = [];
  const knows = [];
  for (let round = 0; round < rounds && !signal.aborted; round += 1) {
    const [node] = JSON.parse(cluster.run('status')).nodes;
    const argv = fs.readFileSync(`/proc/${node.pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
    process.kill(node.pid, 'SIGKILL');
    while (fs.existsSync(`/proc/${node.pid}/exe`)) await sleep(5);
    const begin = performance.now();
    const named = ['unshare', '--uts', 'sh', '-c', 'hostname "$1"; shift; exec "$@"', 'sh', node.name, ...argv];
    const log = fs.openSync(node.log, 'a');
    const daemon = spawn('nsenter', [`--net=/run/netns/${node.namespace}`, ...named], {
      stdio: ['ignore', log, log],
      detached: true,
      env: { ...process.env, COVEY_SOCKET: '' },
    });
    fs.closeSync(log);
    daemon.unref();
    answers.push(await until(begin, async () => await infoOf(cluster)));
    knows.push(await until(begin, async () => (await infoOf(cluster)).tasksRunning === tasks));
    say(
      `round ${round + 1}: answers after ${answers.at(-1).toFixed(2)} s, knows all after ${knows.at(-1).toFixed(2)} s`,
    );
    process.kill(daemon.pid, 'SIGTERM');
    while (fs.existsSync(`/proc/${daemon.pid}/exe`)) await sleep(5);
    cluster.run('start', '1');
  }
  yield metric('restart_answers_s', 's', answers);
  yield metric('restart_ready_s', 's', knows);
  await timeRemove(cluster, service);
}

async function infoOf(cluster) {
  return await cluster.local.info({}, { signal: cluster.signal, timeoutMs: 500 });
}

/** Seconds from `begin` until it holds. */
async function until(begin, holds) {
  for (let tries = 0; tries < 4_000; tries += 1) {
    try {
      if (await holds()) return (performance.now() - begin) / 1000;
    } catch (error) {
      if (tries === 3_999) throw error; // not up yet
    }
    await sleep(5);
  }
  throw new Error('the daemon does not come up');
}
