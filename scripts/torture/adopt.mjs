// kill -9 of the daemon at random moments while 30 replicas are created and removed; every time it is started again. A round is
// one moment: odd ones while replicas come, even ones while they go. Must hold after each: a container that ran before the kill
// and is still wanted has the same process after it (0 restarts), and namespaces, links, mounts, cgroups, bundles, monitors,
// volumes, state of the runtime and directories are those of the tasks that stay, and no others (0 leaks).
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec } from '../bench/dev-cluster.mjs';

const replicas = 30;
const staying = 5;
const comesMs = 900;
const goesMs = 500;

/** mulberry32: the same seed, the same moments. */
function makeRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export async function run({ rounds, seed, say, name = 'tort' }) {
  const random = makeRandom(seed);
  const counts = { passed: 0, failed: 0 };
  await using cluster = await openDevCluster({ name, workers: 0, signal: new AbortController().signal });
  const call = { signal: cluster.signal, timeoutMs: 20_000 };
  const { id: stayers } = await cluster.control.createService({ spec: specOf('stayers', staying) }, call);
  await running(cluster, stayers, staying);
  const context = { cluster, call, random };
  for (let round = 1; round <= rounds; round += 1) {
    const problems = round % 2 === 1 ? await dieComing(context, round) : await dieGoing(context, round - 1);
    if (problems.length === 0) counts.passed += 1;
    else {
      counts.failed += 1;
      say(`round ${round}: ${problems.slice(0, 6).join('; ')}`);
    }
    if (round % 20 === 0) say(`${round} of ${rounds}: ${counts.passed} passed, ${counts.failed} failed`);
  }
  for (const service of await services(context)) await cluster.control.removeService({ object: service.id }, call);
  const left = await settled(cluster.nodes[0], 0);
  if (left.length > 0) {
    counts.failed += 1;
    say(`left at the end: ${left.slice(0, 10).join('; ')}`);
  }
  return counts;
}

/** With a volume of its own, so that those are counted too. */
function specOf(serviceName, count) {
  const spec = sleeperSpec(serviceName, count);
  const volume = { kind: 'volume', source: '', target: '/scratch', readOnly: false, tmpfsBytes: 0, tmpfsMode: 0 };
  const mount = { ...volume, propagation: '', noCopy: false, subpath: '', volumeOptions: {}, volumeLabels: {} };
  const containers = spec.task.containers.map(container => ({ ...container, mounts: [mount] }));
  return { ...spec, task: { ...spec.task, containers } };
}

async function dieComing({ cluster, call, random }, round) {
  const change = cluster.control.createService({ spec: specOf(`come${round}`, replicas) }, call).catch(error => error); // the answer is lost with the daemon; what was acknowledged is looked at below
  await sleep(random() * comesMs);
  const before = await startTimes(cluster);
  cluster.run('kill', '1');
  const answer = await change;
  cluster.run('start', '1');
  const come = (await services({ cluster, call })).find(service => service.spec.name === `come${round}`);
  if (come === undefined) {
    return answer instanceof Error ? [] : ['a service that was acknowledged is gone'];
  }
  await running(cluster, come.id, replicas);
  return [...restarts(before, await startTimes(cluster)), ...(await settled(cluster.nodes[0], staying + replicas))];
}

async function dieGoing({ cluster, call, random }, round) {
  const come = (await services({ cluster, call })).find(service => service.spec.name === `come${round}`);
  const stays = new Set((await tasksOf(cluster, '')).filter(task => task.serviceId !== come?.id).map(({ id }) => id));
  const before = new Map([...(await startTimes(cluster))].filter(([id]) => stays.has(id)));
  const removing =
    come === undefined ? undefined : cluster.control.removeService({ object: come.id }, call).catch(error => error);
  await sleep(random() * goesMs);
  cluster.run('kill', '1');
  const answer = await removing;
  cluster.run('start', '1');
  const still = (await services({ cluster, call })).find(({ id, removing: goes }) => id === come?.id && !goes);
  if (still !== undefined) {
    if (!(answer instanceof Error)) return ['a removal that was acknowledged is forgotten'];
    await cluster.control.removeService({ object: still.id }, call);
  }
  const left = await settled(cluster.nodes[0], staying);
  return [...restarts(before, await startTimes(cluster)), ...left];
}

