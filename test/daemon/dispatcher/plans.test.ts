import t from 'tap';
import { diffAssignments, nothingWanted, planAssignments } from '../../../src/daemon/dispatcher/assignments.js';
import { diffTables, sameContent } from '../../../src/daemon/dispatcher/diff.js';
import { endedHolds, findStopping, type Hold, holdsFor } from '../../../src/daemon/dispatcher/drain.js';
import { makeNodeSession } from '../../../src/daemon/dispatcher/node-session.js';
import { isLater, planReports } from '../../../src/daemon/dispatcher/reports.js';
import { concernsTables, makeTableItemCache, planTables } from '../../../src/daemon/dispatcher/tables.js';
import type { Network, Node, Secret, Service, TableItem, Task, TaskState, TaskStatus } from '../../../src/gen/types.js';
import { asId, type NetworkId, type NodeId, type SecretId, type ServiceId, type TaskId } from '../../../src/ids.js';
import type { OpenStore, StoreEvent, View } from '../../../src/raft/store.js';
import { changeTask, description, memoryStore, put, putTask, serviceSpec, taskSpec } from '../node-fixtures.js';

const a = asId<NodeId>('a');
const b = asId<NodeId>('b');
const c = asId<NodeId>('c');

async function putNode(
  store: OpenStore,
  id: NodeId,
  index: number,
  state: Node['status']['state'] = 'ready',
): Promise<void> {
  const object: Omit<Node, 'meta'> = {
    id,
    spec: { name: `node-${id}`, labels: {}, availability: 'active' },
    role: 'worker',
    description: { ...description(id), dataAddresses: [`10.0.0.${index}`] },
    status: { state, sinceMs: 0, message: '' },
    tunnelIndex: index,
    certificateExpiresAtMs: 0,
    raftId: 0,
    demoting: false,
  };
  await put(store, [{ kind: 'put', table: 'node', object }]);
}

async function putNetwork(store: OpenStore, id: string): Promise<void> {
  const spec: Network['spec'] = {
    name: id,
    labels: {},
    stack: '',
    driver: 'overlay',
    subnets: [],
    internal: false,
    attachable: false,
  };
  await put(store, [
    { kind: 'put', table: 'network', object: { id: asId<NetworkId>(id), spec, subnets: ['10.1.0.0/24'] } as never },
  ]);
}

async function putService(store: OpenStore, id: string, network: string, change: Partial<Service> = {}): Promise<void> {
  const object = {
    id: asId<ServiceId>(id),
    spec: { ...serviceSpec(`shop_${id}`, network), stack: 'shop' },
    specVersion: 1,
    vips: [{ networkId: asId<NetworkId>(network), addresses: ['10.1.0.2'] }],
    ports: [],
    removing: false,
    ...change,
  };
  await put(store, [{ kind: 'put', table: 'service', object: object as never }]);
}

function endpointOn(network: string, address: string): Task['endpoints'] {
  return [{ networkId: asId<NetworkId>(network), addresses: [address] }];
}

function running(state: TaskState = 'running', attempt = 0): TaskStatus {
  return {
    state,
    sinceMs: 1,
    message: '',
    error: '',
    errorCode: '',
    outOfMemory: false,
    attempt,
    health: '',
    ready: '',
    containers: [],
  };
}

/** Two nodes; web on network n1 with a task on each; db on n2 with a task on b only. */
async function cluster(): Promise<{
  readonly store: OpenStore;
  readonly webA: Task;
  readonly webB: Task;
  readonly db: Task;
}> {
  const store = await memoryStore();
  await putNode(store, a, 1);
  await putNode(store, b, 2);
  for (const id of ['n1', 'n2']) await putNetwork(store, id);
  await putService(store, 'web', 'n1');
  await putService(store, 'db', 'n2');
  const web = asId<ServiceId>('web');
  const status = running();
  const webA = await putTask(store, {
    nodeId: a,
    serviceId: web,
    endpoints: endpointOn('n1', '10.1.0.3'),
    status: running('assigned'),
  });
  const webB = await putTask(store, { nodeId: b, serviceId: web, endpoints: endpointOn('n1', '10.1.0.4'), status });
  const db = await putTask(store, {
    nodeId: b,
    serviceId: asId<ServiceId>('db'),
    endpoints: endpointOn('n2', '10.2.0.3'),
    status,
  });
  return { store, webA, webB, db };
}

