/**
 * exec and logs: streams through the command line as a process, with and without a terminal.
 */
import { existsSync } from 'node:fs';
import t from 'tap';
import { run } from '../../src/cli/run.js';
import { CoveyError, toProblem } from '../../src/errors.js';
import type { BulkFrame, LogsLine } from '../../src/gen/types.js';
import { openConsole } from '../../src/host-linux/console.js';
import { asId, type TaskId } from '../../src/ids.js';
import { fakeConsole } from './fake-console.js';
import { type FakeDaemonOptions, listing, openFakeDaemon, runProcess } from './fake-daemon.js';
import { service, task } from './objects.js';

const encoder = new TextEncoder();
const web = service({});
const running = task({ id: 'task1' });

const output = (stream: 'stdout' | 'stderr', text: string): BulkFrame => ({
  body: { kind: 'data', stream, data: encoder.encode(text), eof: false, atMs: 0 },
});
const ended = (exitCode: number): BulkFrame => ({ body: { kind: 'end', exitCode, problem: undefined } });

/** A program that says what it was started with, then repeats its input in capitals. */
function echoing(): FakeDaemonOptions {
  return {
    control: {
      ...listing([web], [running]),
      exec: async function* (frames) {
        for await (const { body } of frames) {
          if (body.kind === 'exec') {
            yield output(
              'stdout',
              `${body.taskId} ${body.args.join(' ')} ${body.env.join(' ')} ${body.user} tty=${body.tty}\n`,
            );
            if (body.size !== undefined) yield output('stdout', `size ${body.size.columns}x${body.size.rows}\n`);
            if (!body.stdin) {
              yield output('stderr', 'no input\n');
              yield ended(7);
              return;
            }
          } else if (body.kind === 'data') {
            if (body.eof) break;
            const text = new TextDecoder().decode(body.data);
            yield output('stdout', text.toUpperCase());
            if (text.includes('q')) break;
          }
        }
        yield ended(3);
      },
    },
  };
}

t.test('a program gets its arguments, its streams stay apart, and its exit code is passed on', async t => {
  const daemon = await openFakeDaemon(t, echoing());
  t.match(await daemon.process(['exec', '-e', 'A=1', '-u', 'root', 'web.1', 'ls', '-l', '--color']), {
    code: 7,
    out: 'web.1 ls -l --color A=1 root tty=false\n',
    err: 'no input\n',
  });
});

t.test('the end of the input reaches the program, and its last words reach us', async t => {
  const daemon = await openFakeDaemon(t, echoing());
  const input = 'abc\n'.repeat(50_000);
  const outcome = await daemon.process(['exec', '-i', 'web.1', 'cat'], { input });
  t.equal(outcome.code, 3, outcome.err);
  t.equal(outcome.out.length, `web.1 cat   tty=false\n`.length + input.length);
  t.ok(outcome.out.endsWith('ABC\n'));
});

t.test('a program that cannot be started is 126 or 127, our own failure 125', async t => {
  const rows = [
    ['command-not-found', 127],
    ['exec-failed', 126],
    ['internal', 125],
    ['task-not-running', 5],
  ] as const;
  for (const [code, expected] of rows) {
    const daemon = await openFakeDaemon(t, {
      control: {
        ...listing([web], [running]),
        exec: async function* () {
          yield {
            body: { kind: 'end', exitCode: undefined, problem: toProblem(new CoveyError(code, 'Cannot start it')) },
          };
        },
      },
    });
    t.match(await daemon.covey(['exec', 'web.1', 'x']), { code: expected, err: /Cannot start it/ }, code);
  }
});

t.test('the code of the start is passed on with its reason', async t => {
  const daemon = await openFakeDaemon(t, {
    control: {
      ...listing([web], [running]),
      exec: async function* () {
        yield {
          body: {
            kind: 'end',
            exitCode: 127,
            problem: toProblem(new CoveyError('exec-failed', 'Cannot start the program')),
          },
        };
      },
    },
  });
  t.match(await daemon.covey(['exec', 'web.1', 'x']), { code: 127, err: /Cannot start the program/ });
});

