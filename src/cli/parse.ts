/**
 * From the words of a command line to a command and its options: the path of words is found in the tree, the rest is parsed by
 * commander for that one command. Every refusal is a CoveyError that names the nearest word.
 *
 * Not here: the commands (tree.ts), help (output/help.ts).
 */
import { CoveyError } from '../errors.js';
import { nearest } from '../nearest.js';
import { type CommandDefinition, globalOptions, type OptionDefinition } from './definition.js';
import { type Flags, readFlags } from './flags.js';

export type Line =
  | { readonly kind: 'command'; readonly command: CommandDefinition; readonly rest: readonly string[] }
  /** Help of a command, of a noun, of the first day (no words) or of all. */
  | { readonly kind: 'help'; readonly words: readonly string[] }
  | { readonly kind: 'version' };

/** What the first words ask for. Options of every command may stand before them. */
export function findCommand(args: readonly string[], tree: readonly CommandDefinition[]): Line {
  const before: string[] = [];
  let at = 0;
  for (; at < args.length && (args[at] ?? '').startsWith('-'); at += 1) {
    const word = args[at] ?? '';
    if (word === '-h' || word === '--help') return { kind: 'help', words: [] };
    if (word === '-v' || word === '--version') return { kind: 'version' };
    const option = globalOptions.find(one => longName(one) === word.replace(/=.*$/su, '').slice(2));
    if (option === undefined) throw unknownOption(word, ['covey'], globalOptions);
    before.push(word);
    if (!word.includes('=') && at + 1 < args.length) {
      at += 1;
      before.push(args[at] ?? '');
    }
  }
  const words = args.slice(at);
  if (words.length === 0) return { kind: 'help', words: [] };
  if (words[0] === 'help') return { kind: 'help', words: words.slice(1) };
  const command = tree.find(one => one.path.every((word, index) => words[index] === word));
  if (command !== undefined)
    return { kind: 'command', command, rest: [...before, ...words.slice(command.path.length)] };
  const [noun = '', verb] = words;
  const isNoun = tree.some(one => one.path.length > 1 && one.path[0] === noun);
  if (isNoun && (verb === undefined || verb.startsWith('-') || verb === 'help')) return { kind: 'help', words: [noun] };
  throw unknownCommand(words, tree);
}

function unknownCommand(words: readonly string[], tree: readonly CommandDefinition[]): CoveyError {
  const [noun = '', verb] = words;
  const visible = tree.filter(one => !one.hidden);
  const ofNoun = visible.filter(one => one.path.length > 1 && one.path[0] === noun);
  const asked = ofNoun.length > 0 && verb !== undefined ? `covey ${noun} ${verb}` : `covey ${noun}`;
  const near =
    ofNoun.length > 0
      ? nearest(
          verb ?? '',
          ofNoun.map(one => one.path[1] ?? ''),
        )
      : nearest(noun, [...new Set(visible.map(one => one.path[0] ?? ''))]);
  const full = near === undefined ? undefined : ofNoun.length > 0 ? `${noun} ${near}` : near;
  const help = ofNoun.length > 0 ? `covey ${noun} --help` : 'covey help all';
  return new CoveyError('unknown-command', `Cannot run "${asked}": no such command`, {
    hint: full === undefined ? help : `covey ${full}`,
  });
}

/** "--publish" of "-p, --publish <port>", without dashes; "no-trunc" keeps its "no-". */
export function longName(option: OptionDefinition): string {
  return /--([a-z0-9-]+)/u.exec(option.flags)?.[1] ?? '';
}

export function shortName(option: OptionDefinition): string | undefined {
  return /^-([A-Za-z])\b/u.exec(option.flags)?.[1];
}

/** Whether the option takes a value. */
export function takesValue(option: OptionDefinition): boolean {
  return option.flags.includes('<');
}

function unknownOption(word: string, path: readonly string[], options: readonly OptionDefinition[]): CoveyError {
  const name = word.replace(/=.*$/su, '');
  const near = nearest(name.replace(/^-+/u, ''), options.map(longName));
  return new CoveyError('unknown-command', `Cannot run "${path.join(' ')} ${name}": no such option`, {
    hint: near === undefined ? `${path.join(' ')} --help` : `${path.join(' ')} --${near}`,
  });
}

export interface ParsedLine {
  readonly args: readonly string[];
  readonly flags: Flags;
  readonly help: boolean;
}