const keys = (items: ReadonlyMap<string, TableItem>): readonly string[] => [...items.keys()].sort();

function endpoint(view: View, node: NodeId, task: Task): unknown {
  return planTables(view, node).get(`endpoint/${task.id}`)?.value;
}

t.test('a node is told of all nodes, of the networks that it has a task on, and of what is on them', async t => {
  const { store, webA, webB, db } = await cluster();
  t.same(
    keys(planTables(store.view(), a)),
    [`endpoint/${webA.id}`, `endpoint/${webB.id}`, 'network/n1', 'node/a', 'node/b', 'service/web'].sort(),
  );
  t.equal(keys(planTables(store.view(), b)).length, 9, 'b has both networks');
  t.same(keys(planTables(store.view(), c)), ['node/a', 'node/b'], 'a node without tasks');
  t.match(planTables(store.view(), a).get('node/b')?.value, {
    tunnelIndex: 2,
    dataAddresses: ['10.0.0.2'],
    name: 'node-b',
  });
  t.match(endpoint(store.view(), a, webB), { nodeId: 'b', serving: true, addresses: [{ addresses: ['10.1.0.4'] }] });
  t.match(endpoint(store.view(), a, webA), { serving: false }, 'not running yet');
  t.equal(endpoint(store.view(), a, db), undefined, 'another network');
});

t.test('a service with a published port is known on every node', async t => {
  const { store, db } = await cluster();
  await putService(store, 'db', 'n2', { ports: [{ published: 5432, target: 5432, protocol: 'tcp', mode: 'ingress' }] });
  t.match(endpoint(store.view(), a, db), { serving: true });
  t.ok(planTables(store.view(), c).has('service/db'));
  await putService(store, 'db', 'n2', { ports: [{ published: 5432, target: 5432, protocol: 'tcp', mode: 'host' }] });
  t.notOk(planTables(store.view(), a).has('service/db'), 'a port of single hosts is not');
});

t.test('a service is known by its full name, the one within its stack, and its aliases', async t => {
  const { store } = await cluster();
  const spec = serviceSpec('shop_web', 'n1');
  const networks = [{ network: 'n1', aliases: ['www', 'web'] }];
  await putService(store, 'web', 'n1', { spec: { ...spec, stack: 'shop', task: { ...spec.task, networks } } });
  t.match(planTables(store.view(), a).get('service/web')?.value, {
    networks: [{ network: 'n1', aliases: ['shop_web', 'web', 'www'] }],
  });
});

t.test('an endpoint serves while its task runs, is wanted, and its node is not lost', async t => {
  const { store, webB } = await cluster();
  const cases: readonly [string, (task: Task) => Task, boolean | undefined][] = [
    ['superseded', task => ({ ...task, superseded: true }), false],
    ['wanted again', task => ({ ...task, superseded: false }), true],
    ['told to stop', task => ({ ...task, desired: 'shutdown' }), false],
    ['ended', task => ({ ...task, status: running('shutdown') }), undefined],
  ];
  await putNode(store, b, 2, 'lost');
  t.match(endpoint(store.view(), a, webB), { serving: false }, 'node lost');
  await putNode(store, b, 2);
  t.match(endpoint(store.view(), a, webB), { serving: true }, 'node back');
  for (const [what, change, serving] of cases) {
    await changeTask(store, webB.id, change);
    const value = endpoint(store.view(), a, webB);
    t.equal(value === undefined ? undefined : Reflect.get(value as object, 'serving'), serving, what);
  }
});

t.test('unchanged objects give the same items, so that comparing is cheap', async t => {
  const { store } = await cluster();
  const cache = makeTableItemCache();
  const first = planTables(store.view(), b, cache);
  const second = planTables(store.view(), b, cache);
  for (const [key, item] of first) t.equal(second.get(key), item, key);
});

t.test('only changes of what others see concern the tables', async t => {
  const { store, webA } = await cluster();
  const seen: boolean[] = [];
  store.watch(events => seen.push(events.some(concernsTables)));
  const set = (change: (task: Task) => Task) => changeTask(store, webA.id, change);
  await set(task => ({ ...task, status: running('preparing') }));
  await set(task => ({ ...task, status: { ...running('preparing'), message: 'pulling, 62 %' } }));
  t.same(seen.splice(0), [false, false], 'progress');
  await set(task => ({ ...task, status: running('running') }));
  await set(task => ({ ...task, desired: 'shutdown' }));
  await set(task => ({ ...task, status: running('shutdown') }));
  t.same(seen.splice(0), [true, true, true], 'up, going, gone');
  await putNode(store, a, 1);
  await putNode(store, a, 1, 'lost');
  t.same(seen.splice(0), [false, true], 'a node that is as it was, and one that is lost');
});

