/**
 * Records at rest against somebody who can write to the disk, and knows how checksums are made: a record opens in the file,
 * the place and the member that it was written for, unchanged, or the log is refused. And no nonce is used twice.
 */
import { crc32 } from 'node:zlib';
import t from 'tap';
import type { Entry } from '../../../src/raft/core/types.js';
import { FRAME_HEAD_BYTES, type Frame, findFrame, finishFrame } from '../../../src/raft/storage/frame.js';
import { clearKeyring, createNonces, type Keyring } from '../../../src/raft/storage/keyring.js';
import type { LogIdentity } from '../../../src/raft/storage/segment.js';
import type { StorageWork } from '../../../src/raft/storage/storage-protocol.js';
import { openStorage, type StorageServer } from '../../../src/raft/storage/storage-server.js';
import { encodeForWal } from '../../../src/raft/storage/wal-types.js';
import { createRandom } from '../sim/random.js';
import { SimDisk } from '../sim/sim-disk.js';

const identity: LogIdentity = { cluster: 'k3f9xw', node: 7 };
const ringOf = (...ids: readonly number[]): Keyring => ({
  currentId: ids.at(-1) ?? 0,
  keys: new Map(ids.map(id => [id, new Uint8Array(32).fill(id)])),
});

interface Place {
  readonly disk: SimDisk;
  readonly open: (keyring: Keyring, as?: LogIdentity) => StorageServer;
}

function makePlace(): Place {
  const random = createRandom(1, 'sealed');
  const disk = new SimDisk({ random });
  const bytes = (size: number): Uint8Array => {
    const made = new Uint8Array(size);
    random.fill(made);
    return made;
  };
  const open: Place['open'] = (keyring, as = identity) =>
    openStorage({
      disk,
      folder: '/data',
      identity: as,
      keyring,
      random: bytes,
      segmentBytes: 4096,
      chunkBytes: 256,
      freeBytesMin: 0,
    });
  return { disk, open };
}

let requests = 0;
function ask(server: StorageServer, work: StorageWork) {
  requests += 1;
  const [reply] = server.handle([{ ...work, id: requests }]);
  if (reply?.kind === 'failed') throw new Error(`${reply.problem.code}: ${reply.problem.message}`);
  return reply;
}

const entry = (index: number): Entry => ({
  kind: 'normal',
  version: 1,
  term: 1,
  index,
  data: Buffer.alloc(300, `secret ${index} `),
});

const append = (server: StorageServer, index: number): void =>
  void ask(server, {
    kind: 'append',
    batch: encodeForWal({ hardState: { term: 1, vote: 7, commit: index }, entries: [entry(index)] }, true),
  });

/** Twenty records in several segments, and a snapshot of four chunks. */
function fill(server: StorageServer): void {
  for (let index = 1; index <= 20; index += 1) append(server, index);
  const name = { index: 5, term: 1, origin: 'own' } as const;
  const confState = { voters: [7], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  ask(server, { kind: 'snapshot-begin', meta: { index: 5, term: 1, confState }, origin: 'own' });
  ask(server, { kind: 'snapshot-chunk', ...name, offset: 0, bytes: Buffer.alloc(1000, 'secret of the snapshot ') });
  ask(server, { kind: 'snapshot-finish', ...name, totalBytes: 1000 });
  ask(server, {
    kind: 'append',
    batch: encodeForWal({ marker: { index: 5, term: 1, replaces: false }, entries: [] }, true),
  });
}

const close = (server: StorageServer): void => void ask(server, { kind: 'close' });

function readAll(disk: SimDisk, path: string): Buffer {
  const file = disk.open(path, 'read');
  return Buffer.from(file.read(0, file.sizeBytes()));
}

function writeAt(disk: SimDisk, path: string, at: number, bytes: Uint8Array): void {
  const file = disk.open(path, 'write');
  file.write(at, bytes);
  file.datasync();
  file.close();
}

const segments = (disk: SimDisk): readonly string[] =>
  disk.list('/data/wal').flatMap(name => (/^[0-9a-f]+-[0-9a-f]+\.wal$/.test(name) ? [`/data/wal/${name}`] : []));
const snapshotPath = '/data/snap/0000000000000005-0000000000000001.snap';

function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let frame = findFrame(bytes, 512); frame !== undefined; frame = findFrame(bytes, frame.end)) frames.push(frame);
  return frames;
}

t.test('nothing of what is written can be read on the disk: entries, hard state, snapshot', async t => {
  const { disk, open } = makePlace();
  const server = open(ringOf(1));
  fill(server);
  close(server);
  for (const path of [...segments(disk), snapshotPath]) t.notOk(readAll(disk, path).includes('secret'), path);
  const clear = makePlace();
  const bare = clear.open(clearKeyring);
  fill(bare);
  t.ok(readAll(clear.disk, snapshotPath).includes('secret'), 'without a key it lies there');
  t.ok(
    segments(disk).every(path => readAll(disk, path).readUInt16LE(8) === 2),
    'heads of segments hold the hard state',
  );
});