t.test('a terminal is wanted for a terminal', async t => {
  const daemon = await openFakeDaemon(t, echoing());
  t.match(await daemon.covey(['exec', '-it', 'web.1', 'sh']), { code: 2, err: /leave -t out/ });
});

t.test('the terminal is raw while the program runs, and only then', async t => {
  const daemon = await openFakeDaemon(t, echoing());
  const { clock, findFile, findKind, openFile, createFile, connectSocket } = openConsole();
  const console = fakeConsole({
    args: ['--socket', daemon.socket, 'exec', '-it', 'web.1', 'sh'],
    terminal: { rows: 30, columns: 100 },
    input: ['q'],
    machine: { clock, findFile, findKind, openFile, createFile, connectSocket },
  });
  const seen: boolean[] = [];
  const write = console.stdout.write;
  const watched = {
    ...console,
    stdout: {
      ...console.stdout,
      write: (content: string | Uint8Array) => {
        seen.push(console.isRaw());
        return write(content);
      },
    },
  };
  t.equal(await run(watched), 3);
  t.ok(seen.length > 0 && seen.every(raw => raw), 'raw during');
  t.notOk(console.isRaw(), 'not after');
});

const noScript = existsSync('/usr/bin/script') ? false : 'script(1) is not installed';

t.test(
  'with a terminal every key is sent at once, and the terminal is as before in the end',
  { skip: noScript },
  async t => {
    const daemon = await openFakeDaemon(t, echoing());
    const line = `stty cols 100 rows 30; ${process.execPath} dist/src/cli/main.js --socket ${daemon.socket} exec -it web.1 sh; echo code $?; stty -a | grep -o -- '-\\?icanon'`;
    const outcome = await runProcess(['script', '-qfec', line, '/dev/null'], { input: 'hq' });
    t.match(outcome.out, /web\.1 sh TERM=xterm {2}tty=true\r?\n/);
    t.match(outcome.out, /size 100x30/);
    t.match(outcome.out, /HQ/, 'without a line feed');
    t.match(outcome.out, /code 3\r?\nicanon/);
  },
);

t.test('lines of a log bear the name of their task; what one task cannot tell does not stop the others', async t => {
  const line = (fields: Partial<LogsLine>): LogsLine => ({
    taskId: asId<TaskId>('t'),
    taskName: 'web.1',
    nodeName: 'rack1',
    ...fields,
  });
  const daemon = await openFakeDaemon(t, {
    control: {
      logs: async function* (request) {
        t.match(request, { service: 'web', tail: 5, follow: true });
        yield line({ data: { stream: 'stdout', data: encoder.encode('one\n'), eof: false, atMs: 1 } });
        yield line({
          taskName: 'web.2',
          problem: toProblem(new CoveyError('node-unreachable', 'Cannot reach node rack2')),
        });
        yield line({ data: { stream: 'stderr', data: encoder.encode('two\n'), eof: false, atMs: 2 } });
      },
    },
  });
  t.match(await daemon.process(['service', 'logs', '-f', '-n', '5', 'web']), {
    code: 0,
    out: 'web.1@rack1 | one\n',
    err: 'web.2@rack1: Cannot reach node rack2\nweb.1@rack1 | two\n',
  });
});

t.test('a reader that has had enough ends the command quietly', async t => {
  const daemon = await openFakeDaemon(t, {
    control: {
      logs: async function* (_request, context) {
        while (!context.signal.aborted) {
          yield {
            taskId: asId<TaskId>('t'),
            taskName: 'web.1',
            nodeName: 'rack1',
            data: { stream: 'stdout', data: encoder.encode('x\n'.repeat(1_000)), eof: false, atMs: 1 },
            problem: undefined,
          };
        }
      },
    },
  });
  const line = `${process.execPath} dist/src/cli/main.js --socket ${daemon.socket} service logs -f web | head -n 1`;
  const outcome = await runProcess(['sh', '-c', line]);
  t.match(outcome, { code: 0, out: 'web.1@rack1 | x\n', err: '' });
});
