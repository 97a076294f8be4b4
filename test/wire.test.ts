import protobuf from 'protobufjs';
import t from 'tap';
import protos from '../src/gen/protos.json' with { type: 'json' };
import type { Task } from '../src/gen/types.js';
import { asId, type NodeId, type ServiceId, type TaskId } from '../src/ids.js';
import { openWire } from '../src/wire.js';

const wire = openWire();
const root = protobuf.Root.fromJSON(protos as unknown as protobuf.INamespace);

const task: Task = {
  id: asId<TaskId>('t'.repeat(25)),
  meta: { version: 9_007_199_254_740_991, createdAtMs: 1_700_000_000_000, updatedAtMs: 0, owner: 'uid:0' },
  serviceId: asId<ServiceId>('s'.repeat(25)),
  serviceName: 'web',
  stack: '',
  slot: 2,
  nodeId: asId<NodeId>(''),
  spec: {
    containers: [],
    restart: { condition: 'on-failure', delayMs: 0, attemptsMax: 0, windowMs: 0 },
    placement: { constraints: ['node.role==worker'], perNodeMax: 0, spread: [] },
    networks: [{ network: 'n', aliases: ['a', 'b'] }],
    runtime: '',
    force: 0,
    limits: { cpuNanos: 1, memoryBytes: 2 ** 40, pids: 0 },
  },
  specVersion: 1,
  desired: 'running',
  status: {
    state: 'failed',
    sinceMs: 5,
    message: '',
    error: 'é',
    errorCode: '',
    exitCode: -1,
    outOfMemory: true,
    attempt: 0,
    health: '',
    ready: '',
    containers: [],
  },
  endpoints: [{ networkId: asId('n'), addresses: ['10.0.0.1', 'fd00::1'] }],
  ports: [{ published: 0, target: 80, protocol: 'udp', mode: 'host' }],
  startAfterMs: 0,
  failures: 3,
  superseded: false,
};

t.test('a message comes back as it was, with 53-bit numbers, enums, lists, maps and unset optionals', async t => {
  const { encode, decode } = wire.type('Task');
  t.same(decode(encode(task)), task);
});

t.test('an optional field that is zero is told apart from one that is not set', async t => {
  const { encode, decode } = wire.type('RestartPolicy');
  t.equal(decode(encode({ condition: 'any', delayMs: 0, attemptsMax: 0, windowMs: 0 })).delayMs, 0);
  t.equal(decode(encode({ condition: 'any', attemptsMax: 0, windowMs: 0 })).delayMs, undefined);
});

t.test('a oneof becomes a union on kind, of messages and back', async t => {
  const { encode, decode } = wire.type('Change');
  t.same(decode(encode({ baseVersion: 0, action: { kind: 'task', ...task } })), {
    baseVersion: 0,
    action: { kind: 'task', ...task },
  });
  t.same(decode(encode({ baseVersion: 7, action: { kind: 'deletion', table: 'task', id: 'x' } })).action, {
    kind: 'deletion',
    table: 'task',
    id: 'x',
  });
});

t.test('bytes and maps survive, empty ones too', async t => {
  const { encode, decode } = wire.type('StackFile');
  const file = { name: 'a', labels: { k: 'v', empty: '' }, data: new Uint8Array([0, 255, 1]) };
  const back = decode(encode(file));
  t.same({ ...back, data: [...back.data] }, { ...file, data: [0, 255, 1] });
  t.equal(decode(encode({ ...file, data: new Uint8Array(0), labels: {} })).data.length, 0);
});

t.test('what this version does not know is an error, never a half-known value', async t => {
  const raw = (name: string, plain: Record<string, unknown>): Uint8Array =>
    root.lookupType(`covey.v1.${name}`).encode(plain).finish();
  t.throws(() => wire.type('PortSpec').decode(raw('PortSpec', { protocol: 99 })), { code: 'unknown-value' });
  t.throws(() => wire.type('Change').decode(raw('Change', { baseVersion: 3 })), { code: 'unknown-value' });
  t.throws(() => wire.type('Task').decode(raw('Task', { id: 'x' })), {
    code: 'unknown-value',
    message: /without its meta/,
  });
  t.throws(() => wire.type('Task').decode(Buffer.from('not protobuf at all')), { code: 'unknown-value' });
});

t.test('every message of the protos has a codec', async t => {
  const space = root.lookup('covey.v1') as protobuf.Namespace;
  const names = space.nestedArray.filter(thing => thing instanceof protobuf.Type).map(type => type.name);
  t.ok(names.length > 80);
  for (const name of names) t.doesNotThrow(() => wire.type(name as 'Task'), name);
});
