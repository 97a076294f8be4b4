/** Which node takes a task, and why none does. */
import t from 'tap';
import { findUnmet, parseConstraint } from '../../../src/daemon/schedule/constraints.js';
import { type Demand, demandOf, findRefusal, surveyNodes } from '../../../src/daemon/schedule/filters.js';
import { failuresByNode, planPlacement, renderCpus, renderSize } from '../../../src/daemon/schedule/place.js';
import { findHome, namedVolumes, noteElsewhere } from '../../../src/daemon/schedule/volumes.js';
import type { Mount, Node, Task } from '../../../src/gen/types.js';
import { plainMount } from '../../../src/tasks/spec/mounts.js';
import { meta, node, task } from '../object-fixtures.js';

const gib = 2 ** 30;
const plainVolume = plainMount('volume', '/v');
const demand = (over: Partial<Demand> = {}): Demand => ({
  serviceId: 'service-web',
  constraints: [],
  perNodeMax: 0,
  spread: [],
  reservations: undefined,
  hostPorts: [],
  rights: [],
  isNetworked: false,
  ...over,
});
const on = (nodeId: string, over: Parameters<typeof task>[1] = {}): Task =>
  task(`${nodeId}-${Math.abs(JSON.stringify(over).length)}`, { nodeId: nodeId as Task['nodeId'], ...over });
const port = { published: 8_080, target: 80, protocol: 'tcp', mode: 'host' } as const;

function place(
  nodes: readonly Node[],
  tasks: readonly Task[],
  over: Partial<Demand> & { readonly failures?: ReadonlyMap<string, number>; readonly images?: readonly string[] } = {},
): string {
  const { failures = new Map(), images = [], ...rest } = over;
  const placement = planPlacement(surveyNodes(nodes, tasks).values(), demand(rest), { failures, images });
  return placement.kind === 'node' ? placement.node.id : placement.message;
}

t.test('fewest tasks of the service, then the image, then fewest tasks at all', async t => {
  const other = { serviceId: 'other' as Task['serviceId'] };
  const nodes = [node('a'), node('b')];
  t.equal(place(nodes, [on('a')]), 'b');
  t.equal(place(nodes, [on('a', other)]), 'b');
  t.equal(place(nodes, [on('a'), on('b', other), on('b', { ...other, slot: 2 })]), 'b', 'its own service counts first');
  t.equal(place(nodes, [on('a', { state: 'failed' })]), 'a', 'what has ended takes no room');
  const withImage = node('b', { description: { ...node('b').description, images: ['hello:1'] } });
  t.equal(place([node('a'), withImage], [on('b', other)], { images: ['hello:1'] }), 'b');
  t.equal(place([node('a'), withImage], [on('b')], { images: ['hello:1'] }), 'a', 'spread comes before the image');
});

t.test('a task that does not find its volume says where it lies', async t => {
  const spec = (more: Partial<Mount> = {}): Task['spec'] => {
    const { spec } = on('');
    return { ...spec, containers: [{ ...spec.containers[0]!, mounts: [{ ...plainVolume, source: 'data', ...more }] }] };
  };
  const having = (id: string): Node => node(id, { description: { ...node(id).description, volumes: ['data'] } });
  const [a, b, c] = [node('a'), having('b'), having('c')];
  const name = (one: Node): string => one.spec.name;
  t.equal(
    noteElsewhere(spec(), a, [a, b, c]),
    `volume "data" lies on ${name(b)} and 1 more; on ${name(a)} it began empty`,
  );
  t.equal(noteElsewhere(spec(), b, [a, b, c]), undefined, 'it is there');
  t.equal(noteElsewhere(spec(), a, [a]), undefined, 'it is nowhere: it is new');
  t.equal(noteElsewhere(spec({ volumeOptions: { device: ':/srv' } }), a, [a, b]), undefined, 'the same everywhere');
  t.equal(noteElsewhere(spec({ source: '' }), a, [a, b]), undefined, 'nobody comes back to one without a name');
});

