/**
 * Commands about covey itself: version, explain, completion and the hidden one behind completion.
 *
 * Not here: help (output/help.ts, found by parse.ts).
 */
import { errorCodes, isErrorCode } from '../../error-codes.js';
import { CoveyError } from '../../errors.js';
import { nearest } from '../../nearest.js';
import { version } from '../../version.js';
import { completionScript, isShell, planCompletion } from '../completion.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, formatOption, type Invocation } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { parseFormat } from '../output/format.js';
import { printRecords } from '../output/list.js';
import { wrapWords } from '../output/text.js';
import { taskName } from '../records.js';
import { listImages } from './image.js';
import { listNetworks } from './network.js';
import { listNodes } from './node.js';
import { listServices } from './service/actions.js';
import { summariseStacks } from './stack.js';
import { listTasks } from './task.js';
import { volumeNames } from './volume.js';

const answerTimeoutMs = 2_000;

/** `tree` gives all commands, for completion. */
export function generalCommands(tree: () => readonly CommandDefinition[]): readonly CommandDefinition[] {
  return [
    {
      path: ['version'],
      says: 'Show the versions of this program and of the daemon',
      args: [],
      options: [formatOption],
      examples: [
        { says: 'both', line: 'covey version' },
        { says: 'the daemon, for a script', line: "covey version --format '{{.daemon}}'" },
      ],
      run: runVersion,
    },
    {
      path: ['explain'],
      says: 'Explain the code of an error or finding',
      args: [{ name: 'CODE', needed: false, completes: Object.keys(errorCodes) }],
      options: [],
      examples: [
        { says: 'one code', line: 'covey explain subnet-exhausted' },
        { says: 'all codes there are', line: 'covey explain' },
      ],
      run: runExplain,
    },
    {
      path: ['completion'],
      says: 'Print the completion script for a shell',
      args: [{ name: 'bash|zsh|fish', needed: true, completes: ['bash', 'zsh', 'fish'] }],
      options: [],
      examples: [
        { says: 'bash, for this shell', line: 'source <(covey completion bash)' },
        { says: 'fish, for good', line: 'covey completion fish > ~/.config/fish/completions/covey.fish' },
      ],
      run: runCompletion,
    },
    {
      path: ['__complete'],
      says: 'Candidates for a command line that is being typed',
      args: [{ name: 'WORD', needed: false, many: true }],
      options: [],
      passThrough: true,
      hidden: true,
      examples: [],
      run: (invocation, context) => runComplete(invocation, context, tree()),
    },
  ];
}

/** A daemon that does not answer is an error, after what can be said without it. */
async function runVersion({ flags }: Invocation, context: CliContext): Promise<number> {
  const format = parseFormat(flags.text('format') ?? 'table');
  if (format.kind === 'table') await context.print(`covey   ${version}`);
  const { local } = await context.connect();
  const info = await local.info({}, { signal: context.signal, timeoutMs: answerTimeoutMs });
  if (format.kind === 'table') await context.print(`coveyd  ${info.version}`);
  else await printRecords(context, format, [{ record: { version, daemon: info.version }, name: version }]);
  return exitCodes.done;
}

async function runExplain({ args }: Invocation, context: CliContext): Promise<number> {
  const [code] = args;
  if (code === undefined) {
    for (const known of Object.keys(errorCodes)) await context.print(known);
    return exitCodes.done;
  }
  if (!isErrorCode(code)) {
    const near = nearest(code, Object.keys(errorCodes));
    throw new CoveyError('not-found', `Cannot explain "${code}": there is no such code`, {
      hint: near === undefined ? 'covey explain' : `covey explain ${near}`,
    });
  }
  const columns = context.isInteractive
    ? Math.min(100, context.console.stdout.size().columns)
    : Number.POSITIVE_INFINITY;
  await context.print(wrapWords(errorCodes[code], columns).join('\n'));
  return exitCodes.done;
}

async function runCompletion({ args }: Invocation, context: CliContext): Promise<number> {
  const [shell = ''] = args;
  if (!isShell(shell))
    throw new CoveyError('bad-argument', `Cannot complete in the shell "${shell}"`, { hint: 'bash, zsh or fish' });
  await context.console.stdout.write(completionScript(shell));
  return exitCodes.done;
}

/** A line for each candidate. What cannot be found out gives none: a completion never prints an error. */
async function runComplete(
  { args }: Invocation,
  context: CliContext,
  tree: readonly CommandDefinition[],
): Promise<number> {
  const plan = planCompletion(tree, args);
  const lines =
    plan.kind === 'words' ? plan.words : plan.kind === 'file' ? [':file'] : await namesOf(plan.object, context);
  for (const line of lines.filter(word => word === ':file' || word.startsWith(plan.beginning)))
    await context.print(line);
  return exitCodes.done;
}

async function namesOf(object: string, context: CliContext): Promise<readonly string[]> {
  try {
    switch (object) {
      case 'node':
        return (await listNodes(context, [])).map(({ node }) => node.spec.name);
      case 'service':
        return (await listServices(context, [])).map(({ service }) => service.spec.name);
      case 'stack':
        return summariseStacks(await listServices(context, [])).map(({ name }) => name);
      case 'task':
        return (await listTasks(context, { current: true })).map(({ task, nodes }) => taskName(task, nodes));
      case 'image':
        return (await listImages(context)).map(({ name }) => name).filter(name => name !== '');
      case 'volume':
        return await volumeNames(context);
      case 'network':
        return (await listNetworks(context, [])).map(({ network }) => network.spec.name);
      default:
        return [];
    }
  } catch {
    return []; // no daemon, no rights: nothing to offer
  }
}
