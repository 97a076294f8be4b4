/**
 * Join tokens: made for workers or managers, listed, removed. The secret is shown once.
 *
 * Not here: what a token is made of (daemon/ca).
 */
import type { JoinToken, NodeRole } from '../../gen/types.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, clusterListOptions, type Invocation } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { type ListView, printList } from '../output/list.js';
import { renderAge, renderTime } from '../output/values.js';
import { labelsOf } from './cluster.js';

const createOptions = [
  { flags: '--expires <duration>', says: 'Valid no longer than this, such as 1h (default: for ever)' },
  { flags: '--uses <number>', says: 'Good for so many machines (default: no limit)' },
  { flags: '-l, --label <label>', says: 'Label of the token, KEY=VALUE', many: true },
  { flags: '-q, --quiet', says: 'Print only the token' },
];

function createCommand(role: NodeRole): CommandDefinition {
  return {
    path: ['token', role],
    says: `Make a token with which a machine joins as a ${role}`,
    args: [],
    options: createOptions,
    examples: [
      { says: 'print the line to run on the new machine', line: `covey token ${role}` },
      { says: 'for one machine, within the hour', line: `covey token ${role} --uses 1 --expires 1h` },
    ],
    run: (invocation, context) => runCreate(role, invocation, context),
  };
}

export const tokenCommands: readonly CommandDefinition[] = [
  createCommand('worker'),
  createCommand('manager'),
  {
    path: ['token', 'node'],
    says: 'Make a token with which a node comes back as the node that it was',
    about:
      'For a machine whose certificate ended longer ago than the grace, or whose disk was replaced. It keeps id, name, labels and tasks. The token is good once, within a day unless --expires says otherwise.',
    args: [{ name: 'NODE', needed: true, completes: 'node' }],
    options: [
      { flags: '--expires <duration>', says: 'Valid no longer than this, such as 1h (default: 1d)' },
      { flags: '-q, --quiet', says: 'Print only the token' },
    ],
    examples: [
      { says: 'a machine that was off for a year', line: 'covey token node rack3' },
      { says: 'only the token, for a script', line: 'covey token node -q rack3' },
    ],
    run: runNode,
  },
  {
    path: ['token', 'ls'],
    says: 'List tokens',
    args: [],
    options: clusterListOptions,
    examples: [
      { says: 'all tokens', line: 'covey token ls' },
      { says: 'those for managers, for a program', line: 'covey token ls --filter role=manager --format json' },
    ],
    run: runList,
  },
  {
    path: ['token', 'rm'],
    says: 'Remove tokens; machines that joined with them stay',
    args: [{ name: 'TOKEN', needed: true, many: true }],
    options: [],
    examples: [
      { says: 'one, by the beginning of its id', line: 'covey token rm k3f9' },
      { says: 'all', line: 'covey token rm $(covey token ls -q)' },
    ],
    run: runRemove,
  },
];

async function runCreate(role: NodeRole, { flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const answer = await control.createJoinToken(
    {
      role,
      expiresMs: flags.durationMs('expires') ?? 0,
      usesMax: flags.integer('uses', { min: 1, max: 1_000_000 }) ?? 0,
      labels: labelsOf(flags),
    },
    { signal: context.signal },
  );
  const line = `covey join --token ${answer.token} ${answer.address}`;
  await context.print(flags.isOn('quiet') ? answer.token : `On the new ${role}:\n\n  ${line}\n`);
  return exitCodes.done;
}

async function runNode({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const [node = ''] = args;
  const answer = await control.createJoinToken(
    { role: 'worker', expiresMs: flags.durationMs('expires') ?? 0, usesMax: 1, labels: {}, node },
    { signal: context.signal },
  );
  const line = `covey join --token ${answer.token} ${answer.address}`;
  await context.print(flags.isOn('quiet') ? answer.token : `On ${node}:\n\n  ${line}\n`);
  return exitCodes.done;
}

function viewOf(nowMs: number): ListView<JoinToken> {
  return {
    columns: [
      { header: 'TOKEN' },
      { header: 'ROLE' },
      { header: 'USES', align: 'right' },
      { header: 'EXPIRES' },
      { header: 'AGE' },
    ],
    row: token => [
      token.id.slice(0, 12),
      token.nodeId === undefined ? token.role : `node ${token.nodeId.slice(0, 6)}`,
      token.usesMax === 0 ? String(token.uses) : `${token.uses} of ${token.usesMax}`,
      expiryText(token, nowMs),
      renderAge(nowMs - token.meta.createdAtMs),
    ],
    record: token => ({
      id: token.id,
      role: token.role,
      nodeId: token.nodeId ?? '',
      uses: token.uses,
      usesMax: token.usesMax,
      expiresAt: renderTime(token.expiresAtMs),
      labels: token.labels,
      createdAt: renderTime(token.meta.createdAtMs),
    }),
    id: token => token.id,
    name: token => token.id,
  };
}

function expiryText(token: JoinToken, nowMs: number): string {
  if (token.expiresAtMs === 0) return 'never';
  return token.expiresAtMs <= nowMs ? 'expired' : `in ${renderAge(token.expiresAtMs - nowMs)}`;
}

async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const { tokens } = await control.listJoinTokens({}, { signal: context.signal });
  await printList(context, flags, { view: viewOf(context.console.clock.wallMs()), items: tokens });
  return exitCodes.done;
}

async function runRemove({ args }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  for (const object of args) {
    const { id } = await control.removeJoinToken({ object }, { signal: context.signal });
    await context.print(id);
  }
  return exitCodes.done;
}
