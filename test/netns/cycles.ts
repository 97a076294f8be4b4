/**
 * Tasks of a service come and go on one of two nodes, each is asked from the other by its address and through the VIP, and goes
 * again: afterwards everything in both fabrics and on both hosts is as it was.
 *
 * Used by the test (50 times) and by `npm run torture -- cycles` (1,000).
 */
import { readdirSync } from 'node:fs';
import type { TableItem } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { forgetFlowsOf } from '../../src/netns/conntrack.js';
import {
  configure,
  endpointItem,
  get,
  inside,
  type LabNode,
  networkItem,
  nodeItem,
  openLab,
  serve,
  serviceItem,
  tables,
  taskOf,
} from './lab.js';
import { never, vip } from './stage.js';

export interface CyclesOutcome {
  readonly answered: number;
  /** What is there now and was not before, or the reverse. */
  readonly differences: readonly string[];
  /** Entries of connections to tasks that are gone. */
  readonly connections: number;
}

const asker = { task: 'asker', service: 'asker', node: 2, slot: 1, address: '10.0.1.2' };

export async function goThroughCycles(
  rounds: number,
  say: (round: number) => void = () => undefined,
): Promise<CyclesOutcome> {
  await using lab = await openLab({ nodes: 2 });
  const [home, other] = lab.nodes;
  if (home === undefined || other === undefined) throw new Error('no nodes');
  for (const node of lab.nodes) await configure(node);
  const items = tables(
    ...lab.nodes.map(nodeItem),
    networkItem('net1', '10.0.1.0/24'),
    serviceItem({ name: 'asker' }),
    serviceItem({ name: 'web', vip }),
    endpointItem(asker),
  );
  const show = (): Promise<unknown> =>
    Promise.all(lab.nodes.map(node => node.stack.applyTables(new Map<string, TableItem>(items), never)));
  const asking = await other.stack.attach(taskOf(asker), never);
  const from = { path: asking.namespacePath ?? '' };
  let answered = 0;
  const cycle = async (round: number): Promise<void> => {
    const options = { task: `t${round}x`, service: 'web', node: 1, slot: 1, address: `10.0.1.${10 + (round % 200)}` };
    const task = taskOf(options);
    const { namespacePath = '' } = await home.stack.attach(task, never);
    const namespace = linuxHost.kernel.openNamespace(namespacePath);
    const item = endpointItem(options);
    {
      await using _server = await serve(namespace, options.task, 80);
      items.set(item.key, item);
      await show();
      const answers = await Promise.all([get(from, vip, 80), get(from, options.address, 80)]);
      if (answers.every(answer => answer === `${options.task} sees ${asker.address}`)) answered += 1;
      items.delete(item.key);
      await show();
    }
    linuxHost.kernel.closeNamespace(namespace);
    await home.stack.detach(task.id);
  };
  await show();
  // What the first one makes and the next ones use (a chain for one backend) is no trace.
  await cycle(0);
  await settle(lab.nodes);
  const before = lab.nodes.map(pictureOf);
  for (let round = 1; round < rounds; round += 1) {
    await cycle(round);
    say(round);
  }
  await settle(lab.nodes);
  const after = lab.nodes.map(pictureOf);
  const differences = before.flatMap((lines, at) => differencesOf(lines, after[at] ?? []));
  const addresses = Array.from({ length: 200 }, (_, at) => `10.0.1.${10 + at}`);
  const connections = lab.nodes.reduce((sum, node) => sum + connectionsOf(node, addresses), 0);
  return { answered, differences, connections };
}

/** Changes that nobody waits for are done, and links of namespaces that end in the background are gone. */
async function settle(nodes: readonly LabNode[]): Promise<void> {
  for (const { stack } of nodes) {
    await stack.check();
    await stack.check();
  }
}

const fabricOf = ({ runDir }: LabNode) => ({ path: `${runDir}/netns/fabric` });

function pictureOf(node: LabNode): readonly string[] {
  const fabric = fabricOf(node);
  const lines = (what: string, text: string): string[] =>
    text
      .split('\n')
      .filter(line => line.trim() !== '')
      .map(line => `node ${node.number}, ${what}: ${line.trim()}`);
  return [
    ...lines('links of the fabric', inside(fabric, 'ip', '-br', 'link')),
    ...lines('routes of the fabric', inside(fabric, 'ip', '-4', 'route', 'show', 'table', 'all')),
    ...lines('rules of the fabric', inside(fabric, 'ip', 'rule')),
    ...lines('neighbours of the fabric', inside(fabric, 'ip', 'neigh', 'show', 'nud', 'permanent')),
    ...lines('forwarding entries', inside(fabric, 'bridge', 'fdb')),
    ...lines('packet rules of the fabric', inside(fabric, 'nft', 'list', 'ruleset')),
    ...lines('links of the host', inside(node.namespace, 'ip', '-br', 'link')),
    ...lines('addresses of the host', inside(node.namespace, 'ip', '-4', '-br', 'address')),
    ...lines('routes of the host', inside(node.namespace, 'ip', '-4', 'route', 'show', 'table', 'all')),
    ...lines('rules of the host', inside(node.namespace, 'ip', 'rule')),
    ...lines('packet rules of the host', inside(node.namespace, 'nft', 'list', 'ruleset')),
    ...lines('namespaces', readdirSync(`${node.runDir}/netns`).join('\n')),
    ...lines('records', readdirSync(`${node.runDir}/network/tasks`).join('\n')),
  ];
}

function differencesOf(before: readonly string[], after: readonly string[]): readonly string[] {
  return [
    ...after.filter(line => !before.includes(line)).map(line => `+ ${line}`),
    ...before.filter(line => !after.includes(line)).map(line => `- ${line}`),
  ];
}

function connectionsOf(node: LabNode, addresses: readonly string[]): number {
  const fabric = linuxHost.kernel.openNamespace(fabricOf(node).path);
  using socket = linuxHost.kernel.openNetlink(fabric, 'netfilter');
  linuxHost.kernel.closeNamespace(fabric);
  return forgetFlowsOf(socket, { replySources: addresses });
}
