/** The store over a log in memory. */
import t from 'tap';
import { CoveyError } from '../../src/errors.js';
import type { Task, Transaction } from '../../src/gen/types.js';
import { openMachine } from '../../src/raft/store/machine.js';
import { changesMax } from '../../src/raft/store/open.js';
import {
  type OpenStore,
  openStore,
  type StoreEvent,
  updateInPieces,
  type View,
  type Write,
} from '../../src/raft/store.js';
import { network, node, service, task } from '../daemon/object-fixtures.js';
import { anySignal, type MemoryLog, memoryLog, wire } from '../daemon/plane-fixtures.js';

const clock = { wallMs: () => 5_000 };
const loops = 'system:orchestrate+allocate+schedule+reconcile+reap';

async function open(): Promise<{ readonly store: OpenStore; readonly log: MemoryLog }> {
  const log = memoryLog();
  return { store: await openStore({ wire, clock, openLog: log.openLog }), log };
}

const by = (principal = 'uid:0') => ({ principal, signal: anySignal() });
const putNode = (name: string, over: Parameters<typeof node>[1] = {}): Write => ({
  kind: 'put',
  table: 'node',
  object: node(name, over),
});
const putTask = (object: Task): Write => ({ kind: 'put', table: 'task', object });

t.test('meta is filled in by the store: version, times, and the owner who made it', async t => {
  const { store } = await open();
  await store.update(() => [putNode('a')], by('uid:7'));
  t.same(store.view().find('node', 'a')?.meta, { version: 1, createdAtMs: 5_000, updatedAtMs: 5_000, owner: 'uid:7' });
  await store.update(() => [putNode('a')], by('system:reap'));
  t.same(store.view().find('node', 'a')?.meta, { version: 2, createdAtMs: 5_000, updatedAtMs: 5_000, owner: 'uid:7' });
});

t.test('decisions of one batch see one another, and nobody else sees them before they are stored', async t => {
  const { store, log } = await open();
  const gate = Promise.withResolvers<void>();
  log.gate = gate.promise;
  const seen: number[] = [];
  const first = store.update(view => {
    seen.push(view.count('node'));
    return [putNode('a')];
  }, by());
  const second = store.update(view => {
    seen.push(view.count('node'));
    return [putNode('b')];
  }, by());
  await Promise.resolve();
  await Promise.resolve();
  t.same(seen, [0, 1], 'the second decision builds on the first');
  t.equal(store.view().count('node'), 0, 'and the state is as it was');
  gate.resolve();
  t.same(await Promise.all([first, second]), [1, 2]);
  t.equal(store.view().count('node'), 2);
});

t.test('updates of one object that meet are stored one after the other', async t => {
  const { store } = await open();
  await store.update(() => [putNode('a')], by());
  const add =
    (key: string) =>
    (view: View): readonly Write[] => {
      const present = view.find('node', 'a')!;
      return [putNode('a', { spec: { ...present.spec, labels: { ...present.spec.labels, [key]: '1' } } })];
    };
  await Promise.all(['x', 'y', 'z'].map(key => store.update(add(key), by())));
  t.same(store.view().find('node', 'a')?.spec.labels, { x: '1', y: '1', z: '1' });
});

t.test('names are unique in their table', async t => {
  const { store } = await open();
  await store.update(() => [putNode('a')], by());
  const spec = { name: 'a', labels: {}, availability: 'active' } as const;
  await t.rejects(
    store.update(() => [putNode('b', { spec })], by()),
    { code: 'already-exists' },
  );
  await t.rejects(
    store.update(
      () => [putNode('c', { spec: { ...spec, name: 'c' } }), putNode('d', { spec: { ...spec, name: 'c' } })],
      by(),
    ),
    { code: 'already-exists' },
  );
  t.equal(store.view().count('node'), 1, 'a transaction is stored as a whole or not at all');
  await store.update(() => [{ kind: 'delete', table: 'node', id: 'a' }, putNode('b', { spec })], by());
  t.equal(store.view().findByName('node', 'a')?.id, 'b');
});

