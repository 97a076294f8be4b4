import t from 'tap';
import type { FileReader, FileStat } from '../../src/host.js';
import { planLook, tendLog } from '../../src/tasks/log-rotation.js';
import { type LogRead, parseLogLine, readLogs } from '../../src/tasks/logs.js';
import { collect, textOf } from './fixtures.js';

const at = (second: number): string => `2026-11-20T10:00:${String(second).padStart(2, '0')}.123456789+00:00`;
const line = (second: number, text: string, more: { readonly stream?: string; readonly tag?: string } = {}): string =>
  `${at(second)} ${more.stream ?? 'stdout'} ${more.tag ?? 'F'} ${text}\n`;

/** Files in memory; a rename keeps the inode, as on disk. */
function memoryFiles(contents: Record<string, string>) {
  const files = new Map(Object.entries(contents).map(([path, text], inode) => [path, { inode, text }]));
  let nextInode = files.size;
  const stat = (file: { inode: number; text: string }): FileStat => ({
    kind: 'file',
    sizeBytes: Buffer.byteLength(file.text),
    mode: 0,
    uid: 0,
    gid: 0,
    inode: file.inode,
    device: 1,
    modifiedMs: 0,
  });
  let open = 0;
  return {
    has: (path: string) => files.has(path),
    paths: () => [...files.keys()].sort(),
    remove: async (path: string) => void files.delete(path),
    open: () => open,
    append: (path: string, text: string) => {
      const file = files.get(path);
      if (file === undefined) files.set(path, { inode: nextInode++, text });
      else file.text += text;
    },
    rename: async (from: string, to: string) => {
      files.set(to, files.get(from)!);
      files.delete(from);
    },
    findStat: async (path: string) => (files.has(path) ? stat(files.get(path)!) : undefined),
    openReader: async (path: string): Promise<FileReader | undefined> => {
      const file = files.get(path);
      if (file === undefined) return undefined;
      open += 1;
      let closed = false;
      return {
        read: async (offset, size) => Buffer.from(file.text).subarray(offset, offset + size),
        stat: async () => stat(file),
        [Symbol.asyncDispose]: async () => {
          if (!closed) open -= 1;
          closed = true;
        },
      };
    },
  };
}

const all: LogRead = {
  path: '/log',
  filesMax: 3,
  untilMs: 0,
  tail: -1,
  sinceMs: 0,
  follow: false,
  isEnded: () => true,
  grown: async () => undefined,
  signal: new AbortController().signal,
};

t.test('a line is read with its time, stream and tag; what is no line is none', async t => {
  const parsed = parseLogLine(Buffer.from(`${at(1)} stderr P a b `));
  t.match(parsed, { atMs: Date.parse('2026-11-20T10:00:01.123Z'), stream: 'stderr', partial: true });
  t.equal(Buffer.from(parsed?.text ?? []).toString(), 'a b ');
  for (const torn of ['', 'x', '2026 stdout F x', `${at(1)} stdout X x`, '\0\0\0', `${at(1)} std`]) {
    t.equal(parseLogLine(Buffer.from(torn)), undefined, JSON.stringify(torn));
  }
});

t.test('pieces of a line are joined, stream by stream', async t => {
  const files = memoryFiles({
    '/log':
      line(1, 'a', { tag: 'P' }) +
      line(1, 'x', { stream: 'stderr', tag: 'P' }) +
      line(1, 'b') +
      line(1, 'y', { stream: 'stderr' }) +
      line(2, ''),
  });
  const frames = await collect(readLogs(files, all));
  t.equal(textOf(frames, 'stdout'), 'ab\n\n');
  t.equal(textOf(frames, 'stderr'), 'xy\n');
});

t.test('tail counts whole lines from the end, over rotated files and torn ends', async t => {
  const files = memoryFiles({
    '/log.2': line(1, 'one') + line(2, 'two'),
    '/log.1': line(3, 'thr', { tag: 'P' }) + line(3, 'ee') + line(4, 'four'),
    '/log': `${line(5, 'five') + line(6, 'six')}${at(7)} stdout F torn`,
  });
  const rows = [
    [-1, 'one two three four five six'],
    [0, ''],
    [1, 'six'],
    [2, 'five six'],
    [3, 'four five six'],
    [4, 'three four five six'],
    [5, 'two three four five six'],
    [99, 'one two three four five six'],
  ] as const;
  for (const [tail, expected] of rows) {
    t.equal(
      textOf(await collect(readLogs(files, { ...all, tail })))
        .trim()
        .split('\n')
        .join(' '),
      expected,
      `tail ${tail}`,
    );
  }
  t.equal(files.open(), 0, 'no file stays open');
});

t.test('tail finds its line when lines are longer than a chunk', async t => {
  const long = 'x'.repeat(200_000);
  const files = memoryFiles({ '/log': line(1, 'first') + line(2, long) + line(3, 'last') });
  t.equal(textOf(await collect(readLogs(files, { ...all, tail: 2 }))).length, long.length + 6);
  t.equal(textOf(await collect(readLogs(files, { ...all, tail: 3 }))).slice(0, 6), 'first\n');
});

t.test('since leaves out what is older', async t => {
  const files = memoryFiles({ '/log': line(1, 'old') + line(9, 'new') });
  t.equal(textOf(await collect(readLogs(files, { ...all, sinceMs: Date.parse('2026-11-20T10:00:05Z') }))), 'new\n');
});

