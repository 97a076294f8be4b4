/**
 * Bytes that this version wrote are read for ever: a log and snapshots on disk, clear and sealed, messages between managers,
 * entries of the store. What is in fixtures/format-1 and format-2 (records bound to their file) is never made anew; a new format gets a folder of its own beside it.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { fromWire, toWire } from '../../src/daemon/peers/codec.js';
import protos from '../../src/gen/protos.json' with { type: 'json' };
import { clearKeyring, type Keyring } from '../../src/raft/storage/keyring.js';
import { createRealDisk } from '../../src/raft/storage/real-disk.js';
import { openStorage } from '../../src/raft/storage/storage-server.js';
import { openMachine } from '../../src/raft/store/machine.js';
import { wire } from '../daemon/node-fixtures.js';
import { messages } from '../daemon/peers/messages.js';

const fixtures = fileURLToPath(new URL('../../../test/raft/fixtures/', import.meta.url));
const folder = join(fixtures, 'format-1');
const key: Keyring = { currentId: 3, keys: new Map([[3, new Uint8Array(32).fill(9)]]) };

const open = (path: string, keyring: Keyring) =>
  openStorage({
    disk: createRealDisk(),
    folder: path,
    identity: { cluster: 'k3f9xw', node: 7 },
    keyring,
    random: size => new Uint8Array(size),
    segmentBytes: 4096,
    chunkBytes: 1024,
    freeBytesMin: 0,
  });

for (const [name, keyring] of [
  ['format-1/clear', clearKeyring],
  ['format-1/sealed', key],
  ['format-2/sealed', key],
] as const) {
  t.test(`a log of ${name}: its state, its entries of every kind, its snapshot`, async t => {
    const place = t.testdir();
    fs.cpSync(join(fixtures, name), place, { recursive: true });
    const server = open(place, keyring);
    const { state, snapshot, torn } = server.opened;
    t.equal(torn, undefined);
    t.same(state.hardState, { term: 2, vote: 8, commit: 4 });
    t.same(state.marker, { index: 3, term: 2, replaces: false });
    t.match(snapshot, { index: 3, term: 2, confState: { voters: [7, 8], learners: [9] } });
    t.match(state.entries, [
      { kind: 'normal', index: 4, term: 2, data: Buffer.from('four') },
      { kind: 'conf-change', index: 5, change: { change: { kind: 'add-learner', peer: 9 } } },
      {
        kind: 'conf-change-v2',
        index: 6,
        change: {
          transition: 'auto',
          changes: [
            { kind: 'add-voter', peer: 9 },
            { kind: 'remove', peer: 8 },
          ],
        },
      },
    ]);
    const [chunk] = server.handle([{ kind: 'snapshot-read', index: 3, term: 2, offset: 0, id: 1 }]);
    t.equal(
      chunk?.kind === 'snapshot-chunk' ? Buffer.from(chunk.bytes).toString() : chunk?.kind,
      'what the application was at entry 3',
    );
    server.handle([{ kind: 'close', id: 2 }]);
  });
}

t.test('a record of a newer version is not taken for a torn write: nothing is changed', async t => {
  const place = t.testdir();
  fs.cpSync(join(folder, 'clear'), place, { recursive: true });
  const path = join(place, 'wal', fs.readdirSync(join(place, 'wal')).find(name => name.endsWith('.wal')) ?? '');
  const { crc32 } = await import('node:zlib');
  const bytes = fs.readFileSync(path);
  // The first frame, as a covey of version 3 would write it.
  const at = 512;
  bytes.writeUInt8(3, at + 21);
  const frame = Buffer.from(bytes.subarray(at, at + 40 + bytes.readUInt32LE(at + 4)));
  frame.writeUInt32LE(0, 8);
  for (const crc of [crc32(frame), crc32(frame.subarray(12), crc32(frame.subarray(0, 8)))]) {
    bytes.writeUInt32LE(crc, at + 8);
    fs.writeFileSync(path, bytes);
    const before = fs.readFileSync(path);
    try {
      open(place, clearKeyring);
      t.fail('it was opened');
    } catch (error) {
      const { code } = error as { readonly code: string };
      if (code !== 'newer-schema') continue; // the checksum covers other bytes
      t.match(error, { state: /a record is of version 3, this covey reads version 2/ });
      t.ok(fs.readFileSync(path).equals(before), 'nothing was cut off');
      return;
    }
  }
  t.fail('no such record could be made');
});

interface WireFixture {
  readonly raft: Readonly<Record<string, string>>;
  readonly transaction: string;
  readonly snapshot: string;
  readonly fields: readonly string[];
}

const fixture: WireFixture = JSON.parse(fs.readFileSync(join(folder, 'wire.json'), 'utf8'));
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_key, part) =>
      part instanceof Uint8Array ? [...part] : part?.type === 'Buffer' ? part.data : part,
    ),
  );

t.test('messages between managers: each kind is read as what it was, and written as it was', async t => {
  const codec = wire.type('RaftMessage');
  t.same(Object.keys(fixture.raft).sort(), Object.keys(messages).sort());
  for (const message of Object.values(messages)) {
    const hex = fixture.raft[message.kind] ?? '';
    t.same(plain(fromWire(codec.decode(Buffer.from(hex, 'hex')))), plain(message), message.kind);
    t.equal(Buffer.from(codec.encode(toWire(message))).toString('hex'), hex, message.kind);
  }
});

t.test('entries and snapshots of the store are applied as they were', async t => {
  const machine = openMachine(wire);
  machine.apply(1, Buffer.from(fixture.transaction, 'hex'));
  t.equal(machine.findVoid(1), undefined);
  const [node] = [...machine.state.view.list('node')];
  t.match(node, { id: 'rack1', spec: { name: 'rack1' }, meta: { version: 1, owner: 'uid:0' } });
  const other = openMachine(wire);
  other.restore(Buffer.from(fixture.snapshot, 'hex'));
  t.same(other.state.view.find('node', 'rack1'), node);
});

t.test('no field of a message is ever removed, renumbered or given another type', async t => {
  const present = new Set(fieldsOf());
  const gone = fixture.fields.filter(field => !present.has(field));
  t.same(gone, [], 'reserve the number and make a new field instead');
});

/** "Message.field 3 string", of what managers and nodes say to each other and what lies in a log. */
function fieldsOf(): readonly string[] {
  interface Descriptor {
    readonly fields?: Readonly<Record<string, { readonly type: string; readonly id: number; readonly rule?: string }>>;
  }
  const types = protos.nested.covey.nested.v1.nested as unknown as Readonly<Record<string, Descriptor>>;
  return Object.entries(types).flatMap(([type, { fields = {} }]) =>
    Object.entries(fields).map(
      ([name, field]) => `${type}.${name} ${field.id} ${field.rule === undefined ? '' : 'repeated '}${field.type}`,
    ),
  );
}
