import t from 'tap';
import { abortable } from '../../../src/abortable.js';
import { renewOnce } from '../../../src/daemon/ca/renewal.js';
import { connectToManager } from '../../../src/daemon/rpc/client.js';
import type { Task } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { asId, type NetworkId, type NodeId, type ServiceId } from '../../../src/ids.js';
import type { Store } from '../../../src/raft/store.js';
import {
  anySignal,
  changeTask,
  eventually,
  type FakeAgent,
  fakeAgent,
  put,
  putTask,
  serviceSpec,
  silent,
  wire,
} from '../node-fixtures.js';
import { runWorker, startManager, startWorker } from '../node-rig.js';
import { status } from '../object-fixtures.js';

const endpoints = [{ networkId: asId<NetworkId>('n1'), addresses: ['10.1.0.3'] }];

async function putWeb(store: Store): Promise<void> {
  const object = {
    id: asId<ServiceId>('svc'),
    spec: serviceSpec('web', 'n1'),
    specVersion: 1,
    vips: [],
    ports: [],
    removing: false,
  };
  await put(store, [{ kind: 'put', table: 'service', object }]);
}

function told(fake: FakeAgent, task: Task): string {
  const orders = fake.updates.flatMap(update => update.tasks.filter(one => one.id === task.id));
  return orders.map(one => one.desired).join(' ');
}

function servingOf(fake: FakeAgent, task: Task): unknown {
  const value = fake.tables.at(-1)?.get(`endpoint/${task.id}`)?.value;
  return value?.kind === 'endpoint' ? value.serving : undefined;
}

t.test('a node that joins is ready when the command ends', async t => {
  const manager = await startManager(t);
  const tookMs: number[] = [];
  for (const name of ['w1', 'w2', 'w3']) {
    const startMs = performance.now();
    const worker = await startWorker(t, manager, { name });
    tookMs.push(Math.round(performance.now() - startMs));
    const node = manager.store.view().find('node', worker.member.membership.nodeId);
    t.match(node, { status: { state: 'ready', message: '' }, description: { hostname: name } });
    t.match(worker.session.state(), { kind: 'connected', term: 1 });
    t.same(
      worker.fake.updates.map(update => [update.full, update.tasks.length]),
      [[true, 0]],
    );
  }
  t.comment(`join to ready: ${tookMs.join(', ')} ms`);
});

t.test('assignments are full first, then numbered changes', async t => {
  const manager = await startManager(t);
  const { store } = manager;
  const { member, fake } = await startWorker(t, manager, { name: 'w1' });
  const { nodeId } = member.membership;
  const task = await putTask(store, { nodeId });
  await putTask(store, { nodeId: asId<NodeId>('elsewhere') });
  await eventually('the task', () => told(fake, task) === 'running');
  await changeTask(store, task.id, old => ({ ...old, desired: 'shutdown' }));
  await eventually('the stop', () => told(fake, task) === 'running shutdown');
  await changeTask(store, task.id, old => ({ ...old, status: status('shutdown') }));
  await put(store, [{ kind: 'delete', table: 'task', id: task.id }]);
  await eventually('the removal', () => fake.updates.at(-1)?.removedTasks.includes(task.id));
  t.same(
    fake.updates.map(update => update.full),
    [true, false, false, false],
  );
  const sequences = fake.updates.map(update => update.sequence);
  t.same(
    sequences,
    [...new Set(sequences)].sort((x, y) => x - y),
    'only growing',
  );
  t.same(
    [...new Set(fake.updates.flatMap(update => update.tasks.map(one => one.id)))],
    [task.id],
    'its own tasks only',
  );
});

t.test('what an agent reports is in the store, what it said while away is in its hello', async t => {
  const manager = await startManager(t);
  const { store } = manager;
  const worker = await startWorker(t, manager, { name: 'w1' });
  const task = await putTask(store, { nodeId: worker.member.membership.nodeId });
  const other = await putTask(store, { nodeId: asId<NodeId>('elsewhere') });
  await eventually('the task', () => told(worker.fake, task) === 'running');
  const startMs = performance.now();
  worker.fake.report([
    { taskId: task.id, status: status('running') },
    { taskId: other.id, status: status('failed') },
  ]);
  const stateOf = (id: Task['id']) => store.view().find('task', id)?.status.state;
  await eventually('the status', () => stateOf(task.id) === 'running');
  t.comment(`report to store: ${Math.round(performance.now() - startMs)} ms`);
  t.equal(stateOf(other.id), 'assigned', 'it does not speak for others');
  await worker.stop();
  const fake = fakeAgent();
  fake.current.push({ taskId: task.id, status: status('failed') });
  await runWorker(t, { ...worker, fake });
  await eventually('the status of the hello', () => stateOf(task.id) === 'failed');
});

