/**
 * Help: the ten commands of the first day, the commands of a noun, everything, or one command with its options and examples.
 *
 * Not here: the texts (the definitions in commands/).
 */
import { CoveyError } from '../../errors.js';
import { nearest } from '../../nearest.js';
import { type CommandDefinition, globalOptions, type OptionDefinition } from '../definition.js';
import { usageOf } from '../parse.js';
import { padText, wrapWords } from './text.js';

/** What a newcomer needs, in the order in which it is needed. */
const firstDay: readonly (readonly [title: string, paths: readonly string[]])[] = [
  ['Make a cluster', ['init', 'token worker', 'join']],
  ['Run something', ['image pull', 'stack deploy', 'service create']],
  ['Look around', ['node ls', 'service ps', 'service logs', 'doctor']],
];

const titles: Readonly<Record<string, string>> = {
  node: 'Nodes',
  service: 'Services',
  task: 'Tasks',
  stack: 'Stacks',
  image: 'Images',
  network: 'Networks',
  volume: 'Volumes',
  token: 'Tokens',
};

/** Ends with a line feed. `words` are those after "help". */
export function renderHelp(tree: readonly CommandDefinition[], words: readonly string[], width: number): string {
  const visible = tree.filter(one => one.hidden !== true);
  const [first] = words;
  if (first === undefined) return renderFirstDay(visible, width);
  if (first === 'all') return renderAll(visible, width);
  const exact = visible.find(one => one.path.join(' ') === words.join(' '));
  if (exact !== undefined) return renderCommand(exact, visible, width);
  const ofNoun = visible.filter(one => one.path[0] === first);
  if (ofNoun.length > 0) return renderNoun(first, ofNoun, width);
  const near = nearest(first, [...new Set(visible.map(one => one.path[0] ?? ''))]);
  throw new CoveyError('unknown-command', `Cannot help with "covey ${words.join(' ')}": no such command`, {
    hint: `covey help ${near ?? 'all'}`,
  });
}

function renderFirstDay(tree: readonly CommandDefinition[], width: number): string {
  const groups = firstDay.map(([title, paths]) => ({
    title,
    commands: paths.flatMap(path => tree.find(one => one.path.join(' ') === path) ?? []),
  }));
  return [
    'covey runs containers on many machines as one cluster.',
    '',
    ...renderGroups(groups, width),
    'All commands: covey help all · one command: covey COMMAND --help · an error code: covey explain CODE',
    '',
  ].join('\n');
}

function renderAll(tree: readonly CommandDefinition[], width: number): string {
  const nouns = [...new Set(tree.filter(one => one.path.length > 1).map(one => one.path[0] ?? ''))];
  const alone = tree.filter(one => one.path.length === 1 && !nouns.includes(one.path[0] ?? ''));
  const groups = [
    { title: 'This machine', commands: alone },
    ...nouns.map(noun => ({ title: titles[noun] ?? noun, commands: tree.filter(one => one.path[0] === noun) })),
  ];
  return [
    'Usage:  covey [--socket PATH] COMMAND',
    '',
    ...renderGroups(groups, width),
    'Options of every command:',
    ...renderOptions(globalOptions, width),
    '',
    'Exit codes: 0 done · 1 failed · 2 wrong usage · 3 not converged in time · 4 not found · 5 refused in the present state',
    '6 no connection · exec passes the code of the program on (125, 126, 127 as Docker)',
    '',
  ].join('\n');
}

function renderNoun(noun: string, commands: readonly CommandDefinition[], width: number): string {
  return [
    `Usage:  covey ${noun} COMMAND`,
    '',
    ...renderGroups([{ title: titles[noun] ?? noun, commands }], width),
    `One command: covey ${noun} COMMAND --help`,
    '',
  ].join('\n');
}

interface Group {
  readonly title: string;
  readonly commands: readonly CommandDefinition[];
}

function renderGroups(groups: readonly Group[], width: number): readonly string[] {
  const names = groups.flatMap(group => group.commands.map(one => one.path.join(' ').length));
  const column = Math.max(0, ...names) + 3;
  return groups.flatMap(group => [
    `${group.title}:`,
    ...group.commands.map(one =>
      `  ${padText(one.path.join(' '), column, 'left')}${one.says}`.slice(0, Math.max(width, 60)),
    ),
    '',
  ]);
}

function renderCommand(command: CommandDefinition, tree: readonly CommandDefinition[], width: number): string {
  const below = tree.filter(
    one => one.path.length > command.path.length && command.path.every((word, at) => one.path[at] === word),
  );
  return [
    `Usage:  ${usageOf(command)}`,
    '',
    command.says,
    ...(command.about === undefined ? [] : ['', ...command.about.split('\n').flatMap(line => wrapWords(line, width))]),
    '',
    ...(command.options.length > 0 ? ['Options:', ...renderOptions(command.options, width), ''] : []),
    ...(below.length > 0 ? renderGroups([{ title: 'Commands', commands: below }], width) : []),
    'Examples:',
    ...command.examples.flatMap(example => [`  # ${example.says}`, `  ${example.line}`]),
    '',
  ].join('\n');
}

function renderOptions(options: readonly OptionDefinition[], width: number): readonly string[] {
  const shown = options.map(option => (option.flags.startsWith('--') ? `    ${option.flags}` : option.flags));
  const column = Math.min(38, Math.max(...shown.map(text => text.length)) + 2);
  return options.flatMap((option, at) => {
    const [head = '', ...rest] = wrapWords(
      option.many ? `${option.says} (repeatable)` : option.says,
      Math.max(30, width - column - 2),
    );
    const flags = shown[at] ?? '';
    const first =
      flags.length + 2 > column
        ? [`  ${flags}`, `  ${' '.repeat(column)}${head}`]
        : [`  ${padText(flags, column, 'left')}${head}`];
    return [...first, ...rest.map(line => `  ${' '.repeat(column)}${line}`)];
  });
}
