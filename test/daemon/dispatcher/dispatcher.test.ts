/**
 * The manager's half over streams in memory, with time that stands still.
 */
import t from 'tap';
import { type Dispatcher, openDispatcher } from '../../../src/daemon/dispatcher/index.js';
import { localConnection } from '../../../src/daemon/session/local.js';
import type { AgentMessage, ManagerMessage } from '../../../src/gen/types.js';
import type { Duplex } from '../../../src/grpc.js';
import { asId, type NodeId } from '../../../src/ids.js';
import type { Lifetime } from '../../../src/lifetime.js';
import type { OpenStore } from '../../../src/raft/store.js';
import { type FakeClock, makeFakeClock, settle } from '../../fake-clock.js';
import {
  anySignal,
  changeTask,
  description,
  memoryStore,
  put,
  putTask,
  silent,
  testLifetime,
} from '../node-fixtures.js';

const a = asId<NodeId>('a');

interface Scope {
  readonly teardown: (call: () => unknown) => unknown;
}

interface Leading {
  readonly clock: FakeClock;
  readonly store: OpenStore;
  readonly dispatcher: Dispatcher;
  readonly lifetime: Lifetime;
  readonly counts: Map<string, number>;
  readonly failures: unknown[];
}

async function lead(t: Scope, lostAfterMs = 10_000): Promise<Leading> {
  const clock = makeFakeClock();
  const store = await memoryStore(clock);
  const failures: unknown[] = [];
  const lifetime = testLifetime(failures);
  const counts = new Map<string, number>();
  const clusterSpec = {
    pool: '10.0.0.0/8',
    poolPieceBits: 20,
    taskHistoryMax: 5,
    certificateDays: 90,
    heartbeatMs: 1_000,
    lostAfterMs,
    dataPort: 7378,
  };
  const noBytes = new Uint8Array(0);
  const cluster = {
    id: asId<never>('c'),
    spec: clusterSpec,
    rootCertificate: noBytes,
    rootKey: noBytes,
    vniOverlay: 1,
    vniIngress: 2,
    tunnelIndexLast: 1,
  };
  await put(store, [{ kind: 'put', table: 'cluster', object: cluster as never }]);
  await putNode(store, a);
  const count = (name: string, by = 1): void => void counts.set(name, (counts.get(name) ?? 0) + by);
  const dispatcher = openDispatcher({ store, term: 3, clock, log: silent, lifetime, managers: () => [], count });
  t.teardown(() => lifetime[Symbol.asyncDispose]());
  return { clock, store, dispatcher, lifetime, counts, failures };
}

async function putNode(store: OpenStore, id: NodeId): Promise<void> {
  const object = {
    id,
    spec: { name: id, labels: {}, availability: 'active' },
    role: 'worker',
    description: description(id),
    status: { state: 'unknown', sinceMs: 0, message: '' },
    tunnelIndex: 1,
    certificateExpiresAtMs: 0,
    raftId: 0,
    demoting: false,
  } as const;
  await put(store, [{ kind: 'put', table: 'node', object }]);
}

interface Line {
  readonly stream: Duplex<AgentMessage, ManagerMessage>;
  readonly heard: ManagerMessage['body'][];
  readonly end: Promise<unknown>;
  readonly say: (body: AgentMessage['body']) => Promise<void>;
}

function call(leading: Leading, nodeId = a): Line {
  const connection = localConnection(leading.dispatcher, { nodeId, clusterId: asId('c'), role: 'worker' });
  const stream = connection.session({ signal: anySignal() });
  const heard: ManagerMessage['body'][] = [];
  const end = (async () => {
    try {
      for await (const { body } of stream) heard.push(body);
      return undefined;
    } catch (error) {
      return error;
    }
  })();
  const say = async (body: AgentMessage['body']): Promise<void> => {
    await stream.send({ body });
    await settle();
    await leading.clock.advance(20);
  };
  return { stream, heard, end, say };
}

function hello(change: { readonly protocolMin?: number; readonly protocolMax?: number } = {}): AgentMessage['body'] {
  return {
    kind: 'hello',
    protocolMin: 1,
    protocolMax: 1,
    description: description('a'),
    tasks: [],
    bootId: 'b',
    ...change,
  };
}

const kinds = (line: Line): string => line.heard.map(body => body.kind).join(' ');
const stateOf = (leading: Leading): unknown => leading.store.view().find('node', a)?.status.state;

t.test('hello is answered by welcome, tables and assignments, in this order, both full', async t => {
  const leading = await lead(t);
  const line = call(leading);
  await line.say(hello());
  t.equal(kinds(line), 'welcome tables assignments');
  t.match(line.heard[0], { protocol: 1, term: 3, heartbeatMs: 1_000, nodeName: 'a' });
  t.match(line.heard[1], { full: true, term: 3 });
  t.match(line.heard[2], { full: true, term: 3 });
  t.equal(stateOf(leading), 'ready');
  t.equal(leading.dispatcher.isConnected(a), true);
});

t.test('a heartbeat is answered every fifth time', async t => {
  const leading = await lead(t);
  const line = call(leading);
  await line.say(hello());
  for (let sequence = 1; sequence <= 11; sequence += 1) await line.say({ kind: 'heartbeat', sequence });
  t.same(
    line.heard.flatMap(body => (body.kind === 'heartbeat' ? [body.sequence] : [])),
    [5, 10],
  );
});

