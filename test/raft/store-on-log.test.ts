/** The store on the log of a single manager: what was answered is there after a crash, snapshots included. */
import t from 'tap';
import { openSoloLog } from '../../src/raft/solo-log.js';
import { type OpenStore, openStore } from '../../src/raft/store.js';
import { node, task } from '../daemon/object-fixtures.js';
import { anySignal, silent, wire } from '../daemon/plane-fixtures.js';
import { makeFakeClock } from '../fake-clock.js';
import { type MemoryFiles, memoryFiles } from './solo/memory-files.js';

const loops = 'system:orchestrate+allocate+schedule+reconcile+reap';

function open({ files }: MemoryFiles): Promise<OpenStore> {
  const clock = { ...makeFakeClock(), sleep: async () => undefined };
  return openStore({
    wire,
    clock,
    openLog: machine =>
      openSoloLog({
        directory: '/store',
        files,
        clock,
        machine,
        log: silent,
        onFailed: error => {
          throw error;
        },
        limits: { snapshotEntries: 8 },
      }),
  });
}

const dump = ({ view }: OpenStore): unknown =>
  (['node', 'task'] as const).map(name => [...view().list(name)].sort((a, b) => (a.id < b.id ? -1 : 1)));

t.test('a store is the same after a crash at any time', async t => {
  const memory = memoryFiles();
  let store = await open(memory);
  for (let round = 0; round < 40; round++) {
    const id = `t${round % 5}`;
    await store.update(
      view => {
        const present = view.find('task', id);
        if (present === undefined) return [{ kind: 'put', table: 'task', object: task(id, { state: 'assigned' }) }];
        return [
          {
            kind: 'put',
            table: 'task',
            object: { ...present, status: { ...present.status, message: `round ${round}` } },
          },
        ];
      },
      { principal: loops, signal: anySignal() },
    );
    if (round % 3 === 0)
      await store.update(() => [{ kind: 'put', table: 'node', object: node(`n${round}`) }], {
        principal: 'system',
        signal: anySignal(),
      });
    if (round % 7 !== 0) continue;
    const before = dump(store);
    const term = store.log.term();
    memory.crash();
    store = await open(memory);
    t.same(dump(store), before, `after round ${round}`);
    t.ok(store.log.term() > term, 'in a later term');
  }
  t.ok(
    [...memory.contents.keys()].some(path => path.includes('snapshot')),
    'there was a snapshot on the way',
  );
  await store[Symbol.asyncDispose]();
});