t.test('tasks are spread over the values of labels first, level by level, then over nodes', async t => {
  const at = (name: string, zone: string, rack = ''): Node =>
    node(name, { spec: { name, labels: { ...(zone && { zone }), ...(rack && { rack }) }, availability: 'active' } });
  const count = (
    nodes: readonly Node[],
    spread: readonly string[],
    wanted: number,
  ): Readonly<Record<string, number>> => {
    const tasks: Task[] = [];
    for (let slot = 1; slot <= wanted; slot += 1) tasks.push(on(place(nodes, tasks, { spread }), { slot }));
    return Object.fromEntries(nodes.map(({ id }) => [id, tasks.filter(({ nodeId }) => nodeId === id).length]));
  };
  const zones = [at('a', 'east'), at('b', 'east'), at('c', 'east'), at('d', 'west')];
  t.strictSame(count(zones, [], 4), { a: 1, b: 1, c: 1, d: 1 });
  t.strictSame(count(zones, ['node.labels.zone'], 6), { a: 1, b: 1, c: 1, d: 3 });
  const racks = [at('a', 'east', '1'), at('b', 'east', '1'), at('c', 'east', '2'), at('d', 'west', '1')];
  t.strictSame(count(racks, ['node.labels.zone', 'node.labels.rack'], 8), { a: 1, b: 1, c: 2, d: 4 });
  t.strictSame(count([at('a', 'east'), at('b', ''), at('c', '')], ['node.labels.zone'], 4), { a: 2, b: 1, c: 1 });
  const full = node('d', { spec: { name: 'd', labels: { zone: 'west' }, availability: 'drain' } });
  t.strictSame(count([at('a', 'east'), full], ['node.labels.zone'], 2), { a: 2, d: 0 }, 'a wish, not a condition');
});

t.test('a task goes back to the node where its slot has its volumes, and is never held back by one', async t => {
  const mounts = [{ ...plainVolume, source: 'data' }];
  const spec = (of: Task): Task => ({
    ...of,
    spec: { ...of.spec, containers: [{ ...of.spec.containers[0]!, mounts }] },
  });
  const older = { ...spec(on('b', { state: 'failed' })), meta: { ...meta, createdAtMs: 1 } };
  const newer = { ...spec(on('a', { state: 'shutdown' })), meta: { ...meta, createdAtMs: 2 } };
  const next = { ...spec(on('')), id: 'next' as Task['id'], nodeId: '' as Task['nodeId'] };
  t.equal(findHome(next, [older, newer, next]), 'a');
  t.equal(findHome({ ...next, slot: 7 }, [older, newer]), undefined, 'another slot has its own');
  t.equal(findHome(on(''), [older, newer]), undefined, 'a task without volumes has no home');
  const rank = (nodes: readonly Node[], home: string): string => {
    const placement = planPlacement(surveyNodes(nodes, [on('a')]).values(), demand(), {
      failures: new Map(),
      images: [],
      home,
    });
    return placement.kind === 'node' ? placement.node.id : placement.message;
  };
  t.equal(rank([node('a'), node('b')], 'a'), 'a', 'although b has fewer tasks of the service');
  t.equal(rank([node('b')], 'a'), 'b', 'the home is gone');
  t.strictSame(namedVolumes(next.spec), ['data']);
});

t.test('a node where this spec keeps failing comes last, but is not shut out', async t => {
  const failures = new Map([['a', 3]]);
  t.equal(place([node('a'), node('b')], [on('b')], { failures }), 'b');
  t.equal(place([node('a')], [], { failures }), 'a');
  t.equal(place([node('a'), node('b')], [], { failures: new Map([['a', 2]]) }), 'a');
  const failed = (state: 'failed' | 'rejected', updatedAtMs: number, specVersion = 1): Task => ({
    ...on('a', { state }),
    specVersion,
    meta: { ...meta, updatedAtMs },
  });
  t.same([...failuresByNode([failed('failed', 9), failed('rejected', 9), failed('failed', 9, 2)], 1, 10)], [['a', 4]]);
  t.same([...failuresByNode([failed('failed', 0)], 1, 300_001)], []);
});

