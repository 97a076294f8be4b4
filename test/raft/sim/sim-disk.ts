/**
 * A disk that does to the storage code what real ones do. Every file has what the process sees (`cache`) and what a
 * power cut leaves (`platter`), compared sector by sector; names of a folder become durable apart from content.
 *
 * Faults: `crash` keeps a random subset of unsynced sectors (old, new, or garbage) and of unsynced names; a failed sync
 * drops what it should have written and succeeds the next time; writes fail; space runs out; bits flip.
 * All randomness comes from the generator given, so the same seed tears the same sectors.
 *
 * Not here: when faults happen (nemesis.ts), slow disks (the simulator delays the storage actor).
 */
import { dirname } from 'node:path';
import { type Disk, type DiskFile, type OpenMode, SECTOR_BYTES } from '../../../src/raft/storage/disk.js';
import type { Random } from './random.js';

export interface SimDiskOptions {
  readonly random: Random;
  /** Called before each call that changes the disk; may throw to crash there. */
  readonly beforeWrite?: ((what: string, path: string) => void) | undefined;
}

/** One file, whatever its names. */
interface Node {
  cache: Uint8Array;
  platter: Uint8Array;
  /** Sectors that differ from the platter and will be written by the next sync. */
  readonly dirty: Set<number>;
}

type NameChange =
  | { readonly kind: 'link'; readonly path: string; readonly node: Node }
  | { readonly kind: 'unlink'; readonly path: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly node: Node };

export class SimDisk implements Disk {
  capacityBytes = Number.POSITIVE_INFINITY;
  readOnly = false;
  /** The next so many writes, syncs fail with EIO. */
  failWrites = 0;
  failSyncs = 0;
  writes = 0;
  syncs = 0;
  #names = new Map<string, Node>();
  #durableNames = new Map<string, Node>();
  #changes: NameChange[] = [];
  readonly #folders = new Set<string>(['/']);
  readonly #random: Random;
  readonly #beforeWrite: (what: string, path: string) => void;

  constructor(options: SimDiskOptions) {
    this.#random = options.random;
    this.#beforeWrite = options.beforeWrite ?? (() => undefined);
  }

