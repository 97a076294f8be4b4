/** Bugs that other logs had: each step of writing and installing is cut short in every way the disk allows. */
import t from 'tap';
import { messageOf } from '../../../src/errors.js';
import type { Entry } from '../../../src/raft/core/types.js';
import { clearKeyring } from '../../../src/raft/storage/keyring.js';
import type { StorageAnswer, StorageWork } from '../../../src/raft/storage/storage-protocol.js';
import { openStorage, type StorageServer } from '../../../src/raft/storage/storage-server.js';
import { encodeForWal } from '../../../src/raft/storage/wal-types.js';
import { createRandom } from '../sim/random.js';
import { SimDisk } from '../sim/sim-disk.js';

const confState = { voters: [1, 2, 3], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

function entry(index: number, size = 100): Entry {
  return { kind: 'normal', version: 1, term: 1, index, data: Buffer.alloc(size, `${index} `) };
}

class Outage extends Error {}

/** A machine whose power goes at a write of our choice. */
function openMachine(seed: number) {
  let writesLeft = Number.POSITIVE_INFINITY;
  let writes = 0;
  const disk = new SimDisk({
    random: createRandom(seed, 'disk'),
    beforeWrite: () => {
      writes += 1;
      writesLeft -= 1;
      if (writesLeft < 0) throw new Outage('the power is out');
    },
  });
  const open = () =>
    openStorage({
      disk,
      folder: '/raft',
      identity: { cluster: 'c', node: 1 },
      keyring: clearKeyring,
      random: size => new Uint8Array(size),
      segmentBytes: 2048,
      chunkBytes: 300,
      freeBytesMin: 0,
    });
  return {
    disk,
    open,
    writes: () => writes,
    cutAfter: (count: number) => {
      writesLeft = count;
    },
    restart() {
      writesLeft = Number.POSITIVE_INFINITY;
      disk.crash();
      return open();
    },
  };
}

function ask(server: StorageServer, work: StorageWork): StorageAnswer {
  return server.handle([{ ...work, id: 1 }])[0]!;
}

function append(server: StorageServer, index: number): boolean {
  return (
    ask(server, {
      kind: 'append',
      batch: encodeForWal({ hardState: { term: 1, vote: 1, commit: index - 1 }, entries: [entry(index)] }, true),
    }).kind === 'done'
  );
}

/** Installs a snapshot from the leader, at an index that this log has not reached. */
function install(server: StorageServer, index: number): boolean {
  const name = { index, term: 2 };
  const steps: readonly StorageWork[] = [
    { kind: 'snapshot-begin', meta: { ...name, confState }, origin: 'leader' },
    { kind: 'snapshot-chunk', ...name, origin: 'leader', offset: 0, bytes: new Uint8Array(1000).fill(7) },
    { kind: 'snapshot-finish', ...name, origin: 'leader', totalBytes: 1000 },
    {
      kind: 'append',
      batch: encodeForWal(
        { hardState: { term: 2, vote: 0, commit: index }, marker: { ...name, replaces: true }, entries: [] },
        true,
      ),
    },
    { kind: 'compact', ...name },
  ];
  for (const [place, step] of steps.entries()) if (ask(server, step).kind === 'failed') return place > 3;
  return true;
}

t.test('B36: a crash between any two steps of a snapshot leaves the old state or the new one, whole', async t => {
  const whole = openMachine(1);
  const first = whole.open();
  for (let index = 1; index <= 12; index += 1) append(first, index);
  const before = whole.writes();
  install(first, 50);
  const steps = whole.writes() - before;
  t.ok(steps > 10, `${steps} writes to cut at`);
  for (let seed = 1; seed <= 20; seed += 1) {
    for (let cut = 0; cut <= steps; cut += 1) {
      const machine = openMachine(seed);
      const server = machine.open();
      for (let index = 1; index <= 12; index += 1) append(server, index);
      machine.cutAfter(cut);
      const installed = install(server, 50);
      try {
        const { state, snapshot } = machine.restart().opened;
        const isNew = state.marker.index === 50 && state.entries.length === 0 && snapshot?.index === 50;
        const isOld = state.marker.index === 0 && state.entries.length === 12;
        if (!isNew && (!isOld || installed))
          t.fail(
            `seed ${seed}, cut ${cut}: marker ${state.marker.index}, ${state.entries.length} entries, installed ${installed}`,
          );
      } catch (error) {
        t.fail(`seed ${seed}, cut ${cut}: ${messageOf(error)}`);
      }
    }
  }
});

t.test(
  'B37: names that were not synced may go: a crash around a new segment never loses what was acknowledged',
  async t => {
    for (let seed = 1; seed <= 60; seed += 1) {
      for (let cut = 0; cut < 60; cut += 1) {
        const machine = openMachine(seed);
        const server = machine.open();
        machine.cutAfter(cut);
        let acknowledged = 0;
        for (let index = 1; index <= 25; index += 1) {
          if (!append(server, index)) break;
          acknowledged = index;
        }
        try {
          const found = machine.restart().opened.state.entries.length;
          if (found < acknowledged) t.fail(`seed ${seed}, cut ${cut}: ${acknowledged} acknowledged, ${found} found`);
        } catch (error) {
          t.fail(`seed ${seed}, cut ${cut}: ${messageOf(error)}`);
        }
      }
    }
  },
);

t.test(
  'B38: whatever a torn write leaves behind the last acknowledged record, it is a torn tail and no damage',
  async t => {
    const random = createRandom(9, 'garbage');
    for (let round = 0; round < 400; round += 1) {
      const machine = openMachine(round + 1);
      const server = machine.open();
      const count = random.between(1, 9);
      for (let index = 1; index <= count; index += 1) append(server, index);
      const name = machine.disk.list('/raft/wal').findLast(one => /^0.*\.wal$/.test(one))!;
      const content = machine.disk.contentOf(`/raft/wal/${name}`);
      const used = Math.ceil((content.findLastIndex(byte => byte !== 0) + 1) / 512) * 512;
      const garbage = Buffer.alloc(Math.min(content.length - used, 512 * random.between(1, 3)));
      random.fill(garbage);
      // A head that looks right, with a length out of thin air: zero, short, huge.
      if (round % 2 === 0 && garbage.length > 40) {
        Buffer.from(content.subarray(512, 552)).copy(garbage);
        garbage.writeUInt32LE(random.pick([0, 1, 7, 2 ** 31 + 5, 0xffffffff, random.below(2 ** 30)]), 4);
      }
      machine.disk.open(`/raft/wal/${name}`, 'write').write(used, garbage);
      t.equal(machine.open().opened.state.entries.length, count, `round ${round}`);
    }
  },
);
