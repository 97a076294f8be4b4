/**
 * The stage that most real tests play on: three nodes, on each a client task and a task of the service `demo_web`, all on one
 * network, `demo_web` behind a VIP and a published port, TCP and UDP.
 */
import type { TableItem } from '../../src/gen/types.js';
import type { NamespaceHandle } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import {
  configure,
  type EndpointOptions,
  endpointItem,
  type Lab,
  type LabOptions,
  networkItem,
  nodeItem,
  openLab,
  serve,
  serviceItem,
  tables,
  taskOf,
} from './lab.js';

export const never = new AbortController().signal;
export const vip = '10.0.1.200';
export const published = 8080;

export interface Stage extends AsyncDisposable {
  readonly lab: Lab;
  readonly tasks: Map<string, { readonly options: EndpointOptions; readonly namespace: NamespaceHandle }>;
  readonly namespace: (task: string) => NamespaceHandle;
  /** Attached on its node; when it is a server, listening on port 80. */
  readonly add: (options: Parameters<typeof taskOf>[0], server: boolean) => Promise<void>;
  readonly items: Map<string, TableItem>;
  /** All nodes show `items`. */
  readonly show: () => Promise<void>;
  readonly fabric: (node: number) => { readonly path: string };
}

export async function openStage(options: Partial<LabOptions> = {}): Promise<Stage> {
  const lab = await openLab({ nodes: 3, ...options });
  for (const node of lab.nodes) await configure(node);
  const tasks: Stage['tasks'] = new Map();
  const servers: AsyncDisposable[] = [];
  const items = tables(
    ...lab.nodes.map(nodeItem),
    networkItem('net1', '10.0.1.0/24'),
    serviceItem({ name: 'demo_client', stack: 'demo', vip: '10.0.1.201' }),
    serviceItem({
      name: 'demo_web',
      stack: 'demo',
      vip,
      ports: [
        { published, target: 80 },
        { published, target: 80, protocol: 'udp' },
      ],
    }),
  );
  const stage: Stage = {
    lab,
    tasks,
    items,
    namespace: task => {
      const found = tasks.get(task);
      if (found === undefined) throw new Error(`no task ${task}`);
      return found.namespace;
    },
    add: async (endpoint, server) => {
      const node = lab.nodes[endpoint.node - 1];
      const attached = await node?.stack.attach(taskOf(endpoint), never);
      const namespace = linuxHost.kernel.openNamespace(attached?.namespacePath ?? '');
      tasks.set(endpoint.task, { options: endpoint, namespace });
      if (server) servers.push(await serve(namespace, endpoint.task, 80));
      const item = endpointItem(endpoint);
      items.set(item.key, item);
    },
    show: async () => {
      await Promise.all(lab.nodes.map(node => node.stack.applyTables(new Map(items), never)));
    },
    fabric: node => ({ path: `${lab.nodes[node - 1]?.runDir}/netns/fabric` }),
    [Symbol.asyncDispose]: async () => {
      for (const server of servers) await server[Symbol.asyncDispose]();
      for (const { namespace } of tasks.values()) linuxHost.kernel.closeNamespace(namespace);
      await lab[Symbol.asyncDispose]();
    },
  };
  for (const node of lab.nodes.map(one => one.number)) {
    const client = { task: `c${node}`, service: 'demo_client', stack: 'demo', node, slot: node };
    await stage.add({ ...client, address: `10.0.1.${node * 10 + 1}` }, true);
    const web = { task: `w${node}`, service: 'demo_web', stack: 'demo', node, slot: node };
    await stage.add({ ...web, address: `10.0.1.${node * 10 + 2}` }, true);
  }
  await stage.show();
  return stage;
}

/** What each of `count` askings gave, each answer once. */
export async function several(count: number, work: () => Promise<string>): Promise<string[]> {
  const answers = new Set<string>();
  for (let turn = 0; turn < count; turn += 1) answers.add(await work());
  return [...answers].sort();
}

/** Asks until all of `wanted` were seen, at most 60 times: choices are random. */
export async function untilAll(wanted: readonly string[], work: () => Promise<string>): Promise<string[]> {
  const answers = new Set<string>();
  for (let turn = 0; turn < 60 && !wanted.every(one => answers.has(one)); turn += 1) answers.add(await work());
  return [...answers].sort();
}

export const skipUnlessRoot = process.getuid?.() === 0 ? {} : { skip: 'needs root' };
