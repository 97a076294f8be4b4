/**
 * Networks that are in use: changed, and services connected to them or taken off.
 *
 * Not here: making and removing networks (network.ts), all else of a service (service/).
 */
import { CoveyError } from '../../errors.js';
import type { NetworkAttachment } from '../../gen/types.js';
import { bad, ok, type Parsed } from '../../tasks/spec/values.js';
import type { CliContext } from '../context.js';
import { type ArgumentDefinition, type CommandDefinition, type Invocation, waitOptions } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { labelsOf } from './cluster.js';
import { listNetworks } from './network.js';
import { updateService } from './service/actions.js';
import { finish } from './service/finish.js';

const networkArg: ArgumentDefinition = { name: 'NETWORK', needed: true, completes: 'network' };
const serviceArg: ArgumentDefinition = { name: 'SERVICE', needed: true, completes: 'service' };

export const networkUpdateCommands: readonly CommandDefinition[] = [
  {
    path: ['network', 'update'],
    says: 'Change a network that may be in use',
    about:
      'Added addresses are given when those before are all in use. Tasks that are on several networks and run already reach new addresses of one that is not their first when they are started anew.',
    args: [networkArg],
    options: [
      { flags: '--label-add <label>', says: 'Label of the network, KEY=VALUE', many: true },
      { flags: '--label-rm <key>', says: 'Label to take away', many: true },
      { flags: '--subnet-add <subnet>', says: 'More addresses in CIDR form', many: true },
      { flags: '--internal <yes>', says: 'yes: no way out of the cluster; no: open again', completes: ['yes', 'no'] },
      {
        flags: '--attachable <yes>',
        says: 'yes: single tasks may join it; no: they may not',
        completes: ['yes', 'no'],
      },
    ],
    examples: [
      { says: 'nearly full', line: 'covey network update --subnet-add 10.20.5.0/24 frontend' },
      { says: 'no way out any more', line: 'covey network update --internal yes db' },
    ],
    run: runUpdate,
  },
  {
    path: ['network', 'connect'],
    says: 'Put a service on one more network: its tasks are replaced as its update says',
    args: [networkArg, serviceArg],
    options: [{ flags: '--alias <name>', says: 'Another name of the service there', many: true }, ...waitOptions],
    examples: [
      { says: 'one more network', line: 'covey network connect backend web' },
      { says: 'known there as "shop" too', line: 'covey network connect --alias shop backend web' },
    ],
    run: runConnect,
  },
  {
    path: ['network', 'disconnect'],
    says: 'Take a service off a network: its tasks are replaced as its update says',
    args: [networkArg, serviceArg],
    options: waitOptions,
    examples: [
      { says: 'off one network', line: 'covey network disconnect backend web' },
      { says: 'without waiting', line: 'covey network disconnect -d backend web' },
    ],
    run: runDisconnect,
  },
];

function parseYes(text: string): Parsed<boolean> {
  return text === 'yes' || text === 'no' ? ok(text === 'yes') : bad('yes or no');
}

async function runUpdate({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const internal = flags.parsed('internal', parseYes);
  const attachable = flags.parsed('attachable', parseYes);
  const request = {
    network: args[0] ?? '',
    version: 0,
    labelsAdd: labelsOf(flags, 'label-add'),
    labelsRemove: flags.list('label-rm'),
    subnetsAdd: flags.list('subnet-add'),
    ...(internal === undefined ? {} : { internal }),
    ...(attachable === undefined ? {} : { attachable }),
  };
  const { control } = await context.connect();
  const network = await control.updateNetwork(request, { signal: context.signal });
  await context.print(network.spec.name);
  return exitCodes.done;
}

async function runConnect(invocation: Invocation, context: CliContext): Promise<number> {
  const aliases = invocation.flags.list('alias');
  return await change(invocation, context, (networks, network) => {
    const others = networks.filter(one => one.network !== network);
    const present = networks.find(one => one.network === network);
    return [...others, { network, aliases: [...new Set([...(present?.aliases ?? []), ...aliases])] }];
  });
}

async function runDisconnect(invocation: Invocation, context: CliContext): Promise<number> {
  const [name = '', service = ''] = invocation.args;
  const what = `Cannot take service "${service}" off network "${name}"`;
  return await change(invocation, context, (networks, network) => {
    const left = networks.filter(one => one.network !== network);
    if (left.length === networks.length) throw new CoveyError('not-found', `${what}: it is not on it`);
    if (left.length === 0) {
      throw new CoveyError('bad-argument', `${what}: it would be on none`, {
        hint: `covey network connect none ${service} leaves it a loopback only`,
      });
    }
    return left;
  });
}

async function change(
  { args, flags }: Invocation,
  context: CliContext,
  decide: (networks: readonly NetworkAttachment[], network: string) => readonly NetworkAttachment[],
): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const [name = '', service = ''] = args;
  const [found] = await listNetworks(context, [name]);
  if (found === undefined) throw new CoveyError('network-not-found', `Cannot find network "${name}"`);
  const { id } = found.network;
  const changed = await updateService(context, service, spec => ({
    ...spec,
    task: { ...spec.task, networks: decide(spec.task.networks, id) },
  }));
  return await finish(context, { flags, services: [changed], startedMs });
}
