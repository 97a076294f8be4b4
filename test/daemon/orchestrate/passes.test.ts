/** Passes over several services on one draft. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { openPasses, planPasses } from '../../../src/daemon/orchestrate/passes.js';
import { CoveyError } from '../../../src/errors.js';
import type { Service } from '../../../src/gen/types.js';
import { asId, type ServiceId } from '../../../src/ids.js';
import { openState } from '../../../src/raft/store/tables.js';
import type { Store, Write } from '../../../src/raft/store.js';
import { makeFakeClock } from '../../fake-clock.js';
import { network, node, service, serviceSpec, taskSpec } from '../object-fixtures.js';

const random = { bytes: (size: number) => randomBytes(size), fraction: () => 0.5 };
const nowMs = 20_000;

function named(name: string, over: Partial<Service> = {}, replicas = 0): Service {
  const spec = serviceSpec({
    name,
    task: taskSpec({ networks: [{ network: network().id, aliases: [] }] }),
    mode: { kind: 'replicated', replicas },
  });
  return service({ id: asId<ServiceId>(name), spec, ...over });
}

const waitsFor = (): undefined => undefined;

function stateOf(services: readonly Service[]) {
  const state = openState();
  state.put('network', network());
  state.put('node', node('a'));
  for (const one of services) state.put('service', one);
  return state;
}

function take(state: ReturnType<typeof openState>, writes: readonly Write[]): void {
  for (const write of writes) {
    if (write.kind === 'delete') state.remove(write.table, write.id);
    else state.put(write.table, write.object as never);
  }
}

t.test('services that are new at the same time get an address each', async t => {
  const names = Array.from({ length: 40 }, (_, at) => `s${at}`);
  const state = stateOf(names.map(name => named(name)));
  const { writes, notes } = planPasses(state.view, names, { nowMs, random, waitsFor });
  take(state, writes);
  t.same([...notes.keys()], names);
  const vips = [...state.view.list('service')].flatMap(one => one.vips.flatMap(vip => vip.addresses));
  t.equal(new Set(vips).size, 40, vips.join(' '));
});

t.test('what one gives back is not given to another of the same draft, and rests for its time', async t => {
  const held = [{ networkId: network().id, addresses: ['10.1.0.2'] }];
  const state = stateOf([named('old', { vips: held, removing: true }), named('new')]);
  const { writes } = planPasses(state.view, ['old', 'new'], { nowMs, random, waitsFor });
  take(state, writes);
  t.equal(state.view.find('service', 'old'), undefined);
  t.same(state.view.find('service', 'new')?.vips, [{ networkId: network().id, addresses: ['10.1.0.3'] }]);
  t.same(state.view.find('network', network().id)?.ledger, { freed: [{ address: '10.1.0.2', atMs: nowMs }] });
});

t.test('an address that some node may still lead to is given to nobody, and it is said which node that is', async t => {
  const freed = Array.from({ length: 5 }, (_, at) => ({ address: `10.1.0.${at + 2}`, atMs: 0 }));
  const state = openState();
  state.put('network', network({ subnets: ['10.1.0.0/29'], ledger: { freed } }));
  state.put('node', node('a'));
  state.put('service', named('new', {}, 1));
  const late = (address: string) => (address === '10.1.0.4' ? undefined : ['a']);
  const first = planPasses(state.view, ['new'], { nowMs: 100_000, random, waitsFor: late });
  take(state, first.writes);
  t.same(state.view.find('service', 'new')?.vips[0]?.addresses, ['10.1.0.4'], 'the one that all let go');
  const [waiting] = [...state.view.tasksOfService('new')];
  t.equal(waiting?.status.state, 'new');
  t.match(waiting?.status.message, /1 of 5 in use, 4 until a let them go/);
  t.equal(first.notes.get('new')?.wakeAtMs, 101_000, 'looked at again soon');
  take(state, planPasses(state.view, ['new'], { nowMs: 101_000, random, waitsFor }).writes);
  const [placed] = [...state.view.tasksOfService('new')];
  t.same(placed?.endpoints[0]?.addresses, ['10.1.0.2']);
});

t.test('removing many writes the ledger of their network once', async t => {
  const names = Array.from({ length: 50 }, (_, at) => `s${at}`);
  const gone = (name: string, at: number): Service =>
    named(name, { removing: true, vips: [{ networkId: network().id, addresses: [`10.1.0.${at + 2}`] }] });
  const { writes } = planPasses(stateOf(names.map(gone)).view, names, { nowMs, random, waitsFor });
  t.equal(writes.filter(write => write.table === 'network').length, 1);
  t.equal(writes.filter(write => write.kind === 'delete').length, 50);
});

t.test('a draft that is full leaves the rest of the services for later', async t => {
  const names = Array.from({ length: 10 }, (_, at) => `s${at}`);
  const state = stateOf(names.map(name => named(name, {}, 60)));
  const { writes, notes } = planPasses(state.view, names, { nowMs, random, waitsFor });
  t.ok(notes.size < names.length, `${notes.size} services`);
  t.ok(writes.length < 256, `${writes.length} writes`);
});

t.test('whoever is refused is refused alone; the others are stored, all of them, however many', async t => {
  const names = Array.from({ length: 90 }, (_, at) => `s${at}`);
  const state = stateOf(names.map((name, at) => named(name, {}, at % 3)));
  let updates = 0;
  const store: Pick<Store, 'update'> = {
    update: async decide => {
      updates += 1;
      const writes = decide(state.view);
      if (writes.length > 200) throw new CoveyError('too-large', 'Cannot store that many');
      if (writes.some(write => write.kind === 'put' && write.object.id === 's7'))
        throw new CoveyError('illegal-transition', 'Cannot store s7');
      take(state, writes);
      return updates;
    },
  };
  const passes = openPasses({
    store,
    clock: makeFakeClock(),
    random,
    signal: new AbortController().signal,
    waitsFor,
  });
  const outcomes = await Promise.allSettled(names.map(name => passes.pass(name)));
  t.same(
    outcomes.flatMap((outcome, at) => (outcome.status === 'rejected' ? [names[at]] : [])),
    ['s7'],
  );
  for (const [at, name] of names.entries()) {
    const tasks = [...state.view.tasksOfService(name)];
    t.equal(tasks.length, name === 's7' ? 0 : at % 3, name);
    t.ok(
      tasks.every(task => task.status.state === 'assigned'),
      name,
    );
  }
  t.ok(updates < 30, `${updates} transactions`);
});

t.test(
  'services that change one after the other share a group while the log is slow; after a quiet time none waits',
  async t => {
    const names = Array.from({ length: 6 }, (_, at) => `s${at}`);
    const state = stateOf(names.map(name => named(name)));
    const clock = makeFakeClock();
    const { signal } = new AbortController();
    const storedAtMs: number[] = [];
    const store: Pick<Store, 'update'> = {
      update: async decide => {
        const writes = decide(state.view);
        await clock.sleep(4, signal);
        take(state, writes);
        storedAtMs.push(clock.monotonicMs());
        return storedAtMs.length;
      },
    };
    const passes = openPasses({ store, clock, random, signal, waitsFor });
    for (const name of names.slice(0, 5)) {
      void passes.pass(name);
      await clock.advance(2);
    }
    await clock.advance(100);
    t.same(storedAtMs, [4, 16]);
    void passes.pass('s5');
    await clock.advance(5);
    t.same(storedAtMs, [4, 16, 114]);
  },
);
