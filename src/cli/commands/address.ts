/**
 * `covey address`: floating addresses for published ports.
 *
 * Not here: which node has one (the leader chooses).
 */
import { CoveyError } from '../../errors.js';
import type { FloatingAddress } from '../../gen/types.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, clusterListOptions, type Invocation } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { type ListView, printList } from '../output/list.js';
import { renderAge, renderTime } from '../output/values.js';

export const addressCommands: readonly CommandDefinition[] = [
  {
    path: ['address', 'add'],
    says: 'Give a service a floating address for its published ports',
    about:
      'One node has the address at a time, and says so on its network; when that node is lost or drained, another one has it within two seconds. Nodes that run a task of the service come first. The address has to lie in a network that a node is on, and nobody else may have it.',
    args: [{ name: 'ADDRESS', needed: true }],
    options: [{ flags: '--service <service>', says: 'Service whose ports it is for', completes: 'service' }],
    examples: [
      { says: 'one address for the web servers', line: 'covey address add 192.0.2.10 --service web' },
      { says: 'and where it is', line: 'covey address ls' },
    ],
    run: runAdd,
  },
  {
    path: ['address', 'ls'],
    says: 'List floating addresses and the nodes that have them',
    args: [],
    options: clusterListOptions,
    examples: [
      { says: 'all of them', line: 'covey address ls' },
      { says: 'for a script', line: 'covey address ls --format json' },
    ],
    run: runList,
  },
  {
    path: ['address', 'rm'],
    says: 'Take floating addresses back',
    args: [{ name: 'ADDRESS', needed: true, many: true }],
    options: [],
    examples: [
      { says: 'one', line: 'covey address rm 192.0.2.10' },
      { says: 'two', line: 'covey address rm 192.0.2.10 192.0.2.11' },
    ],
    run: runRemove,
  },
];

async function runAdd({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const [address = ''] = args;
  const service = flags.text('service');
  if (service === undefined) {
    throw new CoveyError('bad-argument', `Cannot add address ${address} without a service`, {
      hint: `covey address add ${address} --service NAME`,
    });
  }
  const { signal } = context;
  let placed = await control.addAddress({ address, service }, { signal });
  const { clock } = context.console;
  const endMs = clock.monotonicMs() + placedWithinMs;
  while (placed.nodeId === '' && clock.monotonicMs() < endMs) {
    await clock.sleep(placedLookMs, signal);
    const { addresses } = await control.listAddresses({}, { signal });
    placed = addresses.find(one => one.address === address) ?? placed;
  }
  if (placed.nodeId === '') {
    throw new CoveyError('timeout', `Cannot tell yet who has address ${address}`, {
      state: placed.message,
      hint: 'covey address ls',
    });
  }
  await context.print(address);
  return exitCodes.done;
}

const placedWithinMs = 10_000;
const placedLookMs = 100;

interface Row {
  readonly floating: FloatingAddress;
  readonly service: string;
  readonly node: string;
}

function viewOf(nowMs: number): ListView<Row> {
  return {
    columns: [
      { header: 'ADDRESS' },
      { header: 'SERVICE', cutTo: 16 },
      { header: 'NODE', cutTo: 8 },
      { header: 'SINCE' },
      { header: '' },
    ],
    row: ({ floating, service, node }) => [
      floating.address,
      service,
      node || '-',
      renderAge(nowMs - floating.sinceMs),
      floating.message,
    ],
    record: ({ floating, service, node }) => ({
      address: floating.address,
      service,
      node,
      since: renderTime(floating.sinceMs),
      message: floating.message,
    }),
    id: ({ floating }) => floating.address,
    name: ({ floating }) => floating.address,
  };
}

async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const { signal } = context;
  const { addresses } = await control.listAddresses({}, { signal });
  const { services } = await control.listServices({ objects: [], stack: '' }, { signal });
  const { nodes } = await control.listNodes({ objects: [], stack: '' }, { signal });
  const items = addresses.map(floating => ({
    floating,
    service: services.find(({ id }) => id === floating.serviceId)?.spec.name ?? '',
    node: nodes.find(({ id }) => id === floating.nodeId)?.spec.name ?? '',
  }));
  await printList(context, flags, { view: viewOf(context.console.clock.wallMs()), items });
  return exitCodes.done;
}

async function runRemove({ args }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  for (const object of args) {
    await control.removeAddress({ object }, { signal: context.signal });
    await context.print(object);
  }
  return exitCodes.done;
}
