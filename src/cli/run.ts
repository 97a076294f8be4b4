/**
 * One run of the command line, from its words to its exit code. Whatever fails is rendered here, once, on standard error.
 *
 * Called by main.ts, and by tests with a console of their own.
 *
 * Not here: parsing (parse.ts), the commands (tree.ts, commands/).
 */
import type { Console } from '../console.js';
import { CoveyError } from '../errors.js';
import { isCancellation } from '../lifetime.js';
import { openContext } from './context.js';
import type { CommandDefinition } from './definition.js';
import { exitCodeOf, exitCodes, renderError } from './output/errors.js';
import { renderHelp } from './output/help.js';
import { findCommand, parseLine } from './parse.js';
import { commandTree } from './tree.js';

export async function run(console: Console, tree: readonly CommandDefinition[] = commandTree): Promise<number> {
  const colours = console.stderr.isTerminal && !console.env['NO_COLOR'] && console.env['TERM'] !== 'dumb';
  try {
    const line = findCommand(console.args, tree);
    if (line.kind === 'help') return await printHelp(console, tree, line.words);
    const command = line.kind === 'command' ? line.command : tree.find(one => one.path[0] === 'version');
    if (command === undefined) throw new CoveyError('bug', 'Cannot find the command "version"');
    return await runCommand(console, command, { tree, rest: line.kind === 'command' ? line.rest : [] });
  } catch (error) {
    if (console.stdout.gone.aborted) return exitCodes.brokenPipe;
    await console.stderr.write(
      renderError(error, { colours, columns: console.stderr.size().columns, isTerminal: console.stderr.isTerminal }),
    );
    return exitCodeOf(error);
  }
}

async function printHelp(
  console: Console,
  tree: readonly CommandDefinition[],
  words: readonly string[],
): Promise<number> {
  await console.stdout.write(renderHelp(tree, words, helpWidth(console)));
  return exitCodes.done;
}

function helpWidth(console: Console): number {
  return console.stdout.isTerminal ? Math.min(100, console.stdout.size().columns) : 100;
}

interface RunOptions {
  readonly tree: readonly CommandDefinition[];
  readonly rest: readonly string[];
}

async function runCommand(console: Console, command: CommandDefinition, options: RunOptions): Promise<number> {
  const parsed = await parseLine(command, options.rest);
  if (parsed.help) return await printHelp(console, options.tree, command.path);
  const controller = new AbortController();
  const interrupted = new CoveyError('cancelled', 'Cannot go on: interrupted');
  using _interrupts = console.onInterrupt(() => controller.abort(interrupted));
  const signal = AbortSignal.any([controller.signal, console.stdout.gone]);
  const context = openContext(console, { flags: parsed.flags, signal });
  try {
    return await command.run({ args: parsed.args, flags: parsed.flags }, context);
  } catch (error) {
    if (controller.signal.aborted && isCancellation(error)) return exitCodes.interrupted;
    throw error;
  } finally {
    context.close();
  }
}
