/** The log of a single manager, on files that tear, fill up and fail. */
import t from 'tap';
import { CoveyError, codeOf } from '../../src/errors.js';
import type { Log } from '../../src/raft/log.js';
import { openSoloLog, type SoloLogLimits } from '../../src/raft/solo-log.js';
import type { StoreMachine } from '../../src/raft/store.js';
import { silent } from '../daemon/plane-fixtures.js';
import { makeFakeClock } from '../fake-clock.js';
import { type MemoryFiles, memoryFiles } from './solo/memory-files.js';

const directory = '/store';

/** Remembers entries as texts. */
function textMachine(): StoreMachine & { readonly texts: string[] } {
  const texts: string[] = [];
  const snapshot = (): Uint8Array => Buffer.from(JSON.stringify(texts));
  return {
    texts,
    apply: (index, entry) => {
      const text = Buffer.from(entry).toString();
      if (index !== texts.length + 1) throw new CoveyError('bug', `entry ${index} after ${texts.length}`);
      if (text.startsWith('unknown')) throw new CoveyError('newer-schema', 'Cannot apply that');
      texts.push(text);
    },
    snapshot,
    snapshotPieces: () => {
      const bytes = snapshot();
      return [bytes.subarray(0, 3), bytes.subarray(3)];
    },
    restore: bytes => {
      texts.splice(0, texts.length, ...(JSON.parse(Buffer.from(bytes).toString()) as string[]));
    },
  };
}

interface Opened extends AsyncDisposable {
  readonly log: Log;
  readonly texts: readonly string[];
  readonly failures: CoveyError[];
  readonly write: (...texts: readonly string[]) => Promise<readonly string[]>;
}

