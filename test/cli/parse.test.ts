import t from 'tap';
import type { CommandDefinition } from '../../src/cli/definition.js';
import { findCommand, parseLine } from '../../src/cli/parse.js';
import { commandTree } from '../../src/cli/tree.js';

function command(words: string): CommandDefinition {
  const found = commandTree.find(one => one.path.join(' ') === words);
  if (found === undefined) throw new Error(`no command ${words}`);
  return found;
}

t.test('the first words choose a command, help or the version', async t => {
  const rows: readonly (readonly [string, object])[] = [
    ['', { kind: 'help', words: [] }],
    ['--help', { kind: 'help', words: [] }],
    ['-h', { kind: 'help', words: [] }],
    ['--version', { kind: 'version' }],
    ['help', { kind: 'help', words: [] }],
    ['help all', { kind: 'help', words: ['all'] }],
    ['help service create', { kind: 'help', words: ['service', 'create'] }],
    ['service', { kind: 'help', words: ['service'] }],
    ['service --help', { kind: 'help', words: ['service'] }],
    ['node ls -q', { kind: 'command', command: { path: ['node', 'ls'] }, rest: ['-q'] }],
    ['--socket /s node ls', { kind: 'command', command: { path: ['node', 'ls'] }, rest: ['--socket', '/s'] }],
    ['--socket=/s info', { kind: 'command', command: { path: ['info'] }, rest: ['--socket=/s'] }],
  ];
  for (const [line, expected] of rows)
    t.match(
      findCommand(
        line.split(' ').filter(word => word !== ''),
        commandTree,
      ),
      expected,
      line,
    );
});

t.test('an unknown word is refused with the nearest one', async t => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['service creat', 'Cannot run "covey service creat": no such command', 'covey service create'],
    ['servce ls', 'Cannot run "covey servce": no such command', 'covey service'],
    ['xyzzy', 'Cannot run "covey xyzzy": no such command', 'covey help all'],
    ['service frobnicate', 'Cannot run "covey service frobnicate": no such command', 'covey service --help'],
    ['--sokcet /x info', 'Cannot run "covey --sokcet": no such option', 'covey --socket'],
  ];
  for (const [line, message, hint] of rows) {
    t.throws(() => findCommand(line.split(' '), commandTree), { code: 'unknown-command', message, hint }, line);
  }
});

t.test('options are taken in all the ways that Docker takes them', async t => {
  const rows: readonly (readonly [string, readonly string[], Readonly<Record<string, unknown>>])[] = [
    ['-p8080:80 -p 53:53 x', ['x'], { publish: ['8080:80', '53:53'] }],
    ['--publish=8080:80 --env=A=B x', ['x'], { publish: ['8080:80'], env: ['A=B'] }],
    ['-dt x', ['x'], { detach: true, tty: true }],
    ['--detach=false x', ['x'], { detach: false }],
    ['--detach=true x', ['x'], { detach: true }],
    ['--no-healthcheck x', ['x'], { 'no-healthcheck': true }],
    ['x sh -c --no-color -p', ['x', 'sh', '-c', '--no-color', '-p'], {}],
    ['-e --no-x x', ['x'], { env: ['--no-x'] }],
    ['x -- -p', ['x', '--', '-p'], {}],
    ['-- x -p', ['x', '-p'], {}],
  ];
  for (const [line, args, flags] of rows) {
    const parsed = await parseLine(command('service create'), line.split(' '));
    t.same(parsed.args, args, line);
    for (const [name, value] of Object.entries(flags)) {
      t.same(
        typeof value === 'boolean' ? parsed.flags.onOff(name) : parsed.flags.list(name),
        value,
        `${line}: ${name}`,
      );
    }
  }
});

t.test('a wrong line is refused with what would be right', async t => {
  const rows: readonly (readonly [string, string, object])[] = [
    [
      'node ls',
      '--fromat json',
      {
        code: 'unknown-command',
        message: 'Cannot run "covey node ls --fromat": no such option',
        hint: 'covey node ls --format',
      },
    ],
    ['node ls', '-z', { code: 'unknown-command', message: /-z/ }],
    ['node ls', 'a', { code: 'bad-argument', message: 'Cannot run "covey node ls" with "a" as well' }],
    [
      'service create',
      '--name',
      { code: 'bad-argument', message: 'Cannot run "covey service create": --name needs a value' },
    ],
    ['service create', '', { code: 'bad-argument', message: 'Cannot run "covey service create" without IMAGE' }],
    ['service create', '--init=maybe x', { code: 'bad-argument', message: 'Cannot use "maybe" for --init' }],
    ['explain', 'a b', { code: 'bad-argument' }],
  ];
  for (const [words, line, expected] of rows) {
    await t.rejects(
      parseLine(
        command(words),
        line.split(' ').filter(word => word !== ''),
      ),
      expected as { readonly code: string },
      `${words} ${line}`,
    );
  }
});

t.test('values of options are refused with what would be valid', async t => {
  const { flags } = await parseLine(command('service create'), [
    '--stop-grace-period',
    '10',
    '--replicas',
    'x',
    'hello',
  ]);
  t.throws(() => flags.durationMs('stop-grace-period'), {
    code: 'bad-argument',
    message: 'Cannot use "10" for --stop-grace-period',
    hint: /30s/,
  });
  t.throws(() => flags.integer('replicas', { min: 0, max: 5 }), {
    message: 'Cannot use "x" for --replicas',
    hint: /from 0 to 5/,
  });
  t.equal(flags.text('name'), undefined);
});