t.test('a session comes back soon after its manager did, and begins with everything', async t => {
  const manager = await startManager(t);
  const worker = await startWorker(t, manager, { name: 'w1' });
  const task = await putTask(manager.store, { nodeId: worker.member.membership.nodeId });
  await eventually('the task', () => told(worker.fake, task) === 'running');
  await manager.stopServer();
  await eventually('the loss', () => worker.session.state().kind === 'connecting');
  t.equal(manager.dispatcher.isConnected(worker.member.membership.nodeId), false);
  await putTask(manager.store, { nodeId: worker.member.membership.nodeId });
  await manager.startServer();
  const startMs = performance.now();
  await eventually('the session', () => worker.session.state().kind === 'connected');
  await eventually('everything', () => worker.fake.updates.at(-1)?.tasks.length === 2);
  const tookMs = performance.now() - startMs;
  t.comment(`back after ${Math.round(tookMs)} ms`);
  t.ok(tookMs < 20_000);
  t.equal(worker.fake.updates.at(-1)?.full, true);
  t.match(worker.fake.tables.at(-1)?.get(`node/${worker.member.membership.nodeId}`), { value: { kind: 'node' } });
});

t.test('a silent node is lost after its time, and ready again when it calls', async t => {
  const manager = await startManager(t, { init: { lostAfterMs: 300, heartbeatMs: 50 } });
  const worker = await startWorker(t, manager, { name: 'w1' });
  const state = () => manager.store.view().find('node', worker.member.membership.nodeId)?.status.state;
  t.equal(state(), 'ready');
  const startMs = performance.now();
  await worker.stop();
  await eventually('the loss', () => state() === 'lost');
  const tookMs = performance.now() - startMs;
  t.ok(tookMs > 200 && tookMs < 10_000, `lost after ${Math.round(tookMs)} ms`);
  await runWorker(t, { ...worker, fake: fakeAgent() });
  await eventually('the return', () => state() === 'ready');
});

t.test('a second session of a node ends the first', async t => {
  const manager = await startManager(t);
  const first = await startWorker(t, manager, { name: 'w1' });
  const copy = await runWorker(t, { ...first, fake: fakeAgent() });
  await copy.session.ready(anySignal());
  await eventually('the end of the first', () => first.session.state().kind === 'connecting');
  t.match(first.session.state(), { problem: { code: 'session-replaced' } });
  t.equal(copy.session.state().kind, 'connected');
});

t.test('a node that was removed loses its session and is told why', async t => {
  const manager = await startManager(t);
  const worker = await startWorker(t, manager, { name: 'w1' });
  await put(manager.store, [{ kind: 'delete', table: 'node', id: worker.member.membership.nodeId }]);
  await eventually('the end', () => worker.session.state().kind === 'connecting');
  t.match(worker.session.state(), { problem: { code: 'node-removed' } });
});

t.test('a task is told to stop only after the others have taken its endpoint away', async t => {
  const manager = await startManager(t);
  const { store } = manager;
  await putWeb(store);
  const release: (() => void)[] = [];
  let slow = false;
  const reader = fakeAgent();
  const shown: (typeof reader.tables)[number][] = [];
  const client: FakeAgent = {
    ...reader,
    networkTables: {
      applyTables: async (items, signal) => {
        if (slow) await new Promise<void>(resolve => release.push(resolve));
        shown.push(items);
        await reader.networkTables.applyTables(items, signal);
      },
    },
  };
  const runner = await startWorker(t, manager, { name: 'runner' });
  const user = await startWorker(t, manager, { name: 'user', fake: client });
  const task = await putTask(store, { nodeId: runner.member.membership.nodeId, endpoints });
  await putTask(store, {
    nodeId: user.member.membership.nodeId,
    endpoints: [{ ...endpoints[0], addresses: ['10.1.0.9'] }] as never,
  });
  await eventually('the order to run', () => told(runner.fake, task) === 'running');
  runner.fake.report([{ taskId: task.id, status: status('running') }]);
  await eventually(
    'the endpoint is up everywhere',
    () => servingOf(user.fake, task) === true && servingOf(runner.fake, task) === true,
  );

  slow = true;
  await changeTask(store, task.id, old => ({ ...old, desired: 'shutdown' }));
  await eventually('the removal is on its way', () => release.length > 0);
  await eventually('the runner shows it', () => servingOf(runner.fake, task) === false);
  const other = await putTask(store, { nodeId: runner.member.membership.nodeId });
  await eventually('other orders get through', () => told(runner.fake, other) === 'running');
  t.equal(told(runner.fake, task), 'running', 'held while one node has not acknowledged');
  for (const go of release.splice(0)) go();
  await eventually('the stop', () => told(runner.fake, task) === 'running shutdown');
  t.equal(servingOf(user.fake, task), false);
});

