import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openUnpack, packTree } from '../../src/host-linux/tree-copy.js';
import { renderTarHeader, type TarEntry, tarEnd, tarPadding } from '../../src/tar-stream.js';

function scratch(t: { teardown(call: () => void): void }): string {
  const path = fs.mkdtempSync(join(tmpdir(), 'covey-copy-'));
  t.teardown(() => fs.rmSync(path, { recursive: true, force: true }));
  return path;
}

function makeTree(top: string): void {
  fs.mkdirSync(join(top, 'deep', 'x'.repeat(120)), { recursive: true });
  fs.writeFileSync(join(top, 'plain'), 'hello\n', { mode: 0o640 });
  fs.writeFileSync(join(top, 'big'), Buffer.alloc(700_001, 3));
  fs.writeFileSync(join(top, 'deep', 'x'.repeat(120), 'y'.repeat(200)), 'far down');
  fs.writeFileSync(Buffer.from(`${top}/b\xe4d`, 'latin1'), 'a name that is no UTF-8');
  fs.symlinkSync('/etc/passwd', join(top, 'link'));
  fs.linkSync(join(top, 'plain'), join(top, 'twin'));
  fs.mkdirSync(join(top, 'closed'), { mode: 0o500 });
  fs.writeFileSync(join(top, 'setuid'), 'x');
  fs.chmodSync(join(top, 'setuid'), 0o4755);
  fs.utimesSync(join(top, 'plain'), 1_700_000_000.25, 1_700_000_000.25);
}

/** Kind, mode, size and target of everything below. */
function look(top: string): string {
  return execFileSync('find', ['.', '-printf', '%p %y %m %s %l %n\\n'], { cwd: top })
    .toString('latin1')
    .split('\n')
    .filter(line => !line.startsWith('. '))
    .map(line => line.replace(/( d \d+) \d+/, '$1'))
    .sort()
    .join('\n');
}

const packed = (path: string, name = 'tree'): Buffer => Buffer.concat([...packTree({ path, name, followLink: false })]);

function unpackInto(directory: string, archive: Uint8Array, more: object = {}): void {
  const unpack = openUnpack({ directory, owner: undefined, setuid: true, ...more });
  for (let at = 0; at < archive.length; at += 1_000) unpack.push(archive.subarray(at, at + 1_000));
  unpack.finish();
}

t.test('a tree comes back as it was, and GNU tar agrees both ways', async t => {
  const [source, ours, theirs, back] = [scratch(t), scratch(t), scratch(t), scratch(t)];
  makeTree(source);
  unpackInto(ours, packed(source));
  t.equal(look(join(ours, 'tree')), look(source));
  t.equal(fs.statSync(join(ours, 'tree/plain')).mtimeMs, 1_700_000_000_250);
  execFileSync('tar', ['-C', theirs, '-xpf', '-'], { input: packed(source) });
  t.equal(look(join(theirs, 'tree')), look(source));
  for (const format of ['gnu', 'pax']) {
    const target = join(back, format);
    fs.mkdirSync(target);
    const args = ['-C', source, `--format=${format}`, '-cf', '-', '.'];
    unpackInto(target, execFileSync('tar', args, { maxBuffer: 2 ** 24 }));
    t.equal(fs.readFileSync(join(target, 'plain'), 'utf8'), 'hello\n', format);
    t.equal(fs.statSync(join(target, 'twin')).ino, fs.statSync(join(target, 'plain')).ino, format);
    t.equal(fs.statSync(join(target, 'closed')).mode & 0o777, 0o500, format);
  }
});

t.test('the top gets another name, what is in it goes without, and bits that change users can be left out', async t => {
  const [source, target] = [scratch(t), scratch(t)];
  makeTree(source);
  unpackInto(target, packed(source), { rename: { from: 'tree', to: 'other' }, setuid: false });
  t.equal(fs.statSync(join(target, 'other/setuid')).mode & 0o7777, 0o755);
  t.equal(fs.statSync(join(target, 'other/twin')).nlink, 2);
  unpackInto(target, packed(source, '.'), { rename: { from: '.', to: '' } });
  t.ok(fs.existsSync(join(target, 'plain')));
});