t.test('a node that goes on talking is not lost; a silent one is, and its session ends', async t => {
  const leading = await lead(t);
  const line = call(leading);
  await line.say(hello());
  for (let sequence = 1; sequence <= 30; sequence += 1) {
    await leading.clock.advance(980);
    await line.say({ kind: 'heartbeat', sequence });
  }
  t.equal(stateOf(leading), 'ready', 'after 30 s of heartbeats');
  await leading.clock.advance(9_000);
  t.equal(stateOf(leading), 'ready');
  await leading.clock.advance(3_000);
  t.equal(stateOf(leading), 'lost');
  t.match(await line.end, { code: 'timeout' });
  t.match(leading.store.view().find('node', a)?.status, { message: 'nothing heard of it for 10 s' });
});

t.test('F11: a manager that stood still for 45 s loses nobody whose heartbeats wait in its sockets', async t => {
  const leading = await lead(t);
  const line = call(leading);
  await line.say(hello());
  leading.clock.pause(45_000);
  await leading.clock.advance(500);
  t.equal(stateOf(leading), 'ready', 'the first look after it');
  await leading.clock.advance(8_000);
  await line.say({ kind: 'heartbeat', sequence: 1 });
  leading.clock.jump(-3_600_000);
  await leading.clock.advance(9_000);
  await line.say({ kind: 'heartbeat', sequence: 2 });
  leading.clock.jump(7_200_000);
  await leading.clock.advance(9_000);
  t.equal(stateOf(leading), 'ready', 'the time of day says nothing about silence');
  await leading.clock.advance(3_000);
  t.equal(stateOf(leading), 'lost', 'and who is silent is lost all the same');
});

t.test('who begins to lead gives everybody twice the time to come to it', async t => {
  const leading = await lead(t);
  await changeNodeTo(leading, 'ready');
  await leading.clock.advance(19_900);
  t.equal(stateOf(leading), 'ready');
  await leading.clock.advance(2_000);
  t.equal(stateOf(leading), 'lost');
});

async function changeNodeTo(leading: Leading, state: 'ready' | 'lost'): Promise<void> {
  const node = leading.store.view().find('node', a);
  if (node !== undefined)
    await put(leading.store, [{ kind: 'put', table: 'node', object: { ...node, status: { ...node.status, state } } }]);
}

t.test('hello comes first, soon, and in a version that both speak', async t => {
  const leading = await lead(t);
  const rude = call(leading);
  await rude.say({ kind: 'heartbeat', sequence: 1 });
  t.match(await rude.end, { code: 'bad-argument' });
  const old = call(leading);
  await old.say(hello({ protocolMin: 7, protocolMax: 9 }));
  t.match(await old.end, { code: 'no-common-protocol' });
  const mute = call(leading);
  await settle();
  await leading.clock.advance(5_100);
  t.match(await mute.end, { code: 'timeout' });
  const stranger = call(leading, asId('nobody'));
  await stranger.say(hello());
  t.match(await stranger.end, { code: 'node-removed' });
  t.equal(leading.dispatcher.isConnected(a), false);
});

t.test('changes within a few milliseconds are one message', async t => {
  const leading = await lead(t);
  const line = call(leading);
  await line.say(hello());
  const before = line.heard.length;
  for (let count = 0; count < 50; count += 1) {
    await putTask(leading.store, { nodeId: a });
    await leading.clock.advance(1);
  }
  await leading.clock.advance(20);
  const after = line.heard.slice(before).flatMap(body => (body.kind === 'assignments' ? [body.tasks.length] : []));
  t.equal(
    after.reduce((sum, count) => sum + count, 0),
    50,
  );
  t.ok(after.length >= 8 && after.length <= 12, `${after.length} messages in 50 ms`);
});

t.test('a role that changes ends the session; so does the end of the leadership', async t => {
  const leading = await lead(t);
  const line = call(leading);
  await line.say(hello());
  const node = leading.store.view().find('node', a);
  if (node !== undefined)
    await put(leading.store, [{ kind: 'put', table: 'node', object: { ...node, role: 'manager' } }]);
  t.match(await line.end, { code: 'role-refused' });
  const second = call(leading);
  await second.say(hello());
  await leading.lifetime[Symbol.asyncDispose]();
  t.match(await second.end, { code: 'not-leader' });
  t.same(leading.failures, []);
});

t.test('statuses that break the rules are counted and spoil nothing', async t => {
  const leading = await lead(t);
  const line = call(leading);
  await line.say(hello());
  const good = await putTask(leading.store, { nodeId: a });
  const bad = await putTask(leading.store, { nodeId: a });
  await changeTask(leading.store, bad.id, task => ({ ...task, status: { ...task.status, state: 'failed' } }));
  const tasks = [good, bad].map(task => ({ taskId: task.id, status: { ...task.status, state: 'running' as const } }));
  await line.say({ kind: 'status', tasks });
  t.equal(leading.store.view().find('task', good.id)?.status.state, 'running');
  t.equal(leading.store.view().find('task', bad.id)?.status.state, 'failed');
  t.equal(leading.counts.get('status_reports_dropped_total'), 1);
});

t.test('settled waits for the nodes that are connected, and not for ever', async t => {
  const leading = await lead(t);
  const line = call(leading);
  await line.say(hello());
  const tables = line.heard.find(body => body.kind === 'tables');
  let outcome = '';
  const wait = (name: string) => {
    void leading.dispatcher.settled({ timeoutMs: 1_000, signal: anySignal() }).then(() => {
      outcome += name;
    });
  };
  wait('a');
  await settle();
  t.equal(outcome, '');
  await line.say({ kind: 'acknowledgement', assignments: 0, tables: tables?.kind === 'tables' ? tables.version : 0 });
  t.equal(outcome, 'a');
  await putNode(leading.store, asId('b'));
  await leading.clock.advance(20);
  wait('b');
  await leading.clock.advance(900);
  t.equal(outcome, 'a');
  await leading.clock.advance(200);
  t.equal(outcome, 'ab');
});
