// A worker dies (kill -9 of its daemon): how long until its nine tasks run elsewhere, by default and with --lost-after 2s. Then it
// comes back, the originals stay, and the next round begins.
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from './dev-cluster.mjs';
import { metric } from './stats.mjs';

const rounds = 3;
const share = 9;
const dead = 3;

export async function* metrics({ signal, say }) {
  await using cluster = await openDevCluster({ name: 'bl', workers: 2, signal });
  for (const [name, loss] of [
    ['crash_default_s', undefined],
    ['crash_2s_s', { lostAfterMs: 2_000, reconcile: 'keep-original', stopAfterDisconnectMs: 0 }],
  ]) {
    const placement = { constraints: ['node.role==worker'], perNodeMax: 0, spread: [] };
    const spec = { ...sleeperSpec('crash', 2 * share, { placement }), loss };
    const { service } = await timeCreate(cluster, spec, 2 * share);
    const samples = [];
    for (let round = 1; round <= rounds && !signal.aborted; round += 1) {
      samples.push((await crash(cluster, service)) / 1_000);
      say(`${name}: ${samples.at(-1).toFixed(2)} s`);
    }
    yield metric(name, 's', samples);
    await timeRemove(cluster, service);
  }
}

/** Milliseconds from the death of the worker to all of its tasks running on the other one. */
async function crash(cluster, service) {
  const { tasks } = await cluster.control.listTasks(
    { tasks: [], service: service.id, node: '', stack: '', current: true },
    { signal: cluster.signal },
  );
  const known = new Set(tasks.map(task => task.id));
  const events = cluster.control
    .watch({ tables: ['task'], service: service.id, stack: '' }, { signal: cluster.signal })
    [Symbol.asyncIterator]();
  const next = async () => (await events.next()).value.event;
  while ((await next()).kind !== 'synced');
  const { nodes } = JSON.parse(cluster.run('status'));
  const running = new Set();
  const begin = performance.now();
  process.kill(nodes[dead - 1].pid, 'SIGKILL');
  while (running.size < share) {
    const event = await next();
    if (event.kind === 'task' && !known.has(event.id) && event.status.state === 'running') running.add(event.id);
  }
  const ms = performance.now() - begin;
  await events.return?.();
  cluster.run('start', String(dead));
  await untilWhole(cluster, service);
  return ms;
}

/** All nodes ready and one task for each slot. */
async function untilWhole({ control, signal }, service) {
  for (;;) {
    const { nodes } = await control.listNodes({ objects: [], stack: '' }, { signal });
    const { tasks } = await control.listTasks(
      { tasks: [], service: service.id, node: '', stack: '', current: true },
      { signal },
    );
    const wanted = tasks.filter(task => task.desired === 'running');
    const isWhole =
      wanted.length === 2 * share && wanted.every(task => task.status.state === 'running' && !task.superseded);
    if (isWhole && nodes.every(node => node.status.state === 'ready')) return;
    await sleep(100);
  }
}