t.test('a follower reads on across a rotation, to the end', async t => {
  const files = memoryFiles({ '/log': line(1, 'a') });
  const events = [
    () => files.append('/log', line(2, 'b')),
    () => {
      void files.rename('/log', '/log.1');
      files.append('/log.1', line(3, 'c'));
    },
    () => files.append('/log', line(4, 'd')),
    () => {
      files.append('/log', line(5, 'e'));
      ended = true;
    },
  ];
  let ended = false;
  const frames = await collect(
    readLogs(files, { ...all, follow: true, isEnded: () => ended, grown: async () => events.shift()?.() }),
  );
  t.equal(textOf(frames), 'a\nb\nc\nd\ne\n');
  t.equal(files.open(), 0);
});

t.test('a follower that is several rotations behind reads them all, and is told when one is gone', async t => {
  const files = memoryFiles({ '/log': line(1, 'a') });
  const rotate = (): void => {
    for (const [from, to] of [
      ['/log.2', '/log.3'],
      ['/log.1', '/log.2'],
      ['/log', '/log.1'],
    ] as const)
      if (files.has(from)) void files.rename(from, to);
  };
  const events = [
    () => {
      rotate();
      files.append('/log', line(2, 'b'));
      rotate();
      files.append('/log', line(3, 'c'));
    },
    () => {
      for (const text of ['d', 'e', 'f', 'g', 'h']) {
        rotate();
        files.append('/log', line(4, text));
      }
      ended = true;
    },
  ];
  let ended = false;
  const read = { ...all, follow: true, isEnded: () => ended, grown: async () => events.shift()?.() };
  const frames = await collect(readLogs(files, read));
  t.equal(textOf(frames), 'a\nb\nc\ne\nf\ng\nh\n', 'd is beyond the third rotated file');
  t.equal(frames.filter(({ body }) => body.kind === 'lost').length, 1);
  t.equal(files.open(), 0);
});

t.test('a log that is rotated while it is opened is read whole', async t => {
  const files = memoryFiles({ '/log.1': line(1, 'a'), '/log': line(2, 'b') });
  let rotated = false;
  const racing = {
    findStat: files.findStat,
    openReader: async (path: string) => {
      const reader = await files.openReader(path);
      if (path === '/log.1' && !rotated) {
        rotated = true;
        void files.rename('/log.1', '/log.2');
        void files.rename('/log', '/log.1');
        files.append('/log', line(3, 'c'));
      }
      return reader;
    },
  };
  t.equal(textOf(await collect(readLogs(racing, all))), 'a\nb\nc\n');
  t.equal(files.open(), 0);
});

t.test('until ends the reading, also of a follower', async t => {
  const files = memoryFiles({ '/log.1': line(1, 'a'), '/log': line(5, 'b') + line(9, 'c') });
  const untilMs = Date.parse('2026-11-20T10:00:06Z');
  for (const follow of [false, true]) {
    t.equal(textOf(await collect(readLogs(files, { ...all, untilMs, follow }))), 'a\nb\n');
  }
});

t.test('the pieces of a log are the bytes that the program wrote', async t => {
  const files = memoryFiles({ '/log': line(1, '$ ', { tag: 'P' }) + line(1, 'ls\r') });
  t.equal(textOf(await collect(readLogs(files, { ...all, pieces: true }))), '$ ls\r\n');
});

t.test('a rotation keeps so many files as there may be, and one that was cut off is gone on with', async t => {
  const said: string[] = [];
  const rows: readonly (readonly [number, string, readonly string[]])[] = [
    [3, 'rotated', ['/log.1', '/log.2']],
    [2, 'rotated', ['/log.1']],
    [1, 'rotated', ['/log.1']],
    [5, 'rotated', ['/log.1', '/log.2', '/log.3']],
  ];
  for (const [filesMax, what, left] of rows) {
    const files = memoryFiles({ '/log.2': 'c', '/log.1': 'b', '/log': 'aaaa' });
    const parts = { ...files, writePipe: (_path: string, text: string) => said.push(text) > 0 };
    const log = { path: '/log', bundle: '/bundle', filesMax, sizeMaxBytes: 4 };
    t.equal(await tendLog(parts, log), 0, what);
    if (filesMax === 5) t.equal(files.has('/log.3'), true);
    t.same(
      files.paths().filter(path => path !== '/log.2' || filesMax > 2),
      left,
      `${filesMax} files`,
    );
    t.equal(await tendLog(parts, log), 0, 'the monitor did not hear it: once more');
    t.same(said.splice(0), ['2 0 0\n', '2 0 0\n']);
    files.append('/log', 'x');
    t.equal(await tendLog(parts, log), 1);
    t.equal(files.has('/log.1'), filesMax > 1);
  }
});

t.test('a follower waits for a log that is not there yet, and gives up with its signal', async t => {
  const files = memoryFiles({});
  const ending = new AbortController();
  let asked = 0;
  const frames = await collect(
    readLogs(files, {
      ...all,
      follow: true,
      isEnded: () => false,
      grown: async () => {
        asked += 1;
        if (asked === 1) files.append('/log', line(1, 'here'));
        else ending.abort();
      },
      signal: ending.signal,
    }),
  );
  t.equal(textOf(frames), 'here\n');
});

t.test('a quiet log is looked at seldom, a fast one each second', async t => {
  let look = planLook(undefined, 10);
  const waits = [look.waitMs];
  for (let count = 0; count < 4; count += 1) {
    look = planLook(look, 20);
    waits.push(look.waitMs);
  }
  t.strictSame(waits, [1_000, 2_000, 4_000, 8_000, 8_000]);
  t.equal(planLook(look, 20 + 2 ** 20).waitMs, 1_000);
});
