/**
 * `covey node drain|pause|activate`: what a node may have of tasks, as verbs.
 *
 * Not here: the same by --availability, labels, links (node.ts), the waiting (drain.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Availability } from '../../gen/types.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, type Invocation, waitOptions } from '../definition.js';
import { waitForDrain } from '../drain.js';
import { exitCodes } from '../output/errors.js';
import { listNodes } from './node.js';

const nodeArgs = [{ name: 'NODE', needed: true, many: true, completes: 'node' }] as const;

export const nodeDrainCommands: readonly CommandDefinition[] = [
  {
    path: ['node', 'drain'],
    says: 'Move the tasks of nodes elsewhere',
    about:
      'Each task stops when another one runs in its place, and what finds no place elsewhere stays, with the reason told. Tasks of global services stop last. With --deadline or --force all are stopped all the same. The node gets no tasks until "covey node activate".',
    args: [...nodeArgs],
    options: [
      { flags: '--deadline <duration>', says: 'Stop what is still there after so long, whether or not others run' },
      { flags: '-f, --force', says: 'Stop all tasks at once' },
      ...waitOptions,
    ],
    examples: [
      { says: 'empty a machine before its repair', line: 'covey node drain rack2' },
      { says: 'within ten minutes, whatever happens', line: 'covey node drain --deadline 10m rack2' },
    ],
    run: runDrain,
  },
  {
    path: ['node', 'pause'],
    says: 'Give nodes no new tasks; those that they have run on',
    args: [...nodeArgs],
    options: [],
    examples: [
      { says: 'a machine that is busy enough', line: 'covey node pause rack2' },
      { says: 'and back', line: 'covey node activate rack2' },
    ],
    run: (invocation, context) => runAvailability(invocation, context, 'pause'),
  },
  {
    path: ['node', 'activate'],
    says: 'Give nodes tasks again, after a drain or a pause',
    args: [...nodeArgs],
    options: [],
    examples: [
      { says: 'a machine that is repaired', line: 'covey node activate rack2' },
      { says: 'two of them', line: 'covey node activate rack2 rack3' },
    ],
    run: (invocation, context) => runAvailability(invocation, context, 'active'),
  },
];

async function runDrain({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const startedMs = context.console.clock.monotonicMs();
  const deadlineMs = flags.durationMs('deadline');
  if (deadlineMs !== undefined && flags.isOn('force')) {
    throw new CoveyError('bad-argument', 'Cannot drain with --deadline and --force: --force means now');
  }
  const drainWithinMs = flags.isOn('force') ? 0 : deadlineMs;
  const nodes = await listNodes(context, args);
  for (const { node } of nodes) {
    await control.updateNode(
      { node: node.id, version: 0, availability: 'drain', labelsAdd: {}, labelsRemove: [], drainWithinMs },
      { signal: context.signal },
    );
  }
  for (const { node } of nodes) {
    const { name } = node.spec;
    if (!flags.isOn('detach')) {
      const request = { tables: ['task', 'node'], service: '', stack: '' };
      const look = `covey node ls -f name=${name}`;
      const code = await waitForDrain(context, { request, what: name, look, flags, startedMs, nodeId: node.id });
      if (code !== exitCodes.done) return code;
    }
    await context.print(name);
  }
  return exitCodes.done;
}

async function runAvailability(
  { args }: Invocation,
  context: CliContext,
  availability: Exclude<Availability, 'drain'>,
): Promise<number> {
  const { control } = await context.connect();
  for (const { node } of await listNodes(context, args)) {
    await control.updateNode(
      { node: node.id, version: 0, availability, labelsAdd: {}, labelsRemove: [] },
      { signal: context.signal },
    );
    await context.print(node.spec.name);
  }
  return exitCodes.done;
}
