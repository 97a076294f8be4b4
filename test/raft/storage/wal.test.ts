/**
 * The log on the simulated disk: what was acknowledged is there after any crash, wherever it falls, also in the middle
 * of the recovery from the crash before.
 */
import fc from 'fast-check';
import t from 'tap';
import type { Entry } from '../../../src/raft/core/types.js';
import type { Batch } from '../../../src/raft/storage/batch.js';
import { decodeBatch, encodeBatch } from '../../../src/raft/storage/batch.js';
import { inspectLog } from '../../../src/raft/storage/inspect.js';
import { clearKeyring, type Keyring } from '../../../src/raft/storage/keyring.js';
import type { LogState } from '../../../src/raft/storage/log-reader.js';
import { openWal } from '../../../src/raft/storage/wal.js';
import { encodeForWal, type WalOptions } from '../../../src/raft/storage/wal-types.js';
import { createRandom, type Random } from '../sim/random.js';
import { SimDisk } from '../sim/sim-disk.js';

const identity = { cluster: 'k3f9xw', node: 7 };
const keyed: Keyring = { currentId: 3, keys: new Map([[3, new Uint8Array(32).fill(9)]]) };

function optionsFor(disk: SimDisk, random: Random, keyring = clearKeyring): WalOptions {
  const randomBytes = (size: number) => {
    const bytes = new Uint8Array(size);
    random.fill(bytes);
    return bytes;
  };
  return { disk, folder: '/data/wal', identity, keyring, random: randomBytes, segmentBytes: 4096 };
}

function entry(index: number, term: number, size = 20): Entry {
  return { kind: 'normal', version: 1, term, index, data: Buffer.alloc(size, `${index}.${term} `) };
}

/** What a log holds after these batches, computed the slow way. */
function stateAfter(batches: readonly Batch[]): LogState {
  let hardState = { term: 0, vote: 0, commit: 0 };
  let marker = { index: 0, term: 0, replaces: false };
  let entries: Entry[] = [];
  for (const batch of batches) {
    hardState = batch.hardState ?? hardState;
    if (batch.marker) {
      marker = batch.marker;
      entries = marker.replaces ? [] : entries.filter(({ index }) => index > marker.index);
    }
    for (const one of batch.entries) entries = [...entries.filter(({ index }) => index < one.index), one];
  }
  return { hardState, marker, entries };
}

/** A history such as a follower's log sees: appends, overwritten tails, commits, snapshots of both kinds. */
function makeHistory(random: Random, length: number): Batch[] {
  const batches: Batch[] = [];
  let [term, last, snapshot] = [1, 0, 0];
  for (let step = 0; step < length; step += 1) {
    const kind = random.below(10);
    if (kind === 0) term += 1;
    if (kind === 1) {
      batches.push({ hardState: { term, vote: 1, commit: last }, entries: [] });
    } else if (kind === 2 && last > snapshot + 2) {
      snapshot = random.between(snapshot + 1, last - 1);
      batches.push({ marker: { index: snapshot, term, replaces: false }, entries: [] });
    } else if (kind === 3) {
      snapshot = last + random.between(1, 5);
      last = snapshot;
      batches.push({
        marker: { index: snapshot, term, replaces: true },
        hardState: { term, vote: 0, commit: last },
        entries: [],
      });
    } else {
      const first = kind === 4 ? random.between(snapshot + 1, last + 1) : last + 1;
      const count = random.between(1, 4);
      const entries = Array.from({ length: count }, (_, place) => entry(first + place, term, random.between(0, 700)));
      last = first + count - 1;
      batches.push({ hardState: { term, vote: 2, commit: snapshot }, entries });
    }
  }
  return batches;
}

/** Commit-only batches need no sync. */
function mustSync(batch: Batch): boolean {
  return batch.entries.length > 0 || batch.marker !== undefined;
}

t.test('a batch survives encoding, with entries of every kind', async t => {
  const context = new Uint8Array([1, 2, 3]);
  const batch: Batch = {
    hardState: { term: 2 ** 40 + 3, vote: 2 ** 52 + 1, commit: 12 },
    marker: { index: 9, term: 2, replaces: true },
    entries: [
      entry(10, 3),
      {
        kind: 'conf-change',
        version: 1,
        index: 11,
        term: 3,
        change: { change: { kind: 'add-voter', peer: 4 }, context },
      },
      {
        kind: 'conf-change-v2',
        version: 1,
        index: 12,
        term: 4,
        change: { transition: 'explicit', changes: [{ kind: 'remove', peer: 2 }], context },
      },
    ],
  };
  t.strictSame(decodeBatch(encodeBatch(batch)), batch);
});

t.test('what was written is read back, over segments, restarts and a changed key', async t => {
  const random = createRandom(1, 'wal');
  const disk = new SimDisk({ random });
  const history = makeHistory(random, 200);
  let { wal } = openWal(optionsFor(disk, random));
  history.forEach((batch, place) => {
    wal.write([encodeForWal(batch, mustSync(batch))]);
    if (place % 7 === 0) wal.prepareSpare();
    if (batch.marker) wal.compact();
    if (place === 60) wal.setKeyring(keyed);
    if (place % 50 === 49) {
      wal.close();
      ({ wal } = openWal(optionsFor(disk, random, place < 60 ? clearKeyring : keyed)));
    }
  });
  wal.close();
  t.strictSame(openWal(optionsFor(disk, random, keyed)).state, stateAfter(history));
  t.throws(() => openWal(optionsFor(disk, random)), { code: 'log-key-wrong' }, 'without the key it is refused');
});

