import protobuf from 'protobufjs';
import t from 'tap';
import protos from '../src/gen/protos.json' with { type: 'json' };
import type { Task } from '../src/gen/types.js';
import { asId, type NodeId, type ServiceId, type TaskId } from '../src/ids.js';
import { openWire } from '../src/wire.js';

interface FieldDescriptor {
  readonly type: string;
  readonly id: number;
  readonly rule?: string;
  readonly keyType?: string;
  readonly options?: Readonly<Record<string, unknown>>;
}

interface Descriptor {
  readonly fields?: Readonly<Record<string, FieldDescriptor>>;
  readonly oneofs?: Readonly<Record<string, { readonly oneof: readonly string[] }>>;
  readonly values?: Readonly<Record<string, number>>;
}

const descriptors = protos.nested.covey.nested.v1.nested as unknown as Readonly<Record<string, Descriptor>>;

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

t.test('protobufjs reads the bytes of every message, and writes the same', async t => {
  const random = dice(1);
  for (const [name, { fields }] of Object.entries(descriptors)) {
    if (fields === undefined) continue;
    const { encode, decode } = wire.type(name as 'Task');
    const peer = root.lookupType(`covey.v1.${name}`);
    for (let round = 0; round < 20; round += 1) {
      const bytes = Buffer.from(encode(makeUp(name, random) as unknown as Task));
      const byPeer = Buffer.from(peer.encode(peer.decode(bytes)).finish());
      const andBack = Buffer.from(encode(decode(bytes)));
      if (byPeer.equals(bytes) && andBack.equals(bytes)) continue;
      t.same({ byPeer: byPeer.toString('hex'), andBack: andBack.toString('hex') }, bytes.toString('hex'), name);
    }
  }
});

t.test(
  'cut bytes, values of another type and endless nesting are refused; what is unknown or packed is read',
  async t => {
    const { encode, decode } = wire.type('Task');
    const bytes = encode(task);
    const missed = Array.from(bytes.keys()).filter(end => isRead(() => decode(bytes.subarray(0, end))));
    // A message that ends between two of its fields is whole: only its own way to end could tell.
    t.same(
      missed.filter(end => !isRead(() => root.lookupType('covey.v1.Task').decode(bytes.subarray(0, end)))),
      [],
    );
    t.ok(missed.length < bytes.length / 4, `${missed.length} of ${bytes.length} cuts are read`);

    const text = protobuf.Writer.create().uint32(tagOf(1, 2)).string('80').finish();
    const refused = { code: 'unknown-value', message: 'Cannot decode a PortSpec of 4 bytes' };
    t.throws(() => wire.type('PortSpec').decode(text), refused);
    const later = protobuf.Writer.create().uint32(tagOf(900, 2)).string('later').finish();
    t.same(decode(Buffer.concat([bytes, later])), task);
    const packed = protobuf.Writer.create().uint32(tagOf(2, 2)).fork().int64(7).int64(-1).ldelim().finish();
    t.same(wire.type('RestartHistory').decode(packed).atMs, [7, -1]);

    const problem = descriptors['Problem']?.fields?.['cause'];
    if (problem?.type !== 'Problem')
      throw new Error('a Problem holds its cause no more: take another message for this');
    let nested: Uint8Array = new Uint8Array(0);
    for (let depth = 0; depth < 1000; depth += 1)
      nested = protobuf.Writer.create().uint32(tagOf(problem.id, 2)).bytes(nested).finish();
    t.throws(() => wire.type('Problem').decode(nested), { code: 'unknown-value' });
  },
);

function tagOf(id: number, wireType: number): number {
  return (id << 3) | wireType;
}

function isRead(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false; // that is the law
  }
}

function dice(seed: number): (sides: number) => number {
  let state = seed;
  return sides => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** A message of the kind, of values that a die chose: often the zeroes. */
function makeUp(name: string, random: (sides: number) => number, depth = 0): Record<string, unknown> {
  const { fields = {}, oneofs = {} } = descriptors[name] ?? {};
  const made: Record<string, unknown> = {};
  const unions = Object.entries(oneofs).filter(([union]) => !union.startsWith('_'));
  const inUnion = new Set(unions.flatMap(([, { oneof }]) => oneof));
  for (const [key, field] of Object.entries(fields)) {
    if (inUnion.has(key)) continue;
    const one = (): unknown => makeUpValue(field.type, random, depth);
    const isMessage = descriptors[field.type]?.fields !== undefined || descriptors[field.type]?.oneofs !== undefined;
    const isRequired = field.options?.['(required)'] === true;
    if (field.keyType !== undefined) made[key] = Object.fromEntries(['', 'é', '__proto__'].map(word => [word, one()]));
    else if (field.rule === 'repeated') made[key] = Array.from({ length: depth > 3 ? 0 : random(3) }, one);
    else if (isMessage ? isRequired || (depth < 4 && random(2) > 0) : field.options === undefined || random(2) > 0)
      made[key] = one();
    else if (!isMessage && field.options?.['proto3_optional'] !== true) made[key] = one();
  }
  for (const [union, { oneof }] of unions) {
    const kind = oneof[random(oneof.length)] ?? '';
    const value = makeUpValue(fields[kind]?.type ?? '', random, depth);
    made[union] = isPlain(value) ? { ...value, kind } : { kind, value };
  }
  return made;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && !(value instanceof Uint8Array);
}

function makeUpValue(type: string, random: (sides: number) => number, depth: number): unknown {
  const pick = <Value>(...values: readonly Value[]): Value => values[random(values.length)] as Value;
  if (type === 'string') return pick('', 'web', 'é€😀');
  if (type === 'bytes') return pick(new Uint8Array(0), new Uint8Array([0, 255, 1]));
  if (type === 'bool') return pick(false, true);
  if (type === 'double') return pick(0, 0.1, -1e300);
  if (type === 'uint32') return pick(0, 1, 2 ** 32 - 1);
  if (type === 'int32') return pick(0, -1, 2 ** 31 - 1);
  if (type === 'uint64') return pick(0, 300, Number.MAX_SAFE_INTEGER);
  if (type === 'int64') return pick(0, -1, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  const { values } = descriptors[type] ?? {};
  if (values === undefined) return makeUp(type, random, depth + 1);
  const prefix = `${type.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()}_`;
  return pick(...Object.keys(values))
    .slice(prefix.length)
    .toLowerCase()
    .replaceAll('_', '-');
}
