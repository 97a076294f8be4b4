/**
 * `covey network capture` and `covey network trace`: packets of a task, which the tools of its host do not see, and their way
 * through the rules.
 *
 * Not here: looking at them (netns/, on the task's node).
 */
import { CoveyError } from '../../errors.js';
import type { CaptureLink, CaptureStart } from '../../gen/types.js';
import { asId, type TaskId } from '../../ids.js';
import type { CliContext } from '../context.js';
import type { CommandDefinition, Invocation, OptionDefinition } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { oneOf } from './service/one-of.js';

const taskArg = { name: 'TASK', needed: true, completes: 'task' } as const;
const filterOptions: readonly OptionDefinition[] = [
  { flags: '-c, --count <number>', says: 'End after so many packets' },
  { flags: '--host <address>', says: 'Only packets from or to this address' },
  { flags: '--port <port>', says: 'Only TCP and UDP from or to this port' },
];

export const networkCaptureCommands: readonly CommandDefinition[] = [
  {
    path: ['network', 'capture'],
    says: 'Write the packets of a task to standard output, in the form of tcpdump and Wireshark',
    about:
      'Containers live in a namespace of their own, so tcpdump on the host does not see their packets. This looks at the link of the task on whichever node it runs, or at a tunnel of that node, until it is interrupted.',
    args: [taskArg],
    options: [
      ...filterOptions,
      {
        flags: '--link <link>',
        says: 'task (default: as its containers see it), overlay or ingress (the tunnels of its node), host (its way out)',
        completes: ['task', 'overlay', 'ingress', 'host'],
      },
    ],
    examples: [
      { says: 'read along', line: 'covey network capture web.1 | tcpdump -nr -' },
      {
        says: 'a hundred packets of a database, for later',
        line: 'covey network capture -c 100 --port 5432 db.1 > db.pcap',
      },
    ],
    run: (invocation, context) => run(invocation, context, false),
  },
  {
    path: ['network', 'trace'],
    says: 'Show the way of packets of a task through the rules of its node',
    about:
      'Each packet that the task sends or gets is told with the rules that it meets, what it becomes (a virtual address becomes that of a task), and where it ends. At most 20 packets a second are followed, until it is interrupted.',
    args: [taskArg],
    options: filterOptions,
    examples: [
      { says: 'why does web.1 not reach the database?', line: 'covey network trace --port 5432 web.1' },
      { says: 'the next packet to an address', line: 'covey network trace -c 1 --host 10.208.0.9 web.1' },
    ],
    run: (invocation, context) => run(invocation, context, true),
  },
];

async function run({ args, flags }: Invocation, context: CliContext, trace: boolean): Promise<number> {
  const { control } = await context.connect();
  const { stdout } = context.console;
  if (!trace && stdout.isTerminal) {
    throw new CoveyError('bad-argument', 'Cannot write packets to a terminal', {
      hint: `covey network capture ${args[0] ?? 'TASK'} | tcpdump -nr -`,
    });
  }
  const link = flags.parsed('link', oneOf<CaptureLink>('task', 'overlay', 'ingress', 'host'));
  const start: CaptureStart = {
    taskId: asId<TaskId>(''),
    link: link ?? 'task',
    count: flags.integer('count', { min: 1, max: 1_000_000 }) ?? 0,
    address: flags.text('host') ?? '',
    port: flags.integer('port', { min: 1, max: 65_535 }) ?? 0,
    trace,
  };
  const signal = AbortSignal.any([context.signal, stdout.gone]);
  try {
    for await (const { data } of control.capture({ task: args[0] ?? '', start }, { signal })) await stdout.write(data);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return exitCodes.done;
}