t.test('a clean end costs no new segment', async t => {
  const random = createRandom(1, 'wal');
  const disk = new SimDisk({ random });
  for (let round = 0; round < 5; round += 1) {
    const { wal } = openWal(optionsFor(disk, random));
    wal.write([encodeForWal({ entries: [entry(round + 1, 1)] }, true)]);
    wal.close();
  }
  t.strictSame(disk.list('/data/wal').length, 2, 'manifest and one segment');
});

t.test('many batches share one sync and one record, and are read back as they were', async t => {
  const random = createRandom(1, 'wal');
  const disk = new SimDisk({ random });
  const { wal } = openWal(optionsFor(disk, random, keyed));
  const before = disk.syncs;
  const batches = Array.from({ length: 30 }, (_, place) => ({
    hardState: { term: 1, vote: 7, commit: place },
    entries: [entry(place + 1, 1)],
  }));
  wal.write(batches.slice(0, 29).map(batch => encodeForWal(batch, true)));
  t.equal(disk.syncs - before, 1);
  wal.write(batches.slice(29).map(batch => encodeForWal(batch, true)));
  wal.close();
  const [segment] = inspectLog(disk, '/data/wal', keyed).segments;
  t.equal(segment?.frames, 3, 'the 29, the last one, and the note of the end');
  t.strictSame(openWal(optionsFor(disk, random, keyed)).state, stateAfter(batches));
});

class Crash extends Error {}

/** Runs a history with a crash after `writesLeft` disk calls; returns how far it got. */
function runUntilCrash(seed: number, keyring: Keyring): string | undefined {
  const random = createRandom(seed, 'run');
  let writesLeft = Number.POSITIVE_INFINITY;
  const disk = new SimDisk({
    random: createRandom(seed, 'disk'),
    beforeWrite: () => {
      writesLeft -= 1;
      if (writesLeft < 0) throw new Crash();
    },
  });
  const history = makeHistory(random, 60);
  let tried: Batch[] = [];
  let acknowledged = 0;
  for (let life = 0; life < 6; life += 1) {
    writesLeft = life === 5 ? Number.POSITIVE_INFINITY : random.between(0, life % 2 === 0 ? 60 : 12);
    try {
      const { wal, state } = openWal(optionsFor(disk, random, keyring));
      const got = findPrefix(tried, state);
      if (got === undefined || got < acknowledged)
        return `life ${life}: ${acknowledged} of ${tried.length} batches acknowledged, found prefix ${got}: ${describe(state)} among ${tried.map((_, count) => describe(stateAfter(tried.slice(0, count + 1)))).join('; ')}`;
      tried = tried.slice(0, got);
      acknowledged = got;
      let next = got;
      while (next < history.length) {
        const group = history.slice(next, next + random.between(1, 4));
        next += group.length;
        tried.push(...group);
        wal.write(group.map(batch => encodeForWal(batch, mustSync(batch))));
        if (group.some(mustSync)) acknowledged = tried.length;
        if (random.chance(0.2)) wal.prepareSpare();
        if (random.chance(0.2)) wal.compact();
      }
      wal.close();
    } catch (error) {
      if (!causedByCrash(error))
        return `life ${life}: ${error instanceof Error ? `${error.message} ${'state' in error ? error.state : ''} ${error.stack}` : error}`;
    }
    if (random.chance(0.8)) disk.crash();
    else disk.killProcess();
  }
  return undefined;
}

function describe({ hardState, marker, entries }: LogState): string {
  return `commit ${hardState.commit} marker ${marker.index} entries ${entries.map(one => `${one.index}.${one.term}`).join(' ')}`;
}

function causedByCrash(error: unknown): boolean {
  return error instanceof Crash || (error instanceof Error && error.cause !== undefined && causedByCrash(error.cause));
}

/** The longest prefix of the batches that gives this state. */
function findPrefix(batches: readonly Batch[], state: LogState): number | undefined {
  const wanted = JSON.stringify(state);
  for (let count = batches.length; count >= 0; count -= 1) {
    if (JSON.stringify(stateAfter(batches.slice(0, count))) === wanted) return count;
  }
  return undefined;
}

t.test(
  'a crash at any point, also during recovery, loses nothing that was acknowledged and nothing in between',
  async t => {
    for (let seed = 1; seed <= 1500; seed += 1) {
      const problem = runUntilCrash(seed, seed % 3 === 0 ? keyed : clearKeyring);
      if (problem !== undefined) {
        t.fail(`seed ${seed}: ${problem}`);
        return;
      }
    }
    t.pass('1,500 seeds of six lives each');
  },
);

t.test('a flipped bit anywhere in what was acknowledged is refused or harmless, never healed silently', async () => {
  const random = createRandom(5, 'flip');
  const history = makeHistory(random, 12);
  const make = () => {
    const disk = new SimDisk({ random });
    const { wal } = openWal(optionsFor(disk, createRandom(5, 'nonce')));
    for (const batch of history) wal.write([encodeForWal(batch, true)]);
    return disk;
  };
  const wanted = JSON.stringify(stateAfter(history));
  const files = make().list('/data/wal');
  fc.assert(
    fc.property(fc.constantFrom(...files), fc.nat(4095), fc.nat(7), (name, place, bit) => {
      const disk = make();
      const path = `/data/wal/${name}`;
      const size = disk.contentOf(path).length;
      disk.flipBit(path, place % size, bit);
      try {
        return JSON.stringify(openWal(optionsFor(disk, random)).state) === wanted;
      } catch (error) {
        return (
          error instanceof Error && 'code' in error && error.code === 'log-damaged' && error.message.includes(path)
        );
      }
    }),
    { numRuns: 3000, seed: 11 },
  );
});
