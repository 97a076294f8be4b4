// kill -9 of the daemon at random moments while replicas are created and removed; every time it is started again. Must hold:
// a container that ran before the kill and is still wanted has the same process after it; at the end nothing is left.
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec, timeRemove } from '../bench/dev-cluster.mjs';

const replicas = 30;

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

export async function run({ rounds, seed, say }) {
  const random = makeRandom(seed);
  const interrupted = new AbortController();
  let passed = 0;
  let failed = 0;
  await using cluster = await openDevCluster({ name: 'tort', workers: 0, signal: interrupted.signal });
  const call = { signal: interrupted.signal, timeoutMs: 20_000 };
  const stayers = await cluster.control.createService({ spec: sleeperSpec('stayers', 5) }, call);
  const before = await running(cluster, stayers.id, 5);
  for (let round = 1; round <= rounds; round += 1) {
    const change = cluster.control
      .createService({ spec: sleeperSpec(`come${round}`, replicas) }, call)
      .catch(error => error);
    await sleep(random() * 900);
    if (random() < 0.5) void cluster.control.removeService({ object: `come${round}` }, call).catch(error => error);
    await sleep(random() * 300);
    cluster.run('kill', '1');
    await change;
    cluster.run('start', '1');
    const problem = await settle(cluster, { name: `come${round}`, call, stayers: stayers.id, before });
    if (problem === undefined) passed += 1;
    else {
      failed += 1;
      say(`round ${round}: ${problem}`);
    }
    if (round % 10 === 0) say(`${round} of ${rounds}: ${passed} passed, ${failed} failed`);
  }
  await timeRemove(cluster, stayers);
  let left = leftovers(cluster.nodes[0]);
  for (let tries = 0; left.length > 0 && tries < 200; tries += 1) {
    await sleep(50);
    left = leftovers(cluster.nodes[0]);
  }
  if (left.length > 0) {
    failed += 1;
    say(`left at the end: ${left.slice(0, 10).join(', ')}`);
  }
  return { passed, failed };
}

/** Start times of the main processes by task, once `count` tasks run. */
async function running(cluster, serviceId, count) {
  for (let tries = 0; ; tries += 1) {
    try {
      const { tasks } = await cluster.control.listTasks(
        { tasks: [], service: serviceId, node: '', stack: '', current: true },
        { signal: cluster.signal, timeoutMs: 5_000 },
      );
      const alive = tasks.filter(task => task.status.state === 'running');
      if (alive.length === count) return Object.fromEntries(alive.map(task => [task.id, startOf(task.status.pid)]));
    } catch (error) {
      if (tries > 400) throw error;
    }
    if (tries > 400) throw new Error(`Cannot see ${count} running tasks`);
    await sleep(50);
  }
}

function startOf(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  return `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
}

async function settle(cluster, { name, call, stayers, before }) {
  const after = await running(cluster, stayers, 5);
  if (JSON.stringify(after) !== JSON.stringify(before))
    return `containers were restarted: ${JSON.stringify({ before, after })}`;
  const { services } = await cluster.control.listServices({ objects: [], stack: '' }, call);
  const come = services.find(service => service.spec.name === name);
  if (come !== undefined && !come.removing) {
    await running(cluster, come.id, replicas);
    await timeRemove(cluster, come);
  }
  for (let tries = 0; tries < 400; tries += 1) {
    const { tasks } = await cluster.control.listTasks(
      { tasks: [], service: '', node: '', stack: '', current: false },
      call,
    );
    if (tasks.length === 5) return await nothingStrange(cluster.nodes[0]);
    await sleep(50);
  }
  return 'tasks of a removed service stay';
}

/** Directories, namespaces and monitors of the five that stay, and no others. */
async function nothingStrange(node) {
  let seen = '';
  for (let tries = 0; tries < 200; tries += 1) {
    const tasks = list(`${node.dataDir}/tasks`).length;
    const namespaces = list(`${node.runDir}/netns`).filter(entry => entry.length === 25).length;
    const monitors = list('/proc').filter(
      pid => /^\d+$/.test(pid) && commandOf(pid).includes('conmon') && commandOf(pid).includes(node.runDir),
    ).length;
    seen = `${tasks} task directories, ${namespaces} namespaces, ${monitors} monitors`;
    if (tasks === 5 && namespaces === 5 && monitors === 5) return undefined;
    await sleep(50);
  }
  return `leak: ${seen}, and 5 of each should be there`;
}

function leftovers(node) {
  return [...list(`${node.dataDir}/tasks`), ...list(`${node.runDir}/netns`).filter(entry => entry.length === 25)];
}

function list(folder) {
  return fs.existsSync(folder) ? fs.readdirSync(folder) : [];
}

function commandOf(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
