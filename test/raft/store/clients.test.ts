/** A change whose outcome was not known is asked for again, and happens once. */
import t from 'tap';
import type { Log } from '../../../src/raft/log.js';
import { type Once, openClients } from '../../../src/raft/store/clients.js';
import { openMachine } from '../../../src/raft/store/machine.js';
import { type Once as FrontPageOnce, openStore } from '../../../src/raft/store.js';
import { node } from '../../daemon/object-fixtures.js';
import { anySignal, memoryLog, wire } from '../../daemon/plane-fixtures.js';

const clock = { wallMs: () => 5_000 };
const seventh: FrontPageOnce = { client: 'cli', sequence: 7, settled: 6 };

/** A log that stores an entry and then says that it does not know. */
function forgetfulLog() {
  const inner = memoryLog();
  let forgets = 1;
  return {
    entries: inner.entries,
    openLog: async (machine: Parameters<typeof inner.openLog>[0]): Promise<Log> => {
      const log = await inner.openLog(machine);
      return {
        ...log,
        propose: async entry => {
          const outcome = await log.propose(entry);
          forgets -= 1;
          return forgets < 0 ? outcome : { kind: 'unknown' };
        },
      };
    },
  };
}

t.test('a change that was stored although its outcome was unknown is not stored a second time', async t => {
  const log = forgetfulLog();
  const store = await openStore({ wire, clock, openLog: log.openLog });
  let decided = 0;
  const update = () =>
    store.update(
      view => {
        decided += 1;
        t.equal(view.findByName('node', 'a'), undefined, 'decide is not asked about what is done');
        return [{ kind: 'put', table: 'node', object: node('a') }];
      },
      { principal: 'uid:0', signal: anySignal(), once: seventh },
    );
  await t.rejects(update(), { code: 'unknown-outcome' });
  t.equal(await update(), 1, 'the version of the first time');
  t.equal(await update(), 1);
  t.equal(decided, 1);
  t.equal(log.entries.length, 1);
});

t.test('the same entry twice in the log is applied once, on every manager, also after a snapshot', async t => {
  const log = memoryLog();
  const store = await openStore({ wire, clock, openLog: log.openLog });
  await store.update(() => [{ kind: 'put', table: 'node', object: node('a') }], {
    principal: 'uid:0',
    signal: anySignal(),
    once: seventh,
  });
  const [entry] = log.entries as [Uint8Array];
  const one = openMachine(wire);
  one.apply(1, entry);
  one.apply(2, entry);
  t.equal(one.findVoid(2), undefined, 'it is no conflict with itself');
  t.equal(one.state.view.findByName('node', 'a')?.meta.version, 1);
  const two = openMachine(wire);
  two.restore(one.snapshot());
  two.apply(3, entry);
  t.equal(two.findVoid(3), undefined);
  t.equal(two.state.view.findByName('node', 'a')?.meta.version, 1);
  t.equal(two.findDone(seventh), 1);
});

t.test('a change that was void may be tried again under its name', async t => {
  const log = memoryLog();
  const store = await openStore({ wire, clock, openLog: log.openLog });
  const put = (id: string, once?: Once) =>
    store.update(() => [{ kind: 'put', table: 'node', object: node('a', { id: id as never }) }], {
      principal: 'uid:0',
      signal: anySignal(),
      once,
    });
  await put('one');
  await t.rejects(put('two', seventh), { code: 'already-exists' });
  await store.update(() => [{ kind: 'delete', table: 'node', id: 'one' }], { principal: 'uid:0', signal: anySignal() });
  t.equal(await put('two', seventh), 3);
});

t.test('answered changes are forgotten, and so is the client that was quiet for longest among too many', async t => {
  const clients = openClients();
  clients.note({ client: 'a', sequence: 1, settled: 0 }, 10);
  clients.note({ client: 'a', sequence: 2, settled: 0 }, 11);
  clients.note({ client: 'a', sequence: 3, settled: 2 }, 12);
  t.strictSame(clients.list(), [{ id: 'a', settled: 2, done: [{ sequence: 3, version: 12 }] }]);
  for (let at = 0; at < 999; at += 1) clients.note({ client: `c${at}`, sequence: 1, settled: 0 }, 20 + at);
  clients.note({ client: 'a', sequence: 4, settled: 3 }, 2_000);
  clients.note({ client: 'late', sequence: 1, settled: 0 }, 2_001);
  t.equal(clients.find({ client: 'c0', sequence: 1, settled: 0 }), undefined, 'the quietest');
  t.equal(clients.find({ client: 'c1', sequence: 1, settled: 0 }), 21);
  t.equal(clients.find({ client: 'a', sequence: 4, settled: 3 }), 2_000);
  const copy = openClients();
  copy.restore(clients.list());
  t.strictSame(copy.list(), clients.list());
});

t.test('that nothing is to be done is told to people only when a majority says so, and looked at again', async t => {
  const inner = memoryLog();
  let answers = true;
  const openLog = async (machine: Parameters<typeof inner.openLog>[0]): Promise<Log> => ({
    ...(await inner.openLog(machine)),
    confirm: async () => answers,
  });
  const store = await openStore({ wire, clock, openLog });
  let stale = true;
  const decide = () => (stale ? [] : [{ kind: 'put', table: 'node', object: node('a') } as const]);
  const person = { principal: 'uid:0', signal: anySignal(), once: seventh };
  t.equal(await store.update(decide, person), 0);
  answers = false;
  await t.rejects(store.update(decide, person), { code: 'not-leader' }, 'another may lead');
  t.equal(await store.update(decide, { principal: 'system', signal: anySignal() }), 0, 'loops look again anyway');
  answers = true;
  const decided = store.update(view => {
    const writes = decide();
    // What the others had decided meanwhile is applied before the majority is known.
    stale = false;
    return view.count('node') === 0 ? writes : [];
  }, person);
  await t.rejects(decided, { code: 'not-leader' }, 'something is to be done by now: it is asked again');
});