t.test('a decision that refuses reaches its caller and harms no other', async t => {
  const { store } = await open();
  const refused = store.update(() => {
    throw new CoveyError('port-conflict', 'Cannot do that');
  }, by());
  const fine = store.update(() => [putNode('a')], by());
  await t.rejects(refused, { code: 'port-conflict' });
  t.equal(await fine, 1);
});

t.test('what the log answers is what the caller hears', async t => {
  const table = [
    [{ kind: 'not-leader', leaderId: 'b' }, 'not-leader'],
    [{ kind: 'not-leader', leaderId: undefined }, 'no-leader'],
    [{ kind: 'dropped', reason: 'the leader changes' }, 'no-leader'],
    [{ kind: 'no-space', path: '/x' }, 'no-space'],
    [{ kind: 'too-large', sizeBytes: 2, limitBytes: 1 }, 'too-large'],
    [{ kind: 'unknown' }, 'unknown-outcome'],
    [{ kind: 'stopped' }, 'cancelled'],
  ] as const;
  for (const [outcome, code] of table) {
    const { store, log } = await open();
    log.fail = outcome;
    await t.rejects(
      store.update(() => [putNode('a')], by()),
      { code },
    );
    t.equal(store.view().count('node'), 0);
    log.fail = undefined;
    t.equal(await store.update(() => [putNode('a')], by()), 1, 'and the store goes on');
  }
});

t.test('"nothing to do" is decided anew when what it rested on came to nothing', async t => {
  const { store, log } = await open();
  log.fail = { kind: 'no-space', path: '/x' };
  const looks: number[] = [];
  const first = store.update(() => [putNode('a')], by());
  const second = store.update(view => {
    looks.push(view.count('node'));
    if (looks.length === 2) log.fail = undefined;
    return view.count('node') === 0 ? [putNode('b')] : [];
  }, by());
  await t.rejects(first, { code: 'no-space' });
  t.equal(await second, 1);
  t.same(looks, [1, 0]);
});

t.test('a caller that gives up is let go', async t => {
  const { store, log } = await open();
  const controller = new AbortController();
  const never = new CoveyError('timeout', 'Cannot wait longer');
  const waiting = store.update(() => [putNode('a')], { principal: 'uid:0', signal: controller.signal });
  controller.abort(never);
  await t.rejects(waiting, { code: 'timeout' });
  await store.update(() => [], by());
  t.equal(log.entries.length, 0, 'it was not decided yet, so it is not stored either');
});

t.test('limits of a transaction: changes and bytes', async t => {
  const { store } = await open();
  const many = (count: number) => Array.from({ length: count }, (_, at) => putNode(`n${at}`));
  await t.rejects(
    store.update(() => many(changesMax + 1), by()),
    { code: 'too-large' },
  );
  const labels = { big: 'x'.repeat(1 << 20) };
  await t.rejects(
    store.update(() => [putNode('a', { spec: { name: 'a', labels, availability: 'active' } })], by()),
    { code: 'too-large' },
  );
  await store.update(() => many(changesMax), by());
  t.equal(store.view().count('node'), changesMax);
});

t.test('work that is larger than a transaction goes in pieces, halved where bytes are the limit', async t => {
  const { store, log } = await open();
  const labels = { big: 'x'.repeat(20_000) };
  const decide = (view: View): (readonly Write[])[] =>
    Array.from({ length: 300 }, (_, at) => `n${at}`)
      .filter(name => view.find('node', name) === undefined)
      .map(name => [putNode(name, { spec: { name, labels, availability: 'active' } })]);
  await updateInPieces(store, decide, by());
  t.equal(store.view().count('node'), 300);
  t.ok(log.entries.length >= 6 && log.entries.length <= 12, `${log.entries.length} entries`);
});

t.test('watchers hear of every transaction once it is stored, in order', async t => {
  const { store } = await open();
  const heard: string[] = [];
  const watch = store.watch((events, view) => {
    for (const event of events) heard.push(`${view.version} ${event.kind} ${event.table}`);
  });
  await Promise.all([store.update(() => [putNode('a')], by()), store.update(() => [putNode('b')], by())]);
  await store.update(() => [{ kind: 'delete', table: 'node', id: 'a' }], by());
  watch[Symbol.dispose]();
  await store.update(() => [putNode('c')], by());
  t.same(heard, ['1 put node', '2 put node', '3 delete node']);
});