t.test(
  'a clear log is read with a key at hand; what is written from then on is sealed, and the clear part goes',
  async t => {
    const { disk, open } = makePlace();
    const before = open(clearKeyring);
    for (let index = 1; index <= 4; index += 1) append(before, index);
    close(before);
    const server = open(ringOf(1));
    t.equal(server.opened.state.entries.length, 4);
    const keysInUse = (): readonly number[] => {
      const reply = ask(server, { kind: 'stats' });
      return reply?.kind === 'stats' ? reply.stats.keysInUse : [];
    };
    for (let index = 5; index <= 20; index += 1) append(server, index);
    t.same(keysInUse(), [0, 1]);
    t.notOk(readAll(disk, segments(disk).at(-1) ?? '').includes('secret'));
    const name = { index: 20, term: 1, origin: 'own' } as const;
    const confState = { voters: [7], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    ask(server, { kind: 'snapshot-begin', meta: { ...name, confState }, origin: 'own' });
    ask(server, { kind: 'snapshot-finish', ...name, totalBytes: 0 });
    ask(server, {
      kind: 'append',
      batch: encodeForWal({ marker: { index: 20, term: 1, replaces: false }, entries: [] }, true),
    });
    ask(server, { kind: 'compact', index: 20, term: 1 });
    t.same(keysInUse(), [1]);
    close(server);
    t.same(open(ringOf(1)).opened.state.marker.index, 20);
  },
);

function getLast(frames: readonly Frame[]): Frame {
  const last = frames.at(-1);
  if (last === undefined) throw new Error('no record is there');
  return last;
}

interface Attack {
  readonly title: string;
  readonly code: RegExp;
  readonly on: (disk: SimDisk) => void;
}

const attacks: readonly Attack[] = [
  {
    title: 'one bit of the last record turned, its checksum made anew',
    code: /log-forged/,
    on: disk => {
      const path = segments(disk).at(-1) ?? '';
      const bytes = readAll(disk, path);
      const frame = getLast(framesOf(bytes));
      const at = frame.at + FRAME_HEAD_BYTES + 20;
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      finishFrame(bytes, frame.at, frame, frame.body.length);
      writeAt(disk, path, 0, bytes);
    },
  },
  {
    title: 'a whole segment put in the place of another',
    code: /log-(forged|damaged)/,
    on: disk => {
      const [first = '', second = ''] = segments(disk);
      writeAt(disk, second, 512, readAll(disk, first).subarray(512));
    },
  },
  {
    title: 'an earlier record repeated as the last one, its checksum made anew',
    code: /log-forged/,
    on: disk => {
      const path = segments(disk).at(-1) ?? '';
      const bytes = readAll(disk, path);
      const late = getLast(framesOf(bytes));
      const early = getLast(framesOf(readAll(disk, segments(disk).at(-2) ?? '')));
      early.body.copy(bytes, late.at + FRAME_HEAD_BYTES, 0, late.body.length);
      finishFrame(bytes, late.at, late, late.body.length);
      writeAt(disk, path, 0, bytes);
    },
  },
  {
    title: 'a record in the middle changed, its checksum made anew',
    code: /log-(forged|damaged)/,
    on: disk => {
      const [path = ''] = segments(disk);
      const bytes = readAll(disk, path);
      const frame = getLast(framesOf(bytes));
      bytes.writeUInt8(bytes.readUInt8(frame.at + 70) ^ 1, frame.at + 70);
      finishFrame(bytes, frame.at, frame, frame.body.length);
      writeAt(disk, path, 0, bytes);
    },
  },
  {
    title: 'the head of a segment changed, its checksum made anew',
    code: /log-forged/,
    on: disk => {
      const path = segments(disk).at(-1) ?? '';
      const head = readAll(disk, path).subarray(0, 512);
      head.writeUInt8(head.readUInt8(60) ^ 1, 60);
      head.writeUInt32LE(0, 12);
      head.writeUInt32LE(crc32(head), 12);
      writeAt(disk, path, 0, head);
    },
  },
  {
    title: 'two parts of a snapshot exchanged, chain made to fit',
    code: /log-forged|snapshot-missing/,
    on: disk => {
      const bytes = readAll(disk, snapshotPath);
      const [, second, third] = framesOf(bytes);
      if (second === undefined || third === undefined) throw new Error('too few parts');
      const copy = Buffer.from(bytes);
      third.body.copy(copy, second.at + FRAME_HEAD_BYTES);
      second.body.copy(copy, third.at + FRAME_HEAD_BYTES);
      const chain = finishFrame(copy, second.at, second, second.body.length);
      finishFrame(copy, third.at, { ...third, prevCrc: chain.crc }, third.body.length);
      writeAt(disk, snapshotPath, 0, copy);
    },
  },
];

for (const { title, code, on } of attacks) {
  t.test(`${title}: refused, and nothing is changed`, async t => {
    const { disk, open } = makePlace();
    const server = open(ringOf(1));
    fill(server);
    close(server);
    on(disk);
    const before = segments(disk).map(path => readAll(disk, path).toString('latin1'));
    t.throws(() => open(ringOf(1)), { code });
    t.same(
      segments(disk).map(path => readAll(disk, path).toString('latin1')),
      before,
    );
  });
}

t.test('the records of another member do not open here, with its key and its manifest', async t => {
  const { disk, open } = makePlace();
  fill(open(ringOf(1), { cluster: 'k3f9xw', node: 8 }));
  // Everything that names the member and is not sealed, made to name this one.
  const manifest = readAll(disk, '/data/wal/manifest');
  const own = makePlace();
  fill(own.open(ringOf(1)));
  writeAt(disk, '/data/wal/manifest', 0, readAll(own.disk, '/data/wal/manifest'));
  t.notOk(manifest.equals(readAll(disk, '/data/wal/manifest')));
  t.throws(() => open(ringOf(1)), { code: /log-(foreign|forged)/ });
});

t.test('a torn end is taken back and a turned bit is told, sealed as well as clear', async t => {
  for (const keyring of [clearKeyring, ringOf(1)]) {
    const torn = makePlace();
    const server = torn.open(keyring);
    for (let index = 1; index <= 3; index += 1) append(server, index);
    const path = segments(torn.disk).at(-1) ?? '';
    const last = framesOf(readAll(torn.disk, path)).at(-1);
    if (last === undefined) throw new Error('no record');
    writeAt(torn.disk, path, last.at + FRAME_HEAD_BYTES + 64, Buffer.alloc(200));
    const again = torn.open(keyring);
    t.match(again.opened, { torn: { path }, state: { entries: { length: 2 } } }, `key ${keyring.currentId}`);

    const flipped = makePlace();
    const other = flipped.open(keyring);
    for (let index = 1; index <= 3; index += 1) append(other, index);
    const bytes = readAll(flipped.disk, path);
    bytes.writeUInt8(bytes.readUInt8(last.at + FRAME_HEAD_BYTES + 64) ^ 4, last.at + FRAME_HEAD_BYTES + 64);
    writeAt(flipped.disk, path, 0, bytes);
    t.throws(
      () => flipped.open(keyring),
      { code: 'log-damaged', state: /one bit of frame 3/ },
      `key ${keyring.currentId}`,
    );
  }
});

t.test('no nonce is used twice: over records, heads, snapshots and restarts with a new key each', async t => {
  const { disk, open } = makePlace();
  const seen = new Map<string, string>();
  let twice = 0;
  for (let round = 1; round <= 4; round += 1) {
    const ids = Array.from({ length: round }, (_, place) => place + 1);
    const server = open(ringOf(...ids));
    for (let index = round * 10; index < round * 10 + 10; index += 1) append(server, index - 9);
    if (round === 1) fill(server);
    close(server);
    for (const path of [...segments(disk), snapshotPath]) {
      const bytes = readAll(disk, path);
      const nonces = framesOf(bytes).map(frame => ({
        at: frame.at,
        keyId: frame.keyId,
        nonce: frame.body.subarray(0, 12),
      }));
      if (bytes.readUInt16LE(8) === 2)
        nonces.push({ at: 0, keyId: bytes.readUInt32LE(16), nonce: bytes.subarray(24, 36) });
      for (const { at, keyId, nonce } of nonces) {
        if (keyId === 0) continue;
        const name = `${keyId} ${nonce.toString('hex')}`;
        const place = `${path} ${at}`;
        if ((seen.get(name) ?? place) !== place) twice += 1;
        seen.set(name, place);
      }
    }
  }
  t.equal(twice, 0);
  t.ok(seen.size > 40, `${seen.size} nonces were looked at`);
  const same = (size: number): Uint8Array => new Uint8Array(size);
  const [log, snapshots] = [createNonces(same, 'log'), createNonces(same, 'snapshots')];
  const drawn = Array.from({ length: 600 }, (_, place) =>
    Buffer.from((place % 2 === 0 ? log : snapshots)()).toString('hex'),
  );
  t.equal(new Set(drawn).size, 600, 'also when the random bits are always the same');
});