/** The options and arguments of a command. */
export async function parseLine(command: CommandDefinition, rest: readonly string[]): Promise<ParsedLine> {
  const { Command, CommanderError, Option } = await import('commander');
  const options = [...command.options, ...globalOptions];
  const name = `covey ${command.path.join(' ')}`;
  const parser = new Command(name)
    .exitOverride()
    .helpOption(false)
    .allowExcessArguments(true)
    .configureOutput({ writeOut: ignore, writeErr: ignore });
  if (command.passThrough) parser.enablePositionalOptions().passThroughOptions();
  for (const definition of options) {
    // "--no-x" is an option of its own here, not the opposite of "--x".
    const option = new Option(definition.flags.replace('--no-', '--not-'), definition.says);
    if (definition.many) option.argParser((value: string, all: string[] | undefined) => [...(all ?? []), value]);
    parser.addOption(option);
  }
  const expanded = expandSwitches(command, options, rest);
  try {
    parser.parse(expanded.words, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) throw usageError(error, command, options);
    throw error;
  }
  const given: Readonly<Record<string, unknown>> = parser.opts();
  const values = new Map<string, unknown>(expanded.off.map(name => [name, false]));
  for (const option of options) {
    const value = given[camelCase(longName(option).replace(/^no-/u, 'not-'))];
    if (value !== undefined) values.set(longName(option), value);
  }
  const flags = readFlags(values);
  const help = flags.isOn('help');
  if (!help) checkArguments(command, parser.args);
  return { args: parser.args, flags, help };
}

function ignore(): void {
  // commander's own words are not printed; its errors are rendered like all others.
}

function camelCase(name: string): string {
  return name.replaceAll(/-([a-z0-9])/gu, (_, letter: string) => letter.toUpperCase());
}

interface ExpandedWords {
  readonly words: readonly string[];
  /** Switches that were given as "=false". */
  readonly off: readonly string[];
}

/** "--init=true" as "--init", and "--init=false", which Docker takes and commander does not, set apart. */
function expandSwitches(
  command: CommandDefinition,
  options: readonly OptionDefinition[],
  rest: readonly string[],
): ExpandedWords {
  const words: string[] = [];
  const off: string[] = [];
  let ended = false;
  for (const [at, word] of rest.entries()) {
    const found = ended ? null : /^--([a-z-]+)=(.*)$/su.exec(word);
    const option = found === null ? undefined : options.find(one => longName(one) === found[1] && !takesValue(one));
    const previous = options.find(
      one => rest[at - 1] === `--${longName(one)}` || rest[at - 1] === `-${shortName(one)}`,
    );
    const isValue = at > 0 && previous !== undefined && takesValue(previous);
    if (word === '--' || (command.passThrough && !word.startsWith('-') && !isValue)) ended = true;
    if (isValue) words.push(word);
    else if (option === undefined) words.push(ended ? word : word.replace(/^--no-(?=[a-z])/u, '--not-'));
    else if (/^(?:true|1|t)$/iu.test(found?.[2] ?? '')) words.push(`--${longName(option)}`.replace('--no-', '--not-'));
    else if (/^(?:false|0|f)$/iu.test(found?.[2] ?? '')) off.push(longName(option));
    else {
      throw new CoveyError('bad-argument', `Cannot use "${found?.[2]}" for --${found?.[1]}`, {
        hint: 'give true or false',
      });
    }
  }
  return { words, off };
}

function usageError(
  error: { readonly code: string; readonly message: string },
  command: CommandDefinition,
  options: readonly OptionDefinition[],
): CoveyError {
  const path = ['covey', ...command.path];
  const quoted = /'([^']*)'/u.exec(error.message)?.[1] ?? '';
  const word = quoted.replace('--not-', '--no-');
  if (error.code === 'commander.unknownOption') return unknownOption(word, path, options);
  if (error.code === 'commander.optionMissingArgument') {
    const name = word.replace(/^.*--/u, '--').replace(/ <.*$/u, '');
    return new CoveyError('bad-argument', `Cannot run "${path.join(' ')}": ${name} needs a value`, {
      hint: `${path.join(' ')} --help`,
    });
  }
  return new CoveyError('bad-argument', `Cannot run "${path.join(' ')}": ${error.message.replace(/^error: /u, '')}`);
}

function checkArguments(command: CommandDefinition, args: readonly string[]): void {
  const path = `covey ${command.path.join(' ')}`;
  const missing = command.args.find((argument, at) => argument.needed && args.length <= at);
  if (missing !== undefined) {
    throw new CoveyError('bad-argument', `Cannot run "${path}" without ${missing.name}`, { hint: usageOf(command) });
  }
  const open = command.passThrough === true || command.args.at(-1)?.many === true;
  if (!open && args.length > command.args.length) {
    throw new CoveyError('bad-argument', `Cannot run "${path}" with "${args[command.args.length]}" as well`, {
      hint: usageOf(command),
    });
  }
}

/** "covey service create [OPTIONS] IMAGE [COMMAND…]". */
export function usageOf(command: CommandDefinition): string {
  const args = command.args.map(argument => {
    const name = `${argument.name}${argument.many ? '…' : ''}`;
    return argument.needed ? name : `[${name}]`;
  });
  return ['covey', ...command.path, ...(command.options.length > 0 ? ['[OPTIONS]'] : []), ...args].join(' ');
}