t.test('tasks are found by service and by node', async t => {
  const { store } = await open();
  await store.update(
    () => [putTask(task('t1', { state: 'pending' })), putTask(task('t2', { state: 'assigned' }))],
    by(loops),
  );
  const ids = (tasks: Iterable<Task>): readonly string[] => [...tasks].map(({ id }) => id).sort();
  t.same(ids(store.view().tasksOfService('service-web')), ['t1', 't2']);
  t.same(ids(store.view().tasksOfNode('a')), ['t2']);
  await store.update(
    view => [putTask({ ...view.find('task', 't1')!, ...task('t1', { state: 'assigned' }) })],
    by(loops),
  );
  t.same(ids(store.view().tasksOfNode('a')), ['t1', 't2']);
  await store.update(
    view => [
      putTask({ ...view.find('task', 't2')!, status: { ...view.find('task', 't2')!.status, state: 'orphaned' } }),
    ],
    by(loops),
  );
  await store.update(() => [{ kind: 'delete', table: 'task', id: 't2' }], by(loops));
  t.same(ids(store.view().tasksOfService('service-web')), ['t1']);
  t.same(ids(store.view().tasksOfNode('a')), ['t1']);
});

t.test('the spec of a task is the one it was made with, and travels once', async t => {
  const { store, log } = await open();
  await store.update(() => [putTask(task('t1', { state: 'assigned' }))], by(loops));
  const made = store.view().find('task', 't1')?.spec;
  await store.update(
    view => [
      putTask({ ...view.find('task', 't1')!, status: { ...view.find('task', 't1')!.status, state: 'running' } }),
    ],
    by('node:a'),
  );
  t.equal(store.view().find('task', 't1')?.spec, made);
  t.ok(log.entries[1]!.length < log.entries[0]!.length);
});

const transaction = (over: Partial<Transaction> = {}): Transaction => ({
  schemaVersion: 1,
  atMs: 1,
  principal: 'uid:0',
  changes: [],
  ...over,
});
const encode = (value: Transaction): Uint8Array => wire.type('Transaction').encode(value);
const nodeChange = (name: string, baseVersion = 0) =>
  ({ baseVersion, action: { ...node(name), kind: 'node' } }) as const;

t.test('a void transaction changes nothing, on every manager alike', async t => {
  const machine = openMachine(wire);
  machine.apply(1, encode(transaction({ changes: [nodeChange('a')] })));
  machine.apply(2, encode(transaction({ changes: [nodeChange('b'), nodeChange('a', 7)] })));
  t.match(machine.findVoid(2), { code: 'stale-version' });
  t.equal(machine.state.view.count('node'), 1);
  t.equal(machine.state.view.version, 2);
  machine.apply(3, encode(transaction({ changes: [nodeChange('a', 1), nodeChange('a', 1)] })));
  t.match(machine.findVoid(3), { code: 'stale-version' }, 'one object twice');
  machine.apply(
    4,
    encode(transaction({ changes: [{ baseVersion: 0, action: { kind: 'deletion', table: 'node', id: 'x' } }] })),
  );
  t.match(machine.findVoid(4), { code: 'stale-version' }, 'nothing there to delete');
});

t.test('what this version does not know stops it, and nothing is skipped', async t => {
  const unknownKind = Buffer.concat([encode(transaction()), Buffer.from([0x22, 0x04, 0x08, 0x01, 0x72, 0x00])]);
  const table = [
    ['a newer schema', encode(transaction({ schemaVersion: 2 }))],
    ['no schema', encode(transaction({ schemaVersion: 0 }))],
    ['an unknown kind of change', unknownKind],
    [
      'an unknown table',
      encode(
        transaction({
          changes: [nodeChange('z'), { baseVersion: 0, action: { kind: 'deletion', table: 'wishes', id: 'x' } }],
        }),
      ),
    ],
    ['no protobuf', Buffer.from([0xff, 0xff])],
  ] as const;
  for (const [name, entry] of table) {
    const machine = openMachine(wire);
    machine.apply(1, encode(transaction({ changes: [nodeChange('a')] })));
    t.throws(() => machine.apply(2, entry), { code: 'newer-schema' }, name);
    t.throws(
      () => machine.apply(3, encode(transaction({ changes: [nodeChange('b')] }))),
      { code: 'newer-schema' },
      `${name}: nothing follows`,
    );
    t.same([machine.state.view.version, machine.state.view.count('node')], [1, 1], `${name}: nothing is half done`);
  }
});

