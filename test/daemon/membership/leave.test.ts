import { mkdir, readdir, writeFile } from 'node:fs/promises';
import t from 'tap';
import { planNodeRemoval } from '../../../src/daemon/ca/removal.js';
import { codeOf } from '../../../src/errors.js';
import type { LeaveClusterResponse, Task, TaskState } from '../../../src/gen/types.js';
import { asId, type NodeId } from '../../../src/ids.js';
import { anySignal, changeTask, eventually, memoryStore, put, putTask } from '../node-fixtures.js';
import { openFlows, startManager, startWorker, type TestManager, type TestWorker } from '../node-rig.js';

function leave(
  worker: TestWorker,
  manager: Pick<TestManager, 'address' | 'member'>,
  force = false,
): Promise<LeaveClusterResponse> {
  const flows = openFlows(worker.dataDir, 'w1', { start: async () => undefined });
  const parts = {
    identity: worker.identity.current(),
    handOver: async () => undefined,
    otherManagers: () => [{ address: manager.address, nodeId: manager.member.membership.nodeId }],
    stopTasks: async () => 3,
    stop: async () => {
      await worker.stop();
      return ['link covey0'];
    },
  };
  return flows.leave(parts, { force }, anySignal());
}

async function setState(manager: TestManager, task: Task, state: TaskState): Promise<void> {
  await changeTask(manager.store, task.id, old => ({ ...old, status: { ...old.status, state } }));
}

t.test('a node that leaves is gone from the store, its live tasks are orphaned, its state is deleted', async t => {
  const manager = await startManager(t);
  const worker = await startWorker(t, manager, { name: 'w1' });
  const { nodeId } = worker.member.membership;
  const live = await putTask(manager.store, { nodeId });
  const ended = await putTask(manager.store, { nodeId });
  await setState(manager, live, 'running');
  await setState(manager, ended, 'failed');
  await mkdir(`${worker.dataDir}/images`);
  await writeFile(`${worker.dataDir}/images/layer`, 'kept');
  t.same(await leave(worker, manager), { tasksStopped: 3, undone: ['link covey0'] });
  const view = manager.store.view();
  t.equal(view.find('node', nodeId), undefined);
  t.match(view.find('task', live.id)?.status, {
    state: 'orphaned',
    errorCode: 'node-removed',
    error: 'node w1 left the cluster',
  });
  t.equal(view.find('task', ended.id)?.status.state, 'failed');
  t.same(await readdir(worker.dataDir), ['images'], 'images stay');
  const again = await startWorker(t, manager, { name: 'w1' });
  t.not(again.member.membership.nodeId, nodeId, 'the name is free for a new node');
});

t.test('without a manager nothing is touched unless forced', async t => {
  const manager = await startManager(t);
  const worker = await startWorker(t, manager, { name: 'w1' });
  await manager.stopServer();
  const startMs = performance.now();
  const refused = await leave(worker, manager).catch((error: unknown) => error);
  t.equal(codeOf(refused), 'no-connection');
  t.ok(performance.now() - startMs < 20_000);
  t.ok((await readdir(worker.dataDir)).includes('node.json'));
  t.match(await leave(worker, manager, true), { tasksStopped: 3 });
  t.same(await readdir(worker.dataDir), []);
});

t.test('a node that was removed already leaves like any other', async t => {
  const manager = await startManager(t);
  const worker = await startWorker(t, manager, { name: 'w1' });
  await put(manager.store, [{ kind: 'delete', table: 'node', id: worker.member.membership.nodeId }]);
  await eventually('it knows', () => worker.session.state().kind === 'connecting');
  t.match(await leave(worker, manager), { tasksStopped: 3 });
});

t.test('the only manager leaves with force only', async t => {
  const manager = await startManager(t);
  const flows = openFlows('/nonexistent', 'm1', { start: async () => undefined });
  let stopped = 0;
  const parts = {
    identity: manager.identity.current(),
    handOver: async () => undefined,
    otherManagers: () => [],
    stopTasks: async () => {
      stopped += 1;
      return 0;
    },
    stop: async () => [],
  };
  await t.rejects(flows.leave(parts, { force: false }, anySignal()), { code: 'last-manager' });
  t.equal(stopped, 0);
});

t.test('the removal of a node with many tasks goes in pieces, the node last', async t => {
  const store = await memoryStore();
  const nodeId = asId<NodeId>('a');
  const object = {
    id: nodeId,
    spec: { name: 'a', labels: {}, availability: 'active' },
    role: 'worker',
    description: { addresses: [] } as never,
    status: { state: 'ready', sinceMs: 0, message: '' },
    tunnelIndex: 1,
    certificateExpiresAtMs: 0,
    raftId: 0,
    demoting: false,
  } as const;
  await put(store, [{ kind: 'put', table: 'node', object: { ...object, description: emptyDescription() } }]);
  for (let count = 0; count < 7; count += 1) await putTask(store, { nodeId });
  const pieces: string[] = [];
  for (let more = true; more; ) {
    const plan = planNodeRemoval(store.view(), { nodeId, nowMs: 1, writesMax: 4 });
    pieces.push(
      plan.writes.map(write => (write.kind === 'put' && write.table === 'node' ? 'left' : write.table)).join(' '),
    );
    await put(store, plan.writes);
    more = plan.more;
  }
  t.same(pieces, ['left task task task', 'left task task task', 'task node removedNode']);
  t.same(
    [...store.view().list('task')].map(task => task.status.state),
    Array(7).fill('orphaned'),
  );
});

function emptyDescription() {
  return {
    hostname: 'a',
    os: '',
    architecture: '',
    kernel: '',
    cpuNanos: 0,
    memoryBytes: 0,
    addresses: [],
    dataAddresses: [],
    dataPort: 0,
    runtime: '',
    cgroup: '',
    version: '',
    labels: {},
    images: [],
    volumes: [],
    routes: [],
    userns: true,
    privileged: false,
  };
}
