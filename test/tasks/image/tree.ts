/**
 * What a directory tree holds, as data: kind, owner, mode, time, link target, hard-link group, device number, content and
 * extended attributes of everything in it, by path. For comparing what was unpacked with what should have been.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { sha256 } from './archives.js';

export type Tree = Readonly<Record<string, string>>;

export function treeOf(root: string, options: { readonly attributes?: (name: string) => boolean } = {}): Tree {
  const found: Record<string, string> = {};
  const inodes = new Map<bigint, string>();
  const walk = (path: Buffer, shown: string): void => {
    const stat = fs.lstatSync(path, { bigint: true });
    found[shown] = describe(path, stat, { shown, inodes, attributes: options.attributes ?? (() => true) });
    if (!stat.isDirectory()) return;
    for (const name of fs.readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)) {
      walk(
        Buffer.concat([path, Buffer.from('/'), name]),
        `${shown === '.' ? '' : `${shown}/`}${name.toString('latin1')}`,
      );
    }
  };
  walk(Buffer.from(root), '.');
  return found;
}

function describe(
  path: Buffer,
  stat: fs.BigIntStats,
  context: {
    readonly shown: string;
    readonly inodes: Map<bigint, string>;
    readonly attributes: (name: string) => boolean;
  },
): string {
  const first = context.inodes.get(stat.ino);
  if (first !== undefined && !stat.isDirectory()) return `same file as ${first}`;
  context.inodes.set(stat.ino, context.shown);
  const parts = [kindOf(stat), (stat.mode & 0o7777n).toString(8), `${stat.uid}:${stat.gid}`, `mtime ${stat.mtimeNs}`];
  if (stat.isFile()) parts.push(`${stat.size} bytes ${sha256(fs.readFileSync(path)).slice(0, 12)}`);
  if (stat.isSymbolicLink()) parts.push(`-> ${fs.readlinkSync(path, 'buffer').toString('latin1')}`);
  if (stat.isCharacterDevice() || stat.isBlockDevice()) parts.push(`device ${stat.rdev}`);
  for (const [name, value] of attributesOf(path)) if (context.attributes(name)) parts.push(`${name}=${value}`);
  return parts.join(' ');
}

function kindOf(stat: fs.BigIntStats): string {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isCharacterDevice()) return 'char';
  if (stat.isBlockDevice()) return 'block';
  return stat.isFIFO() ? 'fifo' : 'other';
}

interface AttributeCalls {
  readonly list: (path: Buffer, into: Buffer, size: number) => number;
  readonly get: (path: Buffer, name: string, into: Buffer, size: number) => number;
  readonly set: (path: Buffer, name: string, value: Buffer, size: number, flags: number) => number;
}

let calls: AttributeCalls | undefined;

function libc(): AttributeCalls {
  const library = koffi.load('libc.so.6');
  calls ??= {
    list: library.func('long llistxattr(const void *path, void *list, size_t size)') as AttributeCalls['list'],
    get: library.func(
      'long lgetxattr(const void *path, const char *name, void *value, size_t size)',
    ) as AttributeCalls['get'],
    set: library.func(
      'int lsetxattr(const void *path, const char *name, const void *value, size_t size, int flags)',
    ) as AttributeCalls['set'],
  };
  return calls;
}

function terminated(path: string | Buffer): Buffer {
  return Buffer.concat([Buffer.from(path), Buffer.alloc(1)]);
}

/** Names with their values in hexadecimal, sorted. */
export function attributesOf(path: string | Buffer): readonly (readonly [name: string, value: string])[] {
  const list = Buffer.alloc(65_536);
  const length = libc().list(terminated(path), list, list.length);
  if (length <= 0) return [];
  const names = list
    .toString('latin1', 0, length)
    .split('\0')
    .filter(name => name !== '');
  return names.sort().map(name => {
    const value = Buffer.alloc(65_536);
    const size = libc().get(terminated(path), name, value, value.length);
    return [name, value.toString('hex', 0, Math.max(0, size))] as const;
  });
}

export function setAttribute(path: string, name: string, value: Buffer): void {
  if (libc().set(terminated(path), name, value, value.length, 0) !== 0)
    throw new Error(`Cannot set ${name} of ${path}: errno ${koffi.errno()}`);
}

/** A tree with all that layers may hold. Returns its root. */
export function makeRichTree(parent: string): string {
  const root = join(parent, 'rich');
  const at = (path: string): string => join(root, path);
  fs.mkdirSync(at('etc/deep/er'), { recursive: true });
  fs.mkdirSync(at('bin'));
  fs.writeFileSync(at('etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  fs.writeFileSync(at('bin/su'), 'setuid');
  fs.chmodSync(at('bin/su'), 0o4755);
  fs.writeFileSync(at('bin/wall'), 'setgid');
  fs.chownSync(at('bin/wall'), 0, 5);
  fs.chmodSync(at('bin/wall'), 0o2755);
  fs.linkSync(at('bin/su'), at('etc/deep/su-again'));
  fs.symlinkSync('/etc/passwd', at('absolute-link'));
  fs.symlinkSync('../../outside', at('leading-out'));
  fs.symlinkSync('nowhere', at('dangling'));
  fs.linkSync(at('dangling'), at('same-dangling'));
  fs.writeFileSync(at('empty'), '');
  fs.writeFileSync(at('big'), Buffer.alloc(3_000_001, 'x'));
  fs.writeFileSync(at('owned'), 'by somebody');
  fs.chownSync(at('owned'), 2_000_000, 3_000_000);
  fs.lchownSync(at('dangling'), 12, 34);
  fs.mkdirSync(at('sticky'), { mode: 0o1777 });
  fs.chmodSync(at('sticky'), 0o1777);
  fs.mkdirSync(at('locked'));
  fs.writeFileSync(at('locked/inside'), 'x');
  fs.chmodSync(at('locked'), 0o500);
  fs.mkdirSync(at(`${'d'.repeat(120)}/${'e'.repeat(250)}`), { recursive: true });
  fs.writeFileSync(at(`${'d'.repeat(120)}/${'e'.repeat(250)}/${'f'.repeat(255)}`), 'long');
  fs.symlinkSync('t'.repeat(3_000), at('long-link'));
  fs.writeFileSync(at('grüße-日本'), 'utf-8');
  fs.writeFileSync(Buffer.concat([Buffer.from(`${root}/bytes-`), Buffer.from([0xff, 0xfe, 0x80])]), 'no utf-8');
  fs.writeFileSync(at('with\nnewline'), 'x');
  fs.writeFileSync(at('-dash'), 'x');
  fs.writeFileSync(at('attributes'), 'x');
  setAttribute(at('attributes'), 'user.mark', Buffer.from([1, 0, 255, 10]));
  setAttribute(at('sticky'), 'user.of-directory', Buffer.from('yes'));
  // cap_net_raw=ep
  setAttribute(at('bin/wall'), 'security.capability', Buffer.from('0100000200200000000000000000000000000000', 'hex'));
  fs.utimesSync(at('etc/passwd'), 1_234_567_890.25, 1_234_567_890.123_456);
  fs.utimesSync(at('empty'), -5, -5);
  fs.lutimesSync(at('absolute-link'), 1_000_000_000, 1_000_000_000);
  fs.utimesSync(at('etc/deep'), 1_111_111_111, 1_111_111_111);
  fs.utimesSync(root, 1_222_222_222, 1_222_222_222);
  return root;
}