t.test('a snapshot holds everything, in pieces of any moment', async t => {
  const { store, log } = await open();
  await store.update(() => Array.from({ length: 150 }, (_, at) => putNode(`n${at}`)), by());
  await store.update(
    () => [
      putTask(task('t1', { state: 'assigned' })),
      { kind: 'put', table: 'service', object: service() },
      { kind: 'put', table: 'network', object: network() },
    ],
    by(loops),
  );
  const from = openMachine(wire);
  for (const [at, entry] of log.entries.entries()) from.apply(at + 1, entry);
  const pieces = from.snapshotPieces();
  from.apply(3, encode(transaction({ changes: [nodeChange('later')] })));
  const to = openMachine(wire);
  to.restore(Buffer.concat([...pieces]));
  const dump = (view: View) =>
    (['node', 'task', 'service', 'network'] as const).map(name =>
      [...view.list(name)].sort((a, b) => (a.id < b.id ? -1 : 1)),
    );
  t.same(dump(to.state.view), dump(store.view()));
  t.equal(to.state.view.version, 2);
  t.equal(to.state.view.findByName('network', 'net')?.id, 'network-net', 'indexes too');
});

t.test('a state that takes the place of another is told as the difference', async t => {
  const machine = openMachine(wire);
  machine.apply(1, encode(transaction({ changes: [nodeChange('a'), nodeChange('b')] })));
  const snapshot = machine.snapshot();
  machine.apply(
    2,
    encode(
      transaction({
        changes: [nodeChange('c'), { baseVersion: 1, action: { kind: 'deletion', table: 'node', id: 'a' } }],
      }),
    ),
  );
  const heard: StoreEvent[] = [];
  machine.watch(events => heard.push(...events));
  machine.restore(snapshot);
  t.same(
    heard.map(event => [event.kind, event.kind === 'put' ? event.object.id : event.old.id]),
    [
      ['put', 'a'],
      ['delete', 'c'],
    ],
  );
});

t.test('a closed store refuses, and so do updates that wait', async t => {
  const { store } = await open();
  const waiting = store.update(() => [putNode('a')], by());
  await store[Symbol.asyncDispose]();
  await t.rejects(waiting, { code: 'cancelled' });
  await t.rejects(
    store.update(() => [], by()),
    { code: 'cancelled' },
  );
});

t.test('random work: batches in any company come to the same as one after the other', async t => {
  for (let seed = 1; seed <= 20; seed++) {
    let state = seed;
    const random = (below: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((state / 2_147_483_648) * below);
    };
    const { store, log } = await open();
    let added = 0;
    const work = Array.from({ length: 40 }, () => {
      const name = `n${random(6)}`;
      return store
        .update(view => {
          const present = view.find('node', name);
          const count = Number(present?.spec.labels['count'] ?? '0') + 1;
          return [putNode(name, { spec: { name, labels: { count: String(count) }, availability: 'active' } })];
        }, by())
        .then(() => {
          added += 1;
        });
    });
    await Promise.all(work);
    const total = [...store.view().list('node')].reduce((sum, { spec }) => sum + Number(spec.labels['count']), 0);
    t.equal(total, added, `seed ${seed}: no change was lost`);
    const replica = openMachine(wire);
    for (const [at, entry] of log.entries.entries()) replica.apply(at + 1, entry);
    t.same([...replica.state.view.list('node')], [...store.view().list('node')], `seed ${seed}: a replica agrees`);
  }
});