t.test('each filter, by itself', async t => {
  const state = (name: Node['status']['state']): Node =>
    node('a', { status: { state: name, sinceMs: 0, message: '' } });
  const available = (availability: Node['spec']['availability']): Node =>
    node('a', { spec: { name: 'a', labels: {}, availability } });
  const memory = (memoryBytes: number): Partial<Demand> => ({ reservations: { cpuNanos: 0, memoryBytes, pids: 0 } });
  const cpu = (cpuNanos: number): Partial<Demand> => ({ reservations: { cpuNanos, memoryBytes: 0, pids: 0 } });
  const reserved = on('a', {
    spec: { ...task('x').spec, reservations: { cpuNanos: 3e9, memoryBytes: 7 * gib, pids: 0 } },
  });
  const table: readonly (readonly [string, Node, Partial<Demand>, readonly Task[], string | undefined])[] = [
    ['ready and active', node('a'), {}, [], undefined],
    ['lost', state('lost'), {}, [], 'lost'],
    ['unknown', state('unknown'), {}, [], 'unknown'],
    ['left', state('left'), {}, [], 'left'],
    ['paused', available('pause'), {}, [], 'paused'],
    ['draining', available('drain'), {}, [], 'draining'],
    ['constraint', node('a'), { constraints: ['node.id==b'] }, [], 'constraint'],
    ['all memory', node('a'), memory(8 * gib), [], undefined],
    ['more memory', node('a'), memory(8 * gib + 1), [], 'memory'],
    ['memory that is reserved', node('a'), memory(1 * gib + 1), [reserved], 'memory'],
    [
      'memory that a stopping task still has',
      node('a'),
      memory(2 * gib),
      [{ ...reserved, desired: 'shutdown' }],
      'memory',
    ],
    [
      'memory of an ended task',
      node('a'),
      memory(8 * gib),
      [{ ...reserved, status: { ...reserved.status, state: 'failed' } }],
      undefined,
    ],
    ['CPU', node('a'), cpu(1e9 + 1), [reserved], 'cpu'],
    [
      'no reservation on a full node',
      node('a', { description: { ...node('a').description, memoryBytes: 0 } }),
      {},
      [reserved],
      undefined,
    ],
    ['host port', node('a'), { hostPorts: [port] }, [on('a', { ports: [port] })], 'port'],
    [
      'the same number, other protocol',
      node('a'),
      { hostPorts: [{ ...port, protocol: 'udp' }] },
      [on('a', { ports: [port] })],
      undefined,
    ],
    ['most per node', node('a'), { perNodeMax: 1 }, [on('a')], 'per-node-max'],
    ['most per node, one is stopping', node('a'), { perNodeMax: 1 }, [on('a', { desired: 'shutdown' })], undefined],
  ];
  for (const [name, where, over, tasks, kind] of table) {
    const usage = surveyNodes([where], tasks).get('a');
    t.equal(usage && findRefusal(usage, demand(over))?.kind, kind, name);
  }
});

t.test('a refusal counts, explains, and begins with the most common reason', async t => {
  const small = (name: string, memoryGib: number): Node =>
    node(name, { description: { ...node(name).description, memoryBytes: memoryGib * gib } });
  const draining = node('rack3', { spec: { name: 'rack3', labels: {}, availability: 'drain' } });
  const eight = { reservations: { cpuNanos: 0, memoryBytes: 8 * gib, pids: 0 } };
  t.equal(
    place([draining, small('rack1', 5.1), small('rack2', 2)], [], eight),
    'no node fits: 3 looked at; 2 have too little memory (wants 8.0 GiB, most free is 5.1 GiB on rack1), 1 is draining',
  );
  t.equal(place([], []), 'no node fits: there are no nodes');
  const table: readonly (readonly [Partial<Demand>, readonly Task[], string])[] = [
    [
      { reservations: { cpuNanos: 5e9, memoryBytes: 0, pids: 0 } },
      [],
      '1 has too little CPU (wants 5, most free is 4 on a)',
    ],
    [{ constraints: ['node.labels.zone == eu'] }, [], '1 does not meet node.labels.zone==eu'],
    [{ hostPorts: [port] }, [on('a', { ports: [port] })], '1 has port 8080/tcp in use'],
    [{ perNodeMax: 1 }, [on('a')], '1 runs as many tasks of the service as one node may (1)'],
  ];
  for (const [over, tasks, reason] of table)
    t.equal(place([node('a')], tasks, over), `no node fits: 1 looked at; ${reason}`);
});

