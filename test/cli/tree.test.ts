import t from 'tap';
import { globalOptions } from '../../src/cli/definition.js';
import { renderHelp } from '../../src/cli/output/help.js';
import { findCommand, longName, parseLine, shortName } from '../../src/cli/parse.js';
import { commandTree } from '../../src/cli/tree.js';
import { parseWords } from '../../src/tasks/spec/values.js';

const visible = commandTree.filter(one => one.hidden !== true);

t.test('the commands are those of the design', async t => {
  t.same(visible.map(one => one.path.join(' ')).sort(), [
    'address add',
    'address ls',
    'address rm',
    'attach',
    'cluster backup',
    'cluster ca rotate',
    'cluster ca show',
    'cluster inspect',
    'cluster recover',
    'cluster restore',
    'cluster update',
    'completion',
    'cp',
    'doctor',
    'exec',
    'explain',
    'image export',
    'image fsck',
    'image import',
    'image inspect',
    'image ls',
    'image prune',
    'image pull',
    'image rm',
    'image tag',
    'info',
    'init',
    'join',
    'leave',
    'login',
    'logout',
    'logs',
    'network capture',
    'network connect',
    'network create',
    'network disconnect',
    'network inspect',
    'network ls',
    'network policy allow',
    'network policy ls',
    'network policy rm',
    'network policy set',
    'network rm',
    'network trace',
    'network update',
    'node activate',
    'node demote',
    'node drain',
    'node inspect',
    'node ls',
    'node pause',
    'node promote',
    'node rm',
    'node update',
    'rebalance',
    'service create',
    'service history',
    'service inspect',
    'service logs',
    'service ls',
    'service ps',
    'service rm',
    'service rollback',
    'service scale',
    'service update',
    'stack deploy',
    'stack ls',
    'stack ps',
    'stack rm',
    'stack services',
    'stats',
    'task exec',
    'task inspect',
    'task kill',
    'task logs',
    'task ls',
    'task pause',
    'task restart',
    'task stop',
    'task top',
    'task unpause',
    'task wait',
    'token ls',
    'token manager',
    'token node',
    'token rm',
    'token worker',
    'unlock',
    'unlock-key',
    'version',
    'volume create',
    'volume inspect',
    'volume ls',
    'volume prune',
    'volume rm',
  ]);
});

t.test('every command has two examples at least, and each of them parses', async t => {
  for (const command of visible) {
    t.ok(command.examples.length >= 2, `${command.path.join(' ')} has ${command.examples.length}`);
    for (const example of command.examples) {
      const line = /covey [^()<>|]*/.exec(example.line)?.[0] ?? '';
      const words = parseWords(line.replace(/ [<>].*$/, ''));
      if (words.kind === 'bad') throw new Error(`${line}: ${words.valid}`);
      const found = findCommand(words.value.slice(1), commandTree);
      t.equal(found.kind, 'command', example.line);
      if (found.kind === 'command') await t.resolves(parseLine(found.command, found.rest), example.line);
    }
  }
});

t.test('no command has two options of one name', async t => {
  for (const command of commandTree) {
    const options = [...command.options, ...globalOptions];
    const names = [...options.map(longName), ...options.flatMap(option => shortName(option) ?? [])];
    t.same(
      names.filter((name, at) => names.indexOf(name) !== at),
      [],
      command.path.join(' '),
    );
    t.notOk(
      options.some(option => longName(option) === ''),
      command.path.join(' '),
    );
  }
});

t.test('what takes a list or waits has the options for it', async t => {
  for (const command of visible) {
    const names = command.options.map(longName);
    if (command.path[1] === 'ls' || command.path[1] === 'ps')
      t.ok(
        ['filter', 'format', 'quiet', 'no-trunc', 'sort'].every(name => names.includes(name)),
        command.path.join(' '),
      );
    if (names.includes('detach') && command.path.at(-1) !== 'exec')
      t.ok(names.includes('timeout'), command.path.join(' '));
  }
});

t.test('help shows the ten commands of the first day, all on request, and one with its examples', async t => {
  const first = renderHelp(commandTree, [], 80);
  t.equal(first.split('\n').filter(line => line.startsWith('  ')).length, 10);
  const all = renderHelp(commandTree, ['all'], 100);
  for (const command of visible) t.match(all, `  ${command.path.join(' ')} `);
  t.notMatch(all, '__complete');
  const one = renderHelp(commandTree, ['service', 'scale'], 80);
  t.match(one, 'Usage:  covey service scale [OPTIONS] SERVICE=REPLICAS…');
  t.match(one, '  covey service scale web=5');
  t.match(renderHelp(commandTree, ['node'], 80), '  node update ');
  t.throws(() => renderHelp(commandTree, ['servce'], 80), { code: 'unknown-command', hint: 'covey help service' });
  for (const command of visible) {
    const long = renderHelp(commandTree, command.path, 80)
      .split('\n')
      .filter(
        line =>
          line.startsWith('  ') &&
          !line.startsWith('  covey') &&
          line.length > 80 &&
          !/^ {2}(#|sudo|source)/.test(line),
      );
    t.same(long, [], `${command.path.join(' ')} fits 80 columns`);
  }
});