  open(path: string, mode: OpenMode): DiskFile {
    let node = this.#names.get(path);
    if (mode === 'create') {
      if (node) throw failure('EEXIST', 'open', path);
      if (!this.#folders.has(dirname(path))) throw failure('ENOENT', 'open', path);
      this.#mayWrite('create', path);
      node = { cache: new Uint8Array(0), platter: new Uint8Array(0), dirty: new Set() };
      this.#names.set(path, node);
      this.#changes.push({ kind: 'link', path, node });
    }
    if (!node) throw failure('ENOENT', 'open', path);
    return this.#handle(path, node);
  }

  rename(from: string, to: string): void {
    this.#mayWrite('rename', from);
    const node = this.#names.get(from);
    if (!node) throw failure('ENOENT', 'rename', from);
    this.#names.delete(from);
    this.#names.set(to, node);
    this.#changes.push({ kind: 'rename', from, to, node });
  }

  unlink(path: string): void {
    this.#mayWrite('unlink', path);
    if (!this.#names.delete(path)) throw failure('ENOENT', 'unlink', path);
    this.#changes.push({ kind: 'unlink', path });
  }

  makeFolder(path: string): void {
    for (let at = path; !this.#folders.has(at); at = dirname(at)) this.#folders.add(at);
  }

  syncFolder(path: string): void {
    this.#mayWrite('sync-folder', path);
    if (this.failSyncs > 0) {
      this.failSyncs -= 1;
      throw failure('EIO', 'fsync', path);
    }
    const inside = (change: NameChange) => dirname(change.kind === 'rename' ? change.to : change.path) === path;
    for (const change of this.#changes.filter(inside)) applyChange(this.#durableNames, change);
    this.#changes = this.#changes.filter(change => !inside(change));
  }

  list(path: string): readonly string[] {
    return [...this.#names.keys()]
      .filter(name => dirname(name) === path)
      .map(name => name.slice(path.length + 1))
      .sort();
  }

  space(): { readonly freeBytes: number; readonly totalBytes: number } {
    return { freeBytes: Math.max(0, this.capacityBytes - this.usedBytes()), totalBytes: this.capacityBytes };
  }

  usedBytes(): number {
    let sum = 0;
    for (const node of this.#names.values()) sum += node.cache.length;
    return sum;
  }

  /** Power is cut: each unsynced sector and name is kept or lost on its own. What runs on must open its files anew. */
  crash(): void {
    for (const node of new Set([...this.#names.values(), ...this.#durableNames.values()])) this.#crashNode(node);
    for (const change of this.#changes) if (this.#random.chance(0.5)) applyChange(this.#durableNames, change);
    this.#changes = [];
    this.#names = new Map(this.#durableNames);
  }

  /** The process ends, the machine does not: all that was written is still to be seen. */
  killProcess(): void {
    this.failSyncs = 0;
    this.failWrites = 0;
  }

  /** Turns one bit of a file, as a medium that ages does. */
  flipBit(path: string, offset: number, bit: number): void {
    const node = this.#names.get(path);
    if (!node) throw failure('ENOENT', 'flip', path);
    node.cache[offset]! ^= 1 << bit;
    if (offset < node.platter.length) node.platter[offset]! ^= 1 << bit;
  }

  /** Takes a file away, durably. */
  lose(path: string): void {
    this.#names.delete(path);
    this.#durableNames.delete(path);
  }

  /** What the process sees in a file. */
  contentOf(path: string): Uint8Array {
    const node = this.#names.get(path);
    if (!node) throw failure('ENOENT', 'read', path);
    return node.cache;
  }

  #handle(path: string, node: Node): DiskFile {
    return {
      path,
      sizeBytes: () => node.cache.length,
      read: (offset, lengthBytes) => node.cache.slice(offset, offset + lengthBytes),
      write: (offset, bytes) => this.#write(path, node, { offset, bytes }),
      datasync: () => this.#datasync(path, node),
      truncate: sizeBytes => {
        this.#mayWrite('truncate', path);
        node.cache = node.cache.slice(0, sizeBytes);
        for (const sector of node.dirty) if (sector * SECTOR_BYTES >= sizeBytes) node.dirty.delete(sector);
      },
      close: () => undefined,
    };
  }

  #write(path: string, node: Node, piece: { readonly offset: number; readonly bytes: Uint8Array }): void {
    this.#mayWrite('write', path);
    if (this.failWrites > 0) {
      this.failWrites -= 1;
      throw failure('EIO', 'write', path);
    }
    const end = piece.offset + piece.bytes.length;
    const growth = end - node.cache.length;
    if (growth > 0 && this.usedBytes() + growth > this.capacityBytes) throw failure('ENOSPC', 'write', path);
    if (growth > 0) node.cache = resized(node.cache, end);
    node.cache.set(piece.bytes, piece.offset);
    const last = Math.ceil(end / SECTOR_BYTES);
    for (let sector = Math.floor(piece.offset / SECTOR_BYTES); sector < last; sector += 1) node.dirty.add(sector);
    this.writes += 1;
  }

  #datasync(path: string, node: Node): void {
    this.#mayWrite('datasync', path);
    if (this.failSyncs > 0) {
      this.failSyncs -= 1;
      // The kernel marks the pages clean although they never reached the platter: a later sync has nothing to do.
      node.dirty.clear();
      throw failure('EIO', 'fdatasync', path);
    }
    node.platter = resized(node.platter, node.cache.length);
    for (const sector of node.dirty) copySector(node.cache, node.platter, sector);
    node.dirty.clear();
    this.syncs += 1;
  }

  #crashNode(node: Node): void {
    if (node.platter.length !== node.cache.length && this.#random.chance(0.5))
      node.platter = resized(node.platter, node.cache.length);
    for (const sector of node.dirty) {
      if (sector * SECTOR_BYTES >= node.platter.length) continue;
      const fate = this.#random.below(10);
      if (fate < 5) copySector(node.cache, node.platter, sector);
      if (fate === 9) this.#random.fill(node.platter.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES));
    }
    node.dirty.clear();
    node.cache = node.platter.slice();
  }

  #mayWrite(what: string, path: string): void {
    this.#beforeWrite(what, path);
    if (this.readOnly) throw failure('EROFS', what, path);
  }
}

function applyChange(names: Map<string, Node>, change: NameChange): void {
  switch (change.kind) {
    case 'link':
      names.set(change.path, change.node);
      return;
    case 'unlink':
      names.delete(change.path);
      return;
    case 'rename':
      if (names.get(change.from) === change.node) names.delete(change.from);
      names.set(change.to, change.node);
  }
}

function copySector(from: Uint8Array, to: Uint8Array, sector: number): void {
  const at = sector * SECTOR_BYTES;
  to.set(from.subarray(at, Math.min(from.length, to.length, at + SECTOR_BYTES)), at);
}

function resized(bytes: Uint8Array, size: number): Uint8Array {
  const larger = new Uint8Array(size);
  larger.set(bytes.subarray(0, size));
  return larger;
}

function failure(code: string, call: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${call} "${path}"`), { code });
}
