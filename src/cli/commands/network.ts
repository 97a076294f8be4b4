/**
 * Networks: made, listed, inspected, removed.
 *
 * Not here: changes of networks, connecting services (network-update.ts), who may talk to whom (network-policy.ts).
 */
import type { NetworkDriver } from '../../gen/types.js';
import { bad, ok } from '../../tasks/spec/values.js';
import type { CliContext } from '../context.js';
import {
  type CommandDefinition,
  clusterListOptions,
  formatOption,
  type Invocation,
  readOptions,
} from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { compareNames, type ListView, printInspection, printList } from '../output/list.js';
import { renderAge } from '../output/values.js';
import { addressesOf, type CountedNetwork, networkRecord } from '../records.js';
import { labelsOf } from './cluster.js';

export const networkCommands: readonly CommandDefinition[] = [
  {
    path: ['network', 'create'],
    says: 'Make a network',
    args: [{ name: 'NETWORK', needed: true }],
    options: [
      {
        flags: '-d, --driver <driver>',
        says: 'overlay (default), host or none',
        completes: ['overlay', 'host', 'none'],
      },
      { flags: '--subnet <subnet>', says: 'Addresses in CIDR form (default: a piece of the pool)', many: true },
      { flags: '--internal', says: 'No way out of the cluster' },
      { flags: '--attachable', says: 'Single tasks may join it' },
      { flags: '--label <label>', says: 'Label of the network, KEY=VALUE', many: true },
    ],
    examples: [
      { says: 'with addresses from the pool', line: 'covey network create backend' },
      {
        says: 'with addresses of your own and no way out',
        line: 'covey network create --subnet 10.20.0.0/24 --internal db',
      },
    ],
    run: runCreate,
  },
  {
    path: ['network', 'ls'],
    says: 'List networks',
    args: [],
    options: clusterListOptions,
    examples: [
      { says: 'all networks', line: 'covey network ls' },
      { says: 'those of one stack', line: 'covey network ls -f stack=shop' },
    ],
    run: runList,
  },
  {
    path: ['network', 'inspect'],
    says: 'Show all about networks',
    args: [{ name: 'NETWORK', needed: true, many: true, completes: 'network' }],
    options: [formatOption, ...readOptions],
    examples: [
      { says: 'one network', line: 'covey network inspect backend' },
      { says: 'its subnet', line: "covey network inspect --format '{{.subnets.0}}' backend" },
    ],
    run: runInspect,
  },
  {
    path: ['network', 'rm'],
    says: 'Remove networks that no service uses',
    args: [{ name: 'NETWORK', needed: true, many: true, completes: 'network' }],
    options: [],
    examples: [
      { says: 'one', line: 'covey network rm backend' },
      { says: 'several', line: 'covey network rm backend db' },
    ],
    run: runRemove,
  },
];

async function runCreate({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const driver = flags.parsed<NetworkDriver>('driver', text =>
    text === 'overlay' || text === 'host' || text === 'none' ? ok(text) : bad('overlay, host or none'),
  );
  const network = await control.createNetwork(
    {
      spec: {
        name: args[0] ?? '',
        labels: labelsOf(flags),
        stack: '',
        driver: driver ?? 'overlay',
        subnets: flags.list('subnet'),
        internal: flags.isOn('internal'),
        attachable: flags.isOn('attachable'),
      },
    },
    { signal: context.signal },
  );
  await context.print(network.id);
  return exitCodes.done;
}

export async function listNetworks(
  context: CliContext,
  objects: readonly string[],
): Promise<readonly CountedNetwork[]> {
  const { control } = await context.connect();
  const answer = await control.listNetworks({ objects, stack: '' }, { signal: context.signal });
  return answer.networks
    .map(network => ({ network, used: answer.used[network.id] ?? 0 }))
    .sort((a, b) => compareNames(a.network.spec.name, b.network.spec.name));
}

function viewOf(nowMs: number): ListView<CountedNetwork> {
  return {
    columns: [
      { header: 'NETWORK', cutTo: 16 },
      { header: 'DRIVER' },
      { header: 'SUBNET' },
      { header: 'USED', align: 'right' },
      { header: 'FULL', align: 'right' },
      { header: 'STACK', cutTo: 8 },
      { header: 'AGE' },
    ],
    row: ({ network, used }) => [
      network.spec.name,
      network.spec.internal ? `${network.spec.driver}, internal` : network.spec.driver,
      network.subnets.join(', '),
      String(used),
      renderFull(used, addressesOf(network.subnets)),
      network.spec.stack,
      renderAge(nowMs - network.meta.createdAtMs),
    ],
    record: networkRecord,
    id: ({ network }) => network.id,
    name: ({ network }) => network.spec.name,
  };
}

/** From this share on the managers warn. */
const nearlyFull = 0.8;

function renderFull(used: number, total: number): string {
  if (total === 0) return '';
  const percent = `${Math.floor((used / total) * 100)} %`;
  return used / total < nearlyFull ? percent : `nearly, ${percent}`;
}

async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  await printList(context, flags, {
    view: viewOf(context.console.clock.wallMs()),
    items: await listNetworks(context, []),
  });
  return exitCodes.done;
}

async function runInspect({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const networks = await listNetworks(context, args);
  await printInspection(
    context,
    flags,
    networks.map(one => ({ record: networkRecord(one), name: one.network.spec.name })),
  );
  return exitCodes.done;
}

async function runRemove({ args }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  for (const object of args) {
    await control.removeNetwork({ object }, { signal: context.signal });
    await context.print(object);
  }
  return exitCodes.done;
}