t.test('a node that does not acknowledge delays a stop by a second, not longer', async t => {
  const manager = await startManager(t);
  const { store } = manager;
  await putWeb(store);
  let stuck = false;
  const reader = fakeAgent();
  const client: FakeAgent = {
    ...reader,
    networkTables: {
      applyTables: async (items, signal) => {
        if (stuck) await abortable(new Promise(() => undefined), signal);
        await reader.networkTables.applyTables(items, signal);
      },
    },
  };
  const runner = await startWorker(t, manager, { name: 'runner' });
  const user = await startWorker(t, manager, { name: 'user', fake: client });
  const task = await putTask(store, { nodeId: runner.member.membership.nodeId, endpoints });
  await putTask(store, { nodeId: user.member.membership.nodeId, endpoints });
  runner.fake.report([{ taskId: task.id, status: status('running') }]);
  await eventually('the endpoint is up', () => servingOf(user.fake, task) === true);
  stuck = true;
  const startMs = performance.now();
  await changeTask(store, task.id, old => ({ ...old, desired: 'shutdown' }));
  await eventually('the stop', () => told(runner.fake, task).endsWith('shutdown'));
  const tookMs = performance.now() - startMs;
  t.ok(tookMs > 900 && tookMs < 10_000, `after ${Math.round(tookMs)} ms`);
});

t.test('without managers a node starts with the tables that it showed last', async t => {
  const manager = await startManager(t);
  const { store } = manager;
  await putWeb(store);
  const worker = await startWorker(t, manager, { name: 'w1' });
  const task = await putTask(store, { nodeId: worker.member.membership.nodeId, endpoints });
  await eventually('the tables', () => worker.fake.tables.at(-1)?.has(`endpoint/${task.id}`));
  const before = worker.fake.tables.at(-1);
  await worker.stop();
  await manager.stopServer();
  const fake = fakeAgent();
  const again = await runWorker(t, { ...worker, fake });
  await eventually('the remembered tables', () => fake.tables.length > 0);
  t.same([...(fake.tables[0] ?? [])].sort(), [...(before ?? [])].sort());
  t.match(again.session.managers(), [{ addresses: [manager.address] }], 'and knows whom to call');
  t.equal(fake.updates.length, 0, 'its tasks are left alone');
});

t.test('a renewed certificate is on disk and in use, and the open session goes on', async t => {
  const manager = await startManager(t);
  const worker = await startWorker(t, manager, { name: 'w1' });
  const before = worker.identity.current();
  const saved: unknown[] = [];
  const connect = () =>
    connectToManager({
      address: manager.address,
      nodeId: manager.member.membership.nodeId,
      clusterId: before.clusterId,
      root: before.root,
      client: worker.identity.current(),
      wire,
      clock: linuxHost.clock,
      timeoutMs: 1_000,
      signal: anySignal(),
    });
  const next = await renewOnce(
    {
      identity: worker.identity,
      clock: linuxHost.clock,
      log: silent,
      recover: async () => {
        throw new Error('it has not expired');
      },
      save: async identity => void saved.push(identity),
      renew: async (request, signal) => {
        await using connection = await connect();
        return await connection.calls('Ca').renew(request, { signal, timeoutMs: 2_000 });
      },
    },
    anySignal(),
  );
  t.not(next.certificate, before.certificate);
  t.not(next.key, before.key, 'a new key');
  t.same(saved, [next]);
  t.equal(worker.identity.current(), next);
  t.equal(worker.session.state().kind, 'connected');
  const task = await putTask(manager.store, { nodeId: worker.member.membership.nodeId });
  await eventually('the old stream carries on', () => told(worker.fake, task) === 'running');
  t.equal(worker.fake.updates.filter(update => update.full).length, 1, 'it is the same session');
  const node = manager.store.view().find('node', worker.member.membership.nodeId);
  t.ok(Math.abs((node?.certificateExpiresAtMs ?? 0) - next.validUntilMs) < 2_000, 'the store knows until when');
});