t.test('a pending task asks what its spec says', async t => {
  t.same(
    demandOf(task('t', { ports: [port, { ...port, published: 1, mode: 'ingress' }] })),
    demand({ hostPorts: [port] }),
  );
});

t.test('constraints: what holds', async t => {
  const where = node('a', {
    role: 'manager',
    spec: { name: 'rack1', labels: { zone: 'EU', empty: '' }, availability: 'active' },
    description: { ...node('a').description, hostname: 'rack1.example', labels: { disk: 'ssd' } },
  });
  const holds = [
    'node.id==a',
    'node.name == rack1',
    'node.hostname==rack1.example',
    'node.role==manager',
    'node.platform.os==linux',
    'node.platform.arch==x86_64',
    'node.labels.zone==eu',
    'node.labels.zone!=us',
    'engine.labels.disk==ssd',
    'node.labels.missing!=x',
  ];
  const fails = [
    'node.id==b',
    'node.role!=manager',
    'node.labels.zone!=eu',
    'node.labels.missing==x',
    'node.platform.arch==arm64',
    'nonsense',
  ];
  for (const text of holds) t.equal(findUnmet([text], where), undefined, text);
  for (const text of fails) t.equal(findUnmet([text], where), text, text);
  t.equal(findUnmet(['node.id==a', 'node.role==worker'], where), 'node.role==worker', 'all have to hold');
});

t.test('constraints: what is wrong with them', async t => {
  for (const text of [
    '',
    'node.id',
    'node.id=a',
    'node.id==',
    '==a',
    'node.ip==10.0.0.1',
    'node.labels.==x',
    'node id==a',
  ]) {
    t.ok('problem' in parseConstraint(text), text);
  }
  t.same(parseConstraint(' node.labels.a-b.c  !=  two words '), {
    key: 'node.labels.a-b.c',
    operator: '!=',
    value: 'two words',
    text: 'node.labels.a-b.c!=two words',
  });
});

t.test('sizes and CPUs as people read them', async t => {
  t.same([0, 1_023, 1_024, 5.1 * gib, 2 ** 62].map(renderSize), ['0 B', '1023 B', '1.0 KiB', '5.1 GiB', '4096.0 PiB']);
  t.same([0, 5e8, 1e9, 1_234_567_890].map(renderCpus), ['0', '0.5', '1', '1.23']);
});

t.test('what only some nodes give is asked of those', async t => {
  const plain = node('a', { description: { ...node('a').description, userns: false, privileged: false } });
  const open = node('b', { description: { ...node('b').description, userns: true, privileged: true } });
  t.equal(place([plain, open], [], { rights: ['privileged'] }), 'b');
  t.equal(place([plain, open], [], { rights: ['userns'] }), 'b');
  t.match(place([plain], [], { rights: ['privileged'] }), /1 does not allow privileged containers/);
  t.match(place([plain], [], { rights: ['userns'] }), /1 has no user namespaces for containers/);
  const asking = (fields: object): readonly string[] => {
    const base = task('x', {});
    const containers = base.spec.containers.map(container => ({ ...container, ...fields }));
    return demandOf({ ...base, spec: { ...base.spec, containers } }).rights;
  };
  t.strictSame(asking({}), []);
  t.strictSame(asking({ privileged: true }), ['privileged']);
  t.strictSame(asking({ securityOpt: ['systempaths=unconfined'] }), ['privileged']);
  t.strictSame(asking({ userns: 'auto' }), ['userns']);
});