t.test('small files travel together, and what goes away meanwhile is left out', async t => {
  const [source, target] = [scratch(t), scratch(t)];
  fs.mkdirSync(join(source, 'many'));
  for (let n = 0; n < 300; n += 1) fs.writeFileSync(join(source, 'many', `${n}`), `${n}\n`);
  const pieces = [...packTree({ path: source, name: 'tree', followLink: false })];
  t.ok(pieces.length <= 20, `${pieces.length} pieces for 300 small files`);
  unpackInto(target, Buffer.concat(pieces));
  t.equal(fs.readdirSync(join(target, 'tree/many')).length, 300);

  const [shrinking, rest] = [scratch(t), scratch(t)];
  // All are listed when the first piece comes, and it is full with the first few of them.
  for (let n = 0; n < 30; n += 1) {
    fs.mkdirSync(join(shrinking, `${n}`));
    fs.writeFileSync(join(shrinking, `${n}/file`), Buffer.alloc(40_000, n));
  }
  const archive = packTree({ path: shrinking, name: 'tree', followLink: false });
  const first = archive.next().value;
  for (let n = 0; n < 30; n += 1) fs.rmSync(join(shrinking, `${n}/file`));
  unpackInto(rest, Buffer.concat([first ?? Buffer.alloc(0), ...archive]));
  const came = fs.readdirSync(join(rest, 'tree')).filter(name => fs.existsSync(join(rest, 'tree', name, 'file')));
  t.ok(came.length >= 1 && came.length < 30, `${came.length} of 30 came before they went`);
});

t.test('a view of the kernel is no file', async t => {
  for (const path of ['/proc/self/status', '/proc/sys', '/sys/kernel']) {
    t.throws(() => packed(path), { code: 'bad-argument', message: /is a view of the kernel, not a file/ }, path);
  }
});

function archive(...entries: readonly Partial<TarEntry & { data: string }>[]): Buffer {
  const blocks = entries.flatMap(({ data = '', ...entry }) => {
    const plain = { kind: 'file', name: 'x', target: '', mode: 0o644, uid: 0, gid: 0, modifiedMs: 0 } as const;
    const full = { ...plain, ...entry, sizeBytes: entry.sizeBytes ?? data.length } as Parameters<
      typeof renderTarHeader
    >[0];
    return [renderTarHeader(full), Buffer.from(data), tarPadding(data.length)];
  });
  return Buffer.concat([...blocks, tarEnd()]);
}

t.test('what is hostile is refused, and nothing outside is touched', async t => {
  const outside = scratch(t);
  fs.writeFileSync(join(outside, 'victim'), 'safe');
  const damaged = archive({ data: 'x' });
  damaged.writeUInt8(damaged.readUInt8(3) ^ 1, 3);
  const device = archive({ data: '' });
  device.write('3', 156);
  device.write('        ', 148);
  device.write(
    `${device
      .subarray(0, 512)
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  const rows: readonly (readonly [string, Buffer])[] = [
    ['a name that leads out', archive({ name: '../out', data: 'x' })],
    ['an absolute name', archive({ name: `${outside}/new`, data: 'x' })],
    ['a name in the middle that leads out', archive({ name: 'a/../../out', data: 'x' })],
    ['a name below a link', archive({ kind: 'symlink', name: 'l', target: outside }, { name: 'l/victim', data: 'x' })],
    [
      'a directory over a link',
      archive(
        { kind: 'symlink', name: 'l', target: outside },
        { kind: 'directory', name: 'l' },
        { name: 'l/victim', data: 'x' },
      ),
    ],
    [
      'a link in place of a directory',
      archive({ kind: 'directory', name: 'd' }, { kind: 'symlink', name: 'd', target: outside }),
    ],
    ['a second name for what is outside', archive({ kind: 'link', name: 'h', target: '../victim' })],
    [
      'a second name through a link',
      archive({ kind: 'symlink', name: 'l', target: outside }, { kind: 'link', name: 'h', target: 'l/victim' }),
    ],
    [
      'a second name of a link',
      archive(
        { kind: 'symlink', name: 'l', target: join(outside, 'victim') },
        { kind: 'link', name: 'h', target: 'l' },
      ),
    ],
    ['a device', device],
    ['a wrong checksum', damaged],
    ['a cut', archive({ data: 'x'.repeat(2_000) }).subarray(0, 1_500)],
    ['what is no archive', Buffer.alloc(2_048, 65)],
    ['a name beyond all limits', archive({ name: 'n/'.repeat(3_000), data: '' })],
  ];
  for (const [what, bytes] of rows) {
    const target = join(outside, 'target');
    fs.rmSync(target, { recursive: true, force: true });
    fs.mkdirSync(target);
    t.throws(() => unpackInto(target, bytes), { code: 'bad-archive' }, what);
    t.same(fs.readdirSync(outside).sort(), ['target', 'victim'], what);
    t.equal(fs.readFileSync(join(outside, 'victim'), 'utf8'), 'safe', what);
  }
});

t.test('a link that is overwritten by a file is replaced, not followed', async t => {
  const [outside, target] = [scratch(t), scratch(t)];
  fs.writeFileSync(join(outside, 'victim'), 'safe');
  unpackInto(
    target,
    archive({ kind: 'symlink', name: 'l', target: join(outside, 'victim') }, { name: 'l', data: 'new' }),
  );
  t.equal(fs.readFileSync(join(target, 'l'), 'utf8'), 'new');
  t.equal(fs.readFileSync(join(outside, 'victim'), 'utf8'), 'safe');
});