async function open({ files }: MemoryFiles, limits: Partial<SoloLogLimits> = {}): Promise<Opened> {
  const machine = textMachine();
  const failures: CoveyError[] = [];
  const clock = { ...makeFakeClock(), sleep: async () => undefined };
  const log = await openSoloLog({
    directory,
    files,
    clock,
    machine,
    log: silent,
    onFailed: error => failures.push(error),
    limits,
  });
  return {
    log,
    texts: machine.texts,
    failures,
    write: async (...texts) =>
      (await Promise.all(texts.map(text => log.propose(Buffer.from(text))))).map(({ kind }) => kind),
    [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
  };
}

async function reopened(memory: MemoryFiles, limits: Partial<SoloLogLimits> = {}): Promise<readonly string[]> {
  await using opened = await open(memory, limits);
  return [...opened.texts];
}

t.test('what was answered is there after a crash, in order', async t => {
  const memory = memoryFiles();
  const opened = await open(memory);
  t.same(await opened.write('one'), ['committed']);
  t.same(await opened.write('two', 'three'), ['committed', 'committed']);
  t.same(opened.texts, ['one', 'two', 'three']);
  t.equal(opened.log.lastApplied(), 3);
  memory.crash();
  t.same(await reopened(memory), ['one', 'two', 'three']);
});

t.test('entries that wait together share one sync', async t => {
  const memory = memoryFiles();
  await using opened = await open(memory);
  const before = memory.syncs();
  await opened.write(...Array.from({ length: 100 }, (_, at) => `entry ${at}`));
  t.equal(memory.syncs() - before, 1);
});

t.test('the term grows with every start', async t => {
  const memory = memoryFiles();
  const terms: number[] = [];
  for (let start = 0; start < 3; start++) {
    const opened = await open(memory);
    terms.push(opened.log.term());
    if (start === 0) memory.crash();
    else await opened[Symbol.asyncDispose]();
  }
  t.same(terms, [1, 2, 3]);
});

t.test('a write that was cut short at any byte is taken back, and the log goes on', async t => {
  const whole = memoryFiles();
  const first = await open(whole);
  await first.write('one', 'two');
  const path = `${directory}/log-0000000000000001`;
  const synced = whole.contents.get(path)?.bytes.length ?? 0;
  await first.write('torn away');
  const all = Buffer.from(whole.contents.get(path)?.bytes ?? []);
  for (let length = synced; length < all.length; length++) {
    const memory = memoryFiles();
    memory.contents.set(path, { bytes: Buffer.from(all.subarray(0, length)), synced: length });
    const opened = await open(memory);
    t.same(opened.texts, ['one', 'two'], `cut at ${length}`);
    await opened.write('three');
    memory.crash();
    t.same(await reopened(memory), ['one', 'two', 'three']);
  }
});

t.test('sectors that loss of power left as zeros make the last write torn', async t => {
  const memory = memoryFiles();
  const opened = await open(memory);
  await opened.write('one');
  const path = `${directory}/log-0000000000000001`;
  const synced = memory.contents.get(path)?.bytes.length ?? 0;
  await opened.write('x'.repeat(2_000));
  const content = memory.contents.get(path)!;
  content.bytes = Buffer.from(content.bytes);
  content.bytes.fill(0, 512, 1_024);
  t.same(await reopened(memory), ['one']);
  memory.contents.get(path)!.bytes = Buffer.concat([content.bytes.subarray(0, synced), Buffer.alloc(5_000)]);
  t.same(await reopened(memory), ['one'], 'nothing but zeros');
});

t.test('a turned bit anywhere is refused with file and offset, never guessed away', async t => {
  const memory = memoryFiles();
  const opened = await open(memory);
  await opened.write('one');
  await opened.write('two', 'three');
  memory.crash();
  const path = `${directory}/log-0000000000000001`;
  const good = Buffer.from(memory.contents.get(path)!.bytes);
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bytes = Buffer.from(good);
    bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    const bad = memoryFiles();
    bad.contents.set(path, { bytes, synced: bytes.length });
    const error = await open(bad).then(
      () => undefined,
      (caught: unknown) => caught,
    );
    if (codeOf(error) !== 'state-damaged' || !/log-0000000000000001" at offset \d+/.test(String(error)))
      t.fail(`bit ${bit}: ${String(error)}`);
  }
  t.pass(`${good.length * 8} bits`);
});

t.test('a full disk refuses what waits, loses nothing, and takes more when there is room', async t => {
  const memory = memoryFiles();
  const opened = await open(memory, { frameMaxBytes: 10 });
  await opened.write('one');
  memory.freeBytes = 106; // "two" takes 51, "a long one" would take 58, "rest" 52
  t.same(
    await opened.write('two', 'a long one', 'rest'),
    ['committed', 'no-space', 'no-space'],
    'later ones rest on earlier ones',
  );
  memory.freeBytes = Number.POSITIVE_INFINITY;
  t.same(await opened.write('three'), ['committed']);
  memory.crash();
  t.same(await reopened(memory), ['one', 'two', 'three']);
});

t.test('a failed sync is never tried again: outcome unknown, then stopped', async t => {
  const memory = memoryFiles();
  const opened = await open(memory);
  await opened.write('one');
  memory.failSync = true;
  t.same(await opened.write('two'), ['unknown']);
  memory.failSync = false;
  t.same(await opened.write('three'), ['stopped']);
  t.same(opened.failures.map(codeOf), ['log-failed']);
  t.same(opened.texts, ['one'], 'what is not known to be on disk is not applied');
  await opened[Symbol.asyncDispose]();
});

t.test('an entry larger than its limit is refused', async t => {
  await using opened = await open(memoryFiles(), { entryMaxBytes: 4 });
  t.same(await opened.write('small'), ['too-large']);
});

t.test('an entry that this version does not know stops the log, now and at the next start', async t => {
  const memory = memoryFiles();
  const opened = await open(memory);
  t.same(await opened.write('one', 'unknown', 'three'), ['committed', 'unknown', 'unknown']);
  t.same(opened.failures.map(codeOf), ['newer-schema']);
  t.same(await opened.write('four'), ['stopped']);
  await opened[Symbol.asyncDispose]();
  await t.rejects(open(memory), { code: 'newer-schema' });
});

const small: Partial<SoloLogLimits> = { snapshotEntries: 5, snapshotBytes: 1 << 30 };

t.test('a long log becomes a snapshot and a short log', async t => {
  const memory = memoryFiles();
  const opened = await open(memory, small);
  for (let at = 1; at <= 13; at++) await opened.write(`entry ${at}`);
  await opened[Symbol.asyncDispose]();
  t.same([...memory.contents.keys()].sort(), [
    `${directory}/log-0000000000000011`,
    `${directory}/snapshot-0000000000000010`,
  ]);
  t.same(
    await reopened(memory),
    Array.from({ length: 13 }, (_, at) => `entry ${at + 1}`),
  );
});

t.test('a crash at any call of a rotation loses nothing that was answered', async t => {
  for (let calls = 0; calls < 120; calls++) {
    const memory = memoryFiles();
    memory.callsLeft = calls;
    const answered: string[] = [];
    try {
      const opened = await open(memory, small);
      for (let at = 1; at <= 12; at++) {
        const [kind] = await opened.write(`entry ${at}`);
        if (kind === 'committed') answered.push(`entry ${at}`);
      }
    } catch {
      // the process ended while it opened
    }
    memory.crash(calls % 7);
    const found = await reopened(memory, small);
    t.same(found.slice(0, answered.length), answered, `after ${calls} calls`);
    t.ok(found.length <= answered.length + 1, 'and nothing that was not asked for');
  }
});

t.test('a missing log, or a damaged snapshot, is refused', async t => {
  const memory = memoryFiles();
  const opened = await open(memory, small);
  for (let at = 1; at <= 6; at++) await opened.write(`entry ${at}`);
  await opened[Symbol.asyncDispose]();
  const log = `${directory}/log-0000000000000006`;
  const kept = memory.contents.get(log)!;
  memory.contents.delete(log);
  await t.rejects(open(memory, small), { code: 'state-damaged' });
  memory.contents.set(log, kept);
  const snapshot = memory.contents.get(`${directory}/snapshot-0000000000000005`)!;
  snapshot.bytes = Buffer.from(snapshot.bytes);
  snapshot.bytes.writeUInt8(snapshot.bytes.readUInt8(50) ^ 1, 50);
  await t.rejects(open(memory, small), { code: 'state-damaged', message: /snapshot-0000000000000005" at offset/ });
});
