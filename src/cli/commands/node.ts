/**
 * Nodes: listed, inspected, labelled, drained, removed.
 *
 * Not here: joining and leaving (cluster.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Availability, NodeLink, NodeRole } from '../../gen/types.js';
import { bad, ok } from '../../tasks/spec/values.js';
import { confirm } from '../confirm.js';
import type { CliContext } from '../context.js';
import {
  type CommandDefinition,
  clusterListOptions,
  formatOption,
  type Invocation,
  readOptions,
  waitOptions,
  yesOption,
} from '../definition.js';
import { waitForDrain } from '../drain.js';
import { countedNode, nodeView } from '../node-view.js';
import { exitCodes } from '../output/errors.js';
import { compareNames, printInspection, printList } from '../output/list.js';
import { plural } from '../output/values.js';
import { type CountedNode, nodeRecord } from '../records.js';
import { labelsOf } from './cluster.js';
import { oneOf } from './service/one-of.js';

const links: readonly NodeLink[] = ['lan', 'wan', 'metered'];

export const nodeCommands: readonly CommandDefinition[] = [
  {
    path: ['node', 'ls'],
    says: 'List the nodes of the cluster',
    args: [],
    options: clusterListOptions,
    examples: [
      { says: 'all nodes; the star marks the one that answers', line: 'covey node ls' },
      {
        says: 'names of the workers that are ready',
        line: 'covey node ls -f role=worker -f state=ready --format name',
      },
    ],
    run: runList,
  },
  {
    path: ['node', 'inspect'],
    says: 'Show all about nodes',
    args: [{ name: 'NODE', needed: true, many: true, completes: 'node' }],
    options: [formatOption, ...readOptions],
    examples: [
      { says: 'one node; "self" is the one that answers', line: 'covey node inspect rack1' },
      { says: 'where another reaches it', line: "covey node inspect --format '{{.address}}' rack1" },
    ],
    run: runInspect,
  },
  {
    path: ['node', 'update'],
    says: 'Change labels, availability and link of nodes',
    about:
      'A link says how often a node is heard of and after which silence it is lost: lan 1 s and 10 s (as init has it), wan 5 s and 30 s, metered 30 s and 2 min. With --availability drain it waits until the tasks of the node run elsewhere.',
    args: [{ name: 'NODE', needed: true, many: true, completes: 'node' }],
    options: [
      {
        flags: '--availability <availability>',
        says: 'active, pause (no new tasks) or drain (its tasks go elsewhere)',
        completes: ['active', 'pause', 'drain'],
      },
      { flags: '--label-add <label>', says: 'Add or change a label, KEY=VALUE', many: true },
      { flags: '--label-rm <key>', says: 'Remove a label', many: true },
      {
        flags: '--addr <address>',
        says: 'Tell this daemon where a manager is now (HOST or HOST:PORT), when all managers have moved',
      },
      { flags: '--link <link>', says: 'How it is connected: lan, wan or metered', completes: [...links] },
      ...waitOptions,
    ],
    examples: [
      { says: 'empty a machine before its repair', line: 'covey node update --availability drain rack2' },
      { says: 'a machine behind a mobile modem', line: 'covey node update --link metered edge-a' },
      {
        says: 'all managers have moved: on one of them, where another is',
        line: 'covey node update --addr 10.1.0.12 rack2',
      },
      { says: 'label two machines', line: 'covey node update --label-add disk=ssd rack1 rack2' },
    ],
    run: runUpdate,
  },
  {
    path: ['node', 'promote'],
    says: 'Make workers managers',
    about:
      'It waits until the new manager has the whole state of the cluster and votes. Three or five managers are a good number.',
    args: [{ name: 'NODE', needed: true, many: true, completes: 'node' }],
    options: [],
    examples: [
      { says: 'a second and a third manager', line: 'covey node promote rack2 rack3' },
      { says: 'in place of one that is to go', line: 'covey node promote rack4 && covey node demote rack2' },
    ],
    run: (invocation, context) => runRole(invocation, context, 'manager'),
  },
  {
    path: ['node', 'demote'],
    says: 'Make managers workers',
    about: 'Refused when those that remain and answer would be no majority.',
    args: [{ name: 'NODE', needed: true, many: true, completes: 'node' }],
    options: [],
    examples: [
      { says: 'a manager that is to run tasks only', line: 'covey node demote rack2' },
      { says: 'the one that answers', line: 'covey node demote self' },
    ],
    run: (invocation, context) => runRole(invocation, context, 'worker'),
  },
  {
    path: ['node', 'rm'],
    says: 'Remove nodes from the cluster',
    about:
      'Meant for nodes that are lost for good. One that is alive leaves by "covey leave" on it; --force removes it anyway.',
    args: [{ name: 'NODE', needed: true, many: true, completes: 'node' }],
    options: [{ flags: '-f, --force', says: 'Even when it is alive: its tasks are ended' }, yesOption],
    examples: [
      { says: 'a machine that will not come back', line: 'covey node rm rack3' },
      { says: 'a machine that is alive, from a script', line: 'covey node rm --force --yes rack3' },
    ],
    run: runRemove,
  },
];

export async function listNodes(context: CliContext, objects: readonly string[]): Promise<readonly CountedNode[]> {
  const { control, local } = await context.connect();
  const info = await local.info({}, { signal: context.signal });
  const named = objects.map(object => (object === 'self' ? info.nodeId : object));
  const answer = await control.listNodes({ objects: named, stack: '' }, { signal: context.signal });
  return answer.nodes
    .map(node => countedNode(node, answer, info.nodeId))
    .sort((a, b) => compareNames(a.node.spec.name, b.node.spec.name));
}

async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  await printList(context, flags, {
    view: nodeView(context.console.clock.wallMs()),
    items: await listNodes(context, []),
  });
  return exitCodes.done;
}

async function runInspect({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const nodes = await listNodes(context, args);
  await printInspection(
    context,
    flags,
    nodes.map(one => ({ record: nodeRecord(one), name: one.node.spec.name })),
  );
  return exitCodes.done;
}

async function runUpdate({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const address = flags.text('addr');
  if (address !== undefined) return await runAddress(args, address, context);
  const { control } = await context.connect();
  const startedMs = context.console.clock.monotonicMs();
  const availability = flags.parsed<Availability>('availability', text =>
    text === 'active' || text === 'pause' || text === 'drain' ? ok(text) : bad('active, pause or drain'),
  );
  const labelsAdd = labelsOf(flags, 'label-add');
  const labelsRemove = flags.list('label-rm');
  const link = flags.parsed<NodeLink>('link', oneOf(...links));
  if (
    link === undefined &&
    availability === undefined &&
    Object.keys(labelsAdd).length === 0 &&
    labelsRemove.length === 0
  ) {
    throw new CoveyError('bad-argument', 'Cannot update a node without a change', {
      hint: '--availability, --label-add, --label-rm or --link',
    });
  }
  for (const { node } of await listNodes(context, args)) {
    await control.updateNode(
      { node: node.id, version: node.meta.version, availability, labelsAdd, labelsRemove, link },
      { signal: context.signal },
    );
    const { name } = node.spec;
    if (availability === 'drain' && !flags.isOn('detach')) {
      const code = await waitForDrain(context, {
        request: { tables: ['task', 'node'], service: '', stack: '' },
        what: name,
        look: `covey node ls -f name=${name}`,
        flags,
        startedMs,
        nodeId: node.id,
      });
      if (code !== exitCodes.done) return code;
    }
    await context.print(name);
  }
  return exitCodes.done;
}

/** Of this daemon only, and without any manager: it is for the day on which none can be found. */
async function runAddress(nodes: readonly string[], address: string, context: CliContext): Promise<number> {
  const [node = '', ...others] = nodes;
  if (others.length > 0) {
    throw new CoveyError('bad-argument', `Cannot look for ${nodes.length} nodes at one address`, {
      hint: 'covey node update --addr ADDRESS NODE, for each',
    });
  }
  const { local } = await context.connect();
  const answer = await local.setNodeAddress({ node, address }, { signal: context.signal });
  await context.print(`${node} is looked for at ${answer.address}.`);
  return exitCodes.done;
}

async function runRole({ args }: Invocation, context: CliContext, role: NodeRole): Promise<number> {
  const { control } = await context.connect();
  for (const { node } of await listNodes(context, args)) {
    await control.setNodeRole({ node: node.id, role }, { signal: context.signal });
    await context.print(node.spec.name);
  }
  return exitCodes.done;
}

async function runRemove({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  for (const { node, tasks } of await listNodes(context, args)) {
    const alive = node.status.state === 'ready';
    if (alive && flags.isOn('force')) {
      await confirm(context, flags, {
        what: `remove node ${node.spec.name}`,
        losses: [`${node.spec.name} is alive and runs ${plural(tasks, 'task')}; they are ended.`],
      });
    }
    await control.removeNode({ node: node.id, force: flags.isOn('force') }, { signal: context.signal });
    await context.print(node.spec.name);
  }
  return exitCodes.done;
}