t.test('the difference of tables is what is new, changed or gone', async t => {
  const item = (key: string, name: string): TableItem => ({
    key,
    value: { kind: 'node', nodeId: a, name, tunnelIndex: 1, dataAddresses: ['10.0.0.1'], dataPort: 1 },
  });
  const sent = new Map([item('x', '1'), item('y', '1'), item('z', '1')].map(one => [one.key, one]));
  const wanted = new Map([item('x', '1'), item('y', '2'), item('w', '1')].map(one => [one.key, one]));
  const { items, removed } = diffTables(sent, wanted);
  t.same(
    items.map(one => one.key),
    ['y', 'w'],
  );
  t.same(removed, ['z']);
  t.same(diffTables(wanted, wanted), { items: [], removed: [] });
});

t.test('plain data is compared to its depth', async t => {
  const same: readonly [unknown, unknown][] = [
    [{ a: [1, { b: 'x' }] }, { a: [1, { b: 'x' }] }],
    [new Uint8Array([1, 2]), new Uint8Array([1, 2])],
    [undefined, undefined],
  ];
  const different: readonly [unknown, unknown][] = [
    [{ a: 1 }, { a: 1, b: undefined }],
    [[1], { 0: 1 }],
    [{ a: [1, 2] }, { a: [2, 1] }],
    [new Uint8Array([1]), new Uint8Array([2])],
    [null, {}],
  ];
  for (const [left, right] of same) t.ok(sameContent(left, right), JSON.stringify(left));
  for (const [left, right] of different)
    t.notOk(sameContent(left, right), `${JSON.stringify(left)} ${JSON.stringify(right)}`);
});

async function putSecret(store: OpenStore, id: string, digest: number): Promise<void> {
  const object: Omit<Secret, 'meta'> = {
    id: asId<SecretId>(id),
    spec: { name: id, labels: {}, stack: '' },
    data: new Uint8Array([1]),
    digest: new Uint8Array([digest]),
  };
  await put(store, [{ kind: 'put', table: 'secret', object }]);
}

const never = (): boolean => false;

t.test('a node gets its own tasks from assigned on, ended ones included, orphans not', async t => {
  const { store, webA, webB, db } = await cluster();
  const ids = (node: NodeId) => [...planAssignments(store.view(), node, never).tasks.keys()].sort();
  t.same(ids(a), [webA.id]);
  t.same(ids(b), [webB.id, db.id].sort());
  await changeTask(store, webB.id, task => ({ ...task, status: running('failed') }));
  t.same(ids(b), [webB.id, db.id].sort(), 'its log is still asked for');
  await changeTask(store, db.id, task => ({ ...task, status: running('orphaned') }));
  t.same(ids(b), [webB.id]);
});

t.test('secrets go to nodes with a live task that names them, and nowhere else', async t => {
  const { store } = await cluster();
  for (const id of ['s1', 's2']) await putSecret(store, id, 1);
  const secrets = [{ source: 's1', target: 's1', uid: 0, gid: 0 }];
  const task = await putTask(store, { nodeId: a, spec: taskSpec({ secrets }) });
  const wanted = (node: NodeId) => [...planAssignments(store.view(), node, never).secrets.keys()];
  t.same(wanted(a), ['s1']);
  t.same(wanted(b), []);
  await changeTask(store, task.id, old => ({ ...old, status: running('failed') }));
  t.same(wanted(a), [], 'the task has ended');
});

t.test('an agent is told what changes for it, not what it said itself', async t => {
  const { store, webA } = await cluster();
  const plan = () => planAssignments(store.view(), a, never);
  const first = plan();
  t.same(
    diffAssignments(nothingWanted, first)?.tasks.map(task => task.id),
    [webA.id],
  );
  await changeTask(store, webA.id, task => ({ ...task, status: running('running') }));
  t.equal(diffAssignments(first, plan()), undefined, 'its own report');
  const second = plan();
  await changeTask(store, webA.id, task => ({ ...task, desired: 'shutdown' }));
  t.same(
    diffAssignments(second, plan())?.tasks.map(task => task.desired),
    ['shutdown'],
  );
  const third = plan();
  await changeTask(store, webA.id, task => ({ ...task, status: running('shutdown') }));
  await put(store, [{ kind: 'delete', table: 'task', id: webA.id }]);
  t.same(diffAssignments(third, plan())?.removedTasks, [webA.id]);
});