/** Start times of the main processes of all running tasks; of a daemon that has just been started, once it answers. */
async function startTimes(cluster) {
  for (let tries = 0; ; tries += 1) {
    try {
      const tasks = await tasksOf(cluster, '');
      return new Map(
        tasks
          .filter(task => task.status.state === 'running' && task.desired === 'running')
          .map(task => [task.id, startOf(task.status.pid)]),
      );
    } catch (error) {
      if (error?.code === 'bug' || tries > 20) throw error;
    }
    await sleep(50);
  }
}

function restarts(before, after) {
  return [...before]
    .filter(([id, start]) => start !== undefined && after.get(id) !== start)
    .map(([id, start]) => `task ${id} was restarted: ${start} became ${after.get(id)}`);
}

function startOf(pid) {
  const stat = read(`/proc/${pid}/stat`);
  return stat === '' ? undefined : `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
}

async function tasksOf(cluster, service) {
  const request = { tasks: [], service, node: '', stack: '', current: false };
  return (await cluster.control.listTasks(request, { signal: cluster.signal, timeoutMs: 5_000 })).tasks;
}

/** Once the daemon answers again. */
async function services({ cluster, call }) {
  for (let tries = 0; ; tries += 1) {
    try {
      return (await cluster.control.listServices({ objects: [], stack: '' }, call)).services;
    } catch (error) {
      if (tries > 200) throw error;
    }
    await sleep(50);
  }
}

async function running(cluster, service, count) {
  let seen = 0;
  for (let tries = 0; tries < 2_400; tries += 1) {
    try {
      seen = (await tasksOf(cluster, service)).filter(
        task => task.status.state === 'running' && task.desired === 'running',
      ).length;
      if (seen === count) return;
    } catch (error) {
      if (tries > 2_000) throw error;
    }
    await sleep(50);
  }
  throw new Error(`${seen} of ${count} tasks run`);
}

/** What is not as it is with that many tasks, once it has had time to become so. */
async function settled(node, count) {
  let problems = [];
  for (let tries = 0; tries < 1_200; tries += 1) {
    problems = Object.entries(countAll(node))
      .filter(([, seen]) => seen !== count)
      .map(([what, seen]) => `${seen} ${what}, not ${count}`);
    if (problems.length === 0) return [];
    await sleep(50);
  }
  return problems;
}

function countAll({ dataDir, runDir, name: prefix }) {
  const mounts = read('/proc/self/mountinfo')
    .split('\n')
    .map(line => line.split(' ')[4] ?? '');
  const isId = entry => /^[0-9a-z]{25}$/.test(entry);
  const crun = list(`${runDir}/runtime/crun`).length + list(`${runDir}/runtime/runc`).length;
  return {
    'task directories': list(`${dataDir}/tasks`).filter(isId).length,
    'root file systems': mounts.filter(path => path.startsWith(`${dataDir}/tasks/`)).length,
    volumes: list(`${dataDir}/volumes`).length,
    namespaces: list(`${runDir}/netns`).filter(isId).length,
    'records of networks': list(`${runDir}/network/tasks`).length,
    links: linksIn(`${runDir}/netns/fabric`),
    bundles: list(`${runDir}/bundles`).length,
    'states of the runtime': crun,
    groups: list(`/sys/fs/cgroup/memory/${prefix}`)
      .concat(list(`/sys/fs/cgroup/${prefix}`))
      .filter(isId).length,
    monitors: processes(argv => argv[0]?.endsWith('conmon') && argv.some(word => word.startsWith(`${prefix}-`))),
  };
}

function linksIn(fabric) {
  if (!fs.existsSync(fabric)) return 0;
  const text = execFileSync('nsenter', [`--net=${fabric}`, 'ip', '-br', 'link'], { encoding: 'utf8' });
  return text.split('\n').filter(line => /^v[0-9a-z]{14}@/.test(line)).length;
}

function processes(fits) {
  return list('/proc').filter(pid => /^\d+$/.test(pid) && fits(read(`/proc/${pid}/cmdline`).split('\0'))).length;
}

function list(folder) {
  return fs.existsSync(folder) ? fs.readdirSync(folder) : [];
}

function read(path) {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}
