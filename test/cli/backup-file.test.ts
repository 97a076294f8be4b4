/** The file that a backup is: read back, cut short, changed, locked. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { decodeBackup, encodeBackup } from '../../src/cli/backup-file.js';
import type { BackupHead } from '../../src/gen/types.js';
import { asId } from '../../src/ids.js';

const head: BackupHead = {
  clusterId: asId('k3f9xw1234567890123456789'),
  index: 4711,
  term: 7,
  nodeId: asId('n1'),
  nodeName: 'rack1',
  takenAtMs: 1_800_000_000_000,
  version: '0.1.0',
  schemaVersion: 1,
  counts: { nodes: 3, services: 2, tasks: 9, networks: 1 },
  managers: ['rack1', 'rack2', 'rack3'],
  stale: false,
};
const content = [Buffer.from('first'), Buffer.from(''), Buffer.alloc(70_000, 7), Buffer.from('last')];

async function* piecesOf(pieces: readonly Buffer[]) {
  yield* pieces;
}

async function fileOf(secret?: Uint8Array, pieces = content): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of encodeBackup(head, piecesOf(pieces), secret)) parts.push(part);
  return Buffer.concat(parts);
}

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'nothing';
  } catch (error) {
    return (error as { readonly code: string }).code;
  }
};

t.test('what was written is read back, and the head without any key', async t => {
  const plain = decodeBackup(await fileOf(), 'b');
  t.same(plain.head, head);
  t.equal(plain.isEncrypted, false);
  t.ok(plain.content(undefined).equals(Buffer.concat(content)));
  const secret = Buffer.from('correct horse');
  const sealed = await fileOf(secret);
  const read = decodeBackup(sealed, 'b');
  t.same(read.head, head);
  t.ok(
    read.content(Buffer.from('correct horse\n')).equals(Buffer.concat(content)),
    'a line feed at the end does not count',
  );
  t.notOk(sealed.includes(Buffer.alloc(1_000, 7)), 'nothing of the content is in sight');
  t.equal(
    codeOf(() => read.content(undefined)),
    'backup-key-wrong',
  );
  t.equal(
    codeOf(() => read.content(Buffer.from('wrong horse'))),
    'backup-key-wrong',
  );
  t.ok(decodeBackup(await fileOf(undefined, []), 'b').content(undefined).length === 0, 'an empty one');
});

t.test('a file that was cut short anywhere, or changed at any place, is refused', async t => {
  const file = await fileOf(Buffer.from('secret'), [Buffer.from('one'), Buffer.from('two')]);
  for (let bytes = 0; bytes < file.length; bytes += 1)
    if (codeOf(() => decodeBackup(file.subarray(0, bytes), 'b')) !== 'backup-damaged') t.fail(`cut at ${bytes}`);
  for (let at = 0; at < file.length; at += 1) {
    const changed = Buffer.from(file);
    changed[at] = (changed[at] ?? 0) ^ 1;
    const code = codeOf(() => decodeBackup(changed, 'b'));
    if (code !== 'backup-damaged' && code !== 'newer-schema') t.fail(`bit of byte ${at}: ${code}`);
  }
  t.pass(`${file.length} cuts and ${file.length} turned bits`);
});

t.test('a file of a newer format is refused with both versions', async t => {
  const file = await fileOf();
  file.writeUInt32LE(2, 8);
  t.throws(() => decodeBackup(file, 'b'), { code: 'newer-schema', state: /format is version 2, .* up to version 1/ });
});

t.test('a file of version 1 is read for ever', async t => {
  const folder = new URL('../../../test/cli/fixtures/', import.meta.url);
  for (const [name, secret] of [
    ['backup-v1.bak', undefined],
    ['backup-v1-encrypted.bak', Buffer.from('correct horse battery')],
  ] as const) {
    const file = decodeBackup(readFileSync(new URL(name, folder)), name);
    t.same(file.head, head, name);
    t.equal(file.content(secret).toString(), 'the content of a backup', name);
  }
});
