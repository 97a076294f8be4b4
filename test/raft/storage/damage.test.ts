/**
 * What can happen to a disk, row by row: each is recovered from, or refused with a message that names the file, the
 * offset and what to do. Nothing is healed silently.
 */
import { crc32 } from 'node:zlib';
import t from 'tap';
import { CoveyError } from '../../../src/errors.js';
import type { Entry } from '../../../src/raft/core/types.js';
import { inspectLog, repairLog } from '../../../src/raft/storage/inspect.js';
import { clearKeyring } from '../../../src/raft/storage/keyring.js';
import type { StorageAnswer, StorageWork } from '../../../src/raft/storage/storage-protocol.js';
import { openStorage, type StorageOptions, type StorageServer } from '../../../src/raft/storage/storage-server.js';
import { encodeForWal } from '../../../src/raft/storage/wal-types.js';
import { createRandom } from '../sim/random.js';
import { SimDisk } from '../sim/sim-disk.js';

const confState = { voters: [1, 2, 3], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

function entry(index: number): Entry {
  return { kind: 'normal', version: 1, term: 1, index, data: Buffer.alloc(300, `entry ${index} `) };
}

function settings(disk: SimDisk, cluster = 'k3f9xw'): StorageOptions {
  const random = createRandom(3, 'nonce');
  return {
    disk,
    folder: '/data/raft',
    identity: { cluster, node: 4 },
    keyring: clearKeyring,
    random: size => {
      const bytes = new Uint8Array(size);
      random.fill(bytes);
      return bytes;
    },
    segmentBytes: 4096,
    chunkBytes: 700,
    freeBytesMin: 0,
  };
}

function ask(server: StorageServer, ...works: readonly StorageWork[]): StorageAnswer[] {
  return server.handle(works.map((work, id) => ({ ...work, id })));
}

function append(server: StorageServer, first: number, last = first): StorageAnswer {
  const entries = Array.from({ length: last - first + 1 }, (_, place) => entry(first + place));
  return ask(server, {
    kind: 'append',
    batch: encodeForWal({ hardState: { term: 1, vote: 1, commit: first - 1 }, entries }, true),
  })[0]!;
}

/** Writes a snapshot at `index`, its marker, and drops what lies before. */
function snapshotAt(server: StorageServer, index: number, sizeBytes = 3000): void {
  const meta = { index, term: 1, confState };
  ask(server, { kind: 'snapshot-begin', meta, origin: 'own' });
  ask(server, {
    kind: 'snapshot-chunk',
    index: meta.index,
    term: 1,
    origin: 'own',
    offset: 0,
    bytes: new Uint8Array(sizeBytes).fill(index),
  });
  ask(server, { kind: 'snapshot-finish', index: meta.index, term: 1, origin: 'own', totalBytes: sizeBytes });
  ask(server, {
    kind: 'append',
    batch: encodeForWal({ marker: { index, term: 1, replaces: false }, entries: [] }, true),
  });
  ask(server, { kind: 'compact', index, term: 1 });
}

/** A log of 40 entries in one sync each, over several segments, with a snapshot at 5. */
function filled(disk: SimDisk): StorageServer {
  const server = openStorage(settings(disk));
  for (let index = 1; index <= 5; index += 1) append(server, index);
  snapshotAt(server, 5);
  for (let index = 6; index <= 40; index += 1) append(server, index);
  return server;
}

const segmentsOf = (disk: SimDisk) =>
  disk.list('/data/raft/wal').filter(name => name.endsWith('.wal') && name !== 'spare.wal');
const contentOf = (disk: SimDisk) =>
  disk.list('/data/raft/wal').map(name => `${name} ${crc32(disk.contentOf(wal(name)))}`);
const wal = (name: string) => `/data/raft/wal/${name}`;

interface Row {
  readonly title: string;
  /** Damages the disk; returns the file that a refusal has to name. */
  readonly damage: (disk: SimDisk) => string;
  readonly expect: { readonly lastIndex: number } | { readonly code: string; readonly says: RegExp };
}

const rows: readonly Row[] = [
  {
    title: 'torn tail: the last write was cut short by a crash and never acknowledged: it is dropped',
    damage: disk => {
      const path = wal(segmentsOf(disk).at(-1)!);
      const file = disk.open(path, 'write');
      const used = Math.ceil((disk.contentOf(path).findLastIndex(byte => byte !== 0) + 1) / 512) * 512;
      file.write(used, Buffer.alloc(700, 0x5a));
      return path;
    },
    expect: { lastIndex: 40 },
  },
  {
    title: 'a flipped bit in the middle is refused',
    damage: disk => {
      const path = wal(segmentsOf(disk)[1]!);
      disk.flipBit(path, 1300, 3);
      return path;
    },
    expect: { code: 'log-damaged', says: /offset 1024/ },
  },
  {
    title: 'a sector of garbage in the middle of the last segment is refused',
    damage: disk => {
      const path = wal(segmentsOf(disk).at(-1)!);
      disk.open(path, 'write').write(512, Buffer.alloc(512, 0xe7));
      return path;
    },
    expect: { code: 'log-damaged', says: /offset 512/ },
  },
  {
    title: 'a sector of zeros in the middle of the last segment is refused',
    damage: disk => {
      const path = wal(segmentsOf(disk).at(-1)!);
      disk.open(path, 'write').write(512, Buffer.alloc(512));
      return path;
    },
    expect: { code: 'log-damaged', says: /offset 512/ },
  },
  {
    title: 'a flipped bit in the very last record, which nothing follows, is refused too',
    damage: disk => {
      const path = wal(segmentsOf(disk).at(-1)!);
      disk.flipBit(path, disk.contentOf(path).findLastIndex(byte => byte !== 0) - 5, 0);
      return path;
    },
    expect: { code: 'log-damaged', says: /offset \d+/ },
  },
  {
    title: 'a missing segment in the middle is refused',
    damage: disk => {
      const name = segmentsOf(disk)[1]!;
      disk.lose(wal(name));
      return wal(name).slice(0, -21);
    },
    expect: { code: 'log-damaged', says: /offset 0/ },
  },
  {
    title: 'a missing last segment is refused',
    damage: disk => {
      const name = segmentsOf(disk).at(-1)!;
      disk.lose(wal(name));
      return wal(name).slice(0, -21);
    },
    expect: { code: 'log-damaged', says: /offset 0/ },
  },
  {
    title: 'a missing manifest is refused while there are segments',
    damage: disk => {
      disk.lose(wal('manifest'));
      return 'manifest';
    },
    expect: { code: 'log-damaged', says: /manifest/ },
  },
  {
    title: 'a missing snapshot is refused',
    damage: disk => {
      const path = `/data/raft/snap/${disk.list('/data/raft/snap')[0]}`;
      disk.lose(path);
      return path;
    },
    expect: { code: 'snapshot-missing', says: /offset 0/ },
  },
  {
    title: 'a flipped bit in a snapshot is refused',
    damage: disk => {
      const path = `/data/raft/snap/${disk.list('/data/raft/snap')[0]}`;
      disk.flipBit(path, 1800, 6);
      return path;
    },
    expect: { code: 'snapshot-missing', says: /offset \d{3,}/ },
  },
  {
    title: 'a snapshot that lost its end is refused',
    damage: disk => {
      const path = `/data/raft/snap/${disk.list('/data/raft/snap')[0]}`;
      disk.open(path, 'write').truncate(2000);
      return path;
    },
    expect: { code: 'snapshot-missing', says: /offset \d{3,}/ },
  },
];

for (const row of rows) {
  t.test(row.title, async t => {
    const disk = new SimDisk({ random: createRandom(1, 'disk') });
    filled(disk);
    const path = row.damage(disk);
    const before = contentOf(disk);
    if ('lastIndex' in row.expect) {
      const { opened } = openStorage(settings(disk));
      t.equal(opened.state.entries.at(-1)?.index, row.expect.lastIndex);
      t.equal(opened.state.entries[0]?.index, 6);
      t.match(opened.torn, { path, offset: Number }, 'and told');
      return;
    }
    try {
      openStorage(settings(disk));
      t.fail('it was opened');
    } catch (error) {
      if (!(error instanceof CoveyError)) throw error;
      t.equal(error.code, row.expect.code);
      t.match(error.message, row.expect.says, 'it names the offset');
      t.ok(error.message.includes(path), `it names the file: ${error.message}`);
      t.ok(error.hint && error.hint.length > 20, 'it says what to do');
    }
    const after = contentOf(disk);
    t.strictSame(after, before, 'and changed nothing');
  });
}

t.test("a foreign cluster's log is refused and left alone", async t => {
  const disk = new SimDisk({ random: createRandom(1, 'disk') });
  filled(disk);
  t.throws(() => openStorage(settings(disk, 'other')), {
    code: 'log-foreign',
    message: /manifest/,
    state: /k3f9xw.*other/,
  });
  t.equal(openStorage(settings(disk)).opened.state.entries.length, 35);
});

t.test(
  'B39: a failed fsync is the end: nothing is acknowledged on top of it, and a restart finds only what was',
  async t => {
    const disk = new SimDisk({ random: createRandom(1, 'disk') });
    const server = filled(disk);
    disk.failSyncs = 1;
    t.match(append(server, 41), { kind: 'failed', problem: { code: 'log-failed', hint: /dmesg/ } });
    t.match(append(server, 42), { kind: 'failed' }, 'although the next sync would succeed');
    disk.crash();
    t.ok(openStorage(settings(disk)).opened.state.entries.at(-1)!.index >= 40);
  },
);

t.test('B39: what a failed fsync lost is written again when the process, not the machine, starts anew', async t => {
  for (let seed = 1; seed < 40; seed += 1) {
    const disk = new SimDisk({ random: createRandom(seed, 'disk') });
    const server = filled(disk);
    disk.failSyncs = 1;
    append(server, 41);
    disk.killProcess();
    const again = openStorage(settings(disk));
    const last = again.opened.state.entries.at(-1)!.index;
    append(again, last + 1);
    disk.crash();
    t.equal(openStorage(settings(disk)).opened.state.entries.at(-1)!.index, last + 1);
  }
});

t.test('a read-only file system is refused at the first write, by name', async t => {
  const disk = new SimDisk({ random: createRandom(1, 'disk') });
  const server = filled(disk);
  disk.readOnly = true;
  t.match(append(server, 41), {
    kind: 'failed',
    problem: { code: 'log-failed', message: /\/data\/raft\/wal/, state: /read-only/, hint: /read-write/ },
  });
  t.throws(() => openStorage(settings(disk)), { code: 'log-failed', state: /read-only/ });
});

t.test('a full disk: the spare segment still takes what frees space; then there is a clear no', async t => {
  const disk = new SimDisk({ random: createRandom(1, 'disk') });
  const server = filled(disk);
  while (server.idle());
  disk.capacityBytes = disk.usedBytes();
  let index = 41;
  let answered = append(server, index);
  while (answered.kind === 'done' && !answered.lowSpace) {
    server.idle();
    index += 1;
    answered = append(server, index);
  }
  t.match(answered, { kind: 'done', lowSpace: true }, 'told before it is too late');
  disk.capacityBytes = disk.usedBytes() + 1500;
  snapshotAt(server, index, 200);
  t.ok(disk.space().freeBytes > 8192, 'the snapshot freed space');
  server.idle();
  t.match(append(server, index + 1), { kind: 'done', lowSpace: false });
  t.equal(openStorage(settings(disk)).opened.state.entries.at(-1)!.index, index + 1);
});

t.test('a disk that is full to the last byte ends the log with no-space; after making room it goes on', async t => {
  const disk = new SimDisk({ random: createRandom(1, 'disk') });
  const server = filled(disk);
  disk.capacityBytes = 0;
  let index = 40;
  let answered: StorageAnswer;
  do {
    index += 1;
    answered = append(server, index);
  } while (answered.kind === 'done');
  t.match(answered, { kind: 'failed', problem: { code: 'no-space', hint: /free space/ } });
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  t.equal(openStorage(settings(disk)).opened.state.entries.at(-1)!.index, index - 1);
});

t.test('inspect says where the damage is; repair keeps what lies before it', async t => {
  const disk = new SimDisk({ random: createRandom(1, 'disk') });
  filled(disk);
  t.equal(inspectLog(disk, '/data/raft/wal').damage, undefined);
  const name = segmentsOf(disk)[1]!;
  disk.flipBit(wal(name), 1300, 3);
  t.match(inspectLog(disk, '/data/raft/wal').damage, { name, offset: 1024 });
  const aside = repairLog(disk, '/data/raft/wal');
  t.ok(aside.length > 1);
  const { opened } = openStorage(settings(disk));
  t.ok(
    opened.state.entries.length > 0 && opened.state.entries.at(-1)!.index < 40,
    `kept up to ${opened.state.entries.at(-1)!.index}`,
  );
});

t.test('snapshots are read back in chunks, and a broken transfer resumes where it stopped', async t => {
  const disk = new SimDisk({ random: createRandom(1, 'disk') });
  const server = filled(disk);
  const content = Buffer.from(Array.from({ length: 5000 }, (_, at) => (at * 7) & 0xff));
  const meta = { index: 30, term: 1, confState };
  ask(server, { kind: 'snapshot-begin', meta, origin: 'own' });
  ask(server, {
    kind: 'snapshot-chunk',
    index: meta.index,
    term: 1,
    origin: 'own',
    offset: 0,
    bytes: content.subarray(0, 1234),
  });
  t.match(ask(server, { kind: 'snapshot-begin', meta, origin: 'own' })[0], {
    kind: 'snapshot-progress',
    receivedBytes: 1234,
  });
  t.match(
    ask(server, {
      kind: 'snapshot-chunk',
      index: meta.index,
      term: 1,
      origin: 'own',
      offset: 0,
      bytes: content.subarray(0, 99),
    })[0],
    { receivedBytes: 1234 },
    'what came twice is dropped',
  );
  ask(server, {
    kind: 'snapshot-chunk',
    index: meta.index,
    term: 1,
    origin: 'own',
    offset: 1234,
    bytes: content.subarray(1234),
  });
  t.match(
    ask(server, { kind: 'snapshot-finish', index: meta.index, term: 1, origin: 'own', totalBytes: 4999 })[0],
    { kind: 'failed' },
    'one that is not whole is not finished by a late word',
  );
  ask(server, { kind: 'snapshot-finish', index: meta.index, term: 1, origin: 'own', totalBytes: content.length });
  const got: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const chunk = ask(server, { kind: 'snapshot-read', index: 30, term: 1, offset })[0]!;
    if (chunk.kind !== 'snapshot-chunk' || chunk.bytes.length === 0) break;
    t.equal(chunk.totalBytes, 5000);
    got.push(chunk.bytes);
    offset += chunk.bytes.length;
  }
  t.ok(Buffer.concat(got).equals(content));
});

t.test('room that is back is noticed although nothing was written since, with a spare segment too', async t => {
  const disk = new SimDisk({ random: createRandom(1, 'disk') });
  const server = openStorage({ ...settings(disk), freeBytesMin: 10_000 });
  while (server.idle());
  disk.capacityBytes = disk.usedBytes() + 9_000;
  let answered = append(server, 1);
  for (let index = 2; index < 200 && !(answered.kind === 'done' && answered.lowSpace); index += 1) {
    server.idle();
    answered = append(server, index);
  }
  t.match(answered, { kind: 'done', lowSpace: true });
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  while (server.idle());
  t.match(ask(server, { kind: 'stats' })[0], { kind: 'stats', stats: { lowSpace: false } });
});