t.test('the stop of a held task is not told yet', async t => {
  const { store, webB } = await cluster();
  await changeTask(store, webB.id, task => ({ ...task, desired: 'shutdown' }));
  t.equal(planAssignments(store.view(), b, () => true).tasks.get(webB.id)?.desired, 'running');
  t.equal(planAssignments(store.view(), b, never).tasks.get(webB.id)?.desired, 'shutdown');
});

t.test('a stop is held until every node that may send there has acknowledged, for two seconds at most', async t => {
  const { store, webA, webB } = await cluster();
  const events: StoreEvent[] = [];
  store.watch(some => events.push(...some));
  await changeTask(store, webB.id, task => ({ ...task, desired: 'shutdown' }));
  await changeTask(store, webA.id, task => ({ ...task, desired: 'shutdown' }));
  const stopping = events.flatMap(event => findStopping(event) ?? []);
  t.same(
    stopping.map(task => task.id),
    [webB.id, webA.id],
  );
  const holds = holdsFor(stopping, { epoch: 5, nowMs: 100 });
  t.same(holds, [{ taskId: webB.id, nodeId: b, epoch: 5, untilMs: 2_100 }], 'the other does not run yet');
  const held = new Map<TaskId, Hold>(holds.map(hold => [hold.taskId, hold]));
  const sessions = new Map([a, b].map(id => [id, { ...makeNodeSession(id), shownEpoch: 5 }]));
  const ended = (nowMs: number) =>
    endedHolds(held, { view: store.view(), nowMs, sessions }).map(({ sending }) => sending);
  t.same(ended(200), [[]], 'acknowledged by both');
  sessions.set(a, { ...makeNodeSession(a), shownEpoch: 4 });
  t.same(ended(200), [], 'one has not acknowledged');
  t.same(ended(2_100), [[a]], 'out of time, and it says who was late');
  sessions.set(a, { ...makeNodeSession(a), sentTables: { base: new Map(), own: new Map() } });
  t.same(ended(200), [[]], 'one that was never told of the endpoint has nothing to take away');
  sessions.delete(a);
  t.same(ended(200), [], 'one that is ready and away just now may route by older tables');
  await putNode(store, a, 1, 'lost');
  t.same(ended(200), [[]], 'one that is lost is not waited for');
  sessions.delete(b);
  await changeTask(store, webB.id, task => ({ ...task, status: running('failed') }));
  t.same(ended(200), [[]], 'nothing runs any more');
});

t.test('the later status of a task is the one of the later attempt, then of the later state', async t => {
  const cases: readonly [TaskStatus, TaskStatus, boolean][] = [
    [running('accepted'), running('running'), true],
    [running('running'), running('running'), true],
    [running('running'), running('starting'), false],
    [running('failed'), running('running'), false],
    [running('failed', 1), running('preparing', 2), true],
    [running('preparing', 2), running('failed', 1), false],
  ];
  for (const [before, after, later] of cases) {
    t.equal(isLater(before, after), later, `${before.state} ${before.attempt} -> ${after.state} ${after.attempt}`);
  }
});

t.test('a node reports on its own tasks, along its own edges; the rest is dropped and counted', async t => {
  const { store, webA, webB } = await cluster();
  const plan = (task: Task | undefined, nodeId: NodeId, status: TaskStatus) => {
    const { writes, dropped } = planReports(store.view(), [[task?.id ?? asId<TaskId>('gone'), { nodeId, status }]]);
    return [writes.length, dropped];
  };
  t.same(plan(webA, a, running('running')), [1, 0], 'forward');
  t.same(plan(webB, b, running('running')), [0, 0], 'nothing new');
  t.same(plan(webB, b, { ...running('running'), health: 'healthy' }), [1, 0], 'progress within a state');
  t.same(plan(webB, b, running('preparing')), [0, 1], 'back');
  t.same(plan(webB, a, running('failed')), [0, 1], 'of another node');
  t.same(plan(webB, b, running('orphaned')), [0, 1], 'not for agents');
  t.same(plan(undefined, a, running('failed')), [0, 0], 'deleted meanwhile');
});
