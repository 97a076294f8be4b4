import t from 'tap';
import { openContext } from '../../src/cli/context.js';
import { readFlags } from '../../src/cli/flags.js';
import { type FakeConsoleOptions, fakeConsole } from './fake-console.js';

const { signal } = new AbortController();

/** The socket that a command tries, told by its error. */
async function socketOf(
  flags: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const tried: string[] = [];
  const console = fakeConsole({
    env,
    connectFails: path => {
      tried.push(path);
      return 'ENOENT';
    },
  });
  await openContext(console, { flags: readFlags(new Map(Object.entries(flags))), signal })
    .connect()
    .catch(() => undefined);
  return tried[0] ?? 'none';
}

t.test('the socket is the first that is named: option, run directory, environment, default', async t => {
  const rows: readonly (readonly [Readonly<Record<string, string>>, Readonly<Record<string, string>>, string])[] = [
    [{}, {}, '/run/covey/covey.sock'],
    [{}, { COVEY_RUN_DIR: '/r' }, '/r/covey.sock'],
    [{}, { COVEY_SOCKET: '/s', COVEY_RUN_DIR: '/r' }, '/s'],
    [{}, { COVEY_SOCKET: 'unix:///s' }, '/s'],
    [{ 'run-dir': '/d' }, { COVEY_SOCKET: '/s' }, '/d/covey.sock'],
    [{ socket: '/o', 'run-dir': '/d' }, { COVEY_SOCKET: '/s' }, '/o'],
  ];
  for (const [flags, env, expected] of rows)
    t.equal(await socketOf(flags, env), expected, JSON.stringify([flags, env]));
});

t.test('why a socket does not answer decides the code', async t => {
  const rows = [
    ['ENOENT', 'no-daemon'],
    ['ECONNREFUSED', 'no-daemon'],
    ['EACCES', 'no-socket-rights'],
  ] as const;
  for (const [errno, code] of rows) {
    const console = fakeConsole({ connectFails: () => errno });
    await t.rejects(openContext(console, { flags: readFlags(new Map()), signal }).connect(), { code }, errno);
  }
  const flags = readFlags(new Map([['socket', 'tcp://10.0.0.1:7377']]));
  await t.rejects(openContext(fakeConsole(), { flags, signal }).connect(), { code: 'bad-argument' });
});

t.test('colours and live lines are for terminals that can and people who want them', async t => {
  const terminal = { rows: 24, columns: 80 };
  const rows: readonly (readonly [FakeConsoleOptions, boolean, boolean])[] = [
    [{ terminal }, true, true],
    [{ terminal, env: { NO_COLOR: '1' } }, true, false],
    [{ terminal, env: { TERM: 'dumb' } }, false, false],
    [{}, false, false],
  ];
  for (const [options, interactive, colours] of rows) {
    const context = openContext(fakeConsole(options), { flags: readFlags(new Map()), signal });
    t.same([context.isInteractive, context.colours], [interactive, colours], JSON.stringify(options));
  }
});
