/**
 * `covey network policy`: which services of a network may open connections to which.
 *
 * Every change is the whole policy, sent with the version that was read. Not here: the networks themselves (network.ts).
 */
import { CoveyError } from '../../errors.js';
import type { AllowedPort, AllowRule, Network, NetworkPolicy } from '../../gen/types.js';
import { parseProtocol, parseRange } from '../../tasks/spec/ports.js';
import { bad, ok, type Parsed } from '../../tasks/spec/values.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, formatOption, type Invocation, readOptions } from '../definition.js';

import { exitCodes } from '../output/errors.js';
import { type ListView, printList } from '../output/list.js';
import { listNetworks } from './network.js';
import { oneOf } from './service/one-of.js';

const networkArg = { name: 'NETWORK', needed: true, completes: 'network' } as const;

export const networkPolicyCommands: readonly CommandDefinition[] = [
  {
    path: ['network', 'policy', 'allow'],
    says: 'Let services of a network connect to others; what no rule allows is refused from then on',
    about:
      'Services are chosen by labels, KEY or KEY=VALUE, all of which they have; without --from or --to, all services of the network are meant. Every service also has the labels covey.service=NAME and covey.stack=STACK. The first rule closes the network: between its tasks, those of one service included, only what a rule allows passes. Connections that are open stay open. Ports are those of the tasks, not published ones; published ports answer everybody as before.',
    args: [networkArg],
    options: [
      { flags: '--from <label>', says: 'Label of services that connect', many: true },
      { flags: '--to <label>', says: 'Label of services that are connected to', many: true },
      { flags: '--port <port>', says: 'PORT[-PORT][/tcp|udp] of the tasks (default: all)', many: true },
    ],
    examples: [
      {
        says: 'web servers reach the database, and nothing else does',
        line: 'covey network policy allow backend --from app=web --to app=db --port 5432',
      },
      {
        says: 'all reach the cache of the stack shop, by TCP and UDP',
        line: 'covey network policy allow backend --to covey.service=shop_cache --port 11211/tcp --port 11211/udp',
      },
    ],
    run: runAllow,
  },
  {
    path: ['network', 'policy', 'ls'],
    says: 'List what the policy of a network allows',
    args: [networkArg],
    options: [formatOption, ...readOptions],
    examples: [
      { says: 'the rules with their numbers', line: 'covey network policy ls backend' },
      { says: 'for a script', line: 'covey network policy ls --format json backend' },
    ],
    run: runList,
  },
  {
    path: ['network', 'policy', 'rm'],
    says: 'Remove rules by their numbers; without any left, nothing passes',
    args: [networkArg, { name: 'RULE', needed: true, many: true }],
    options: [],
    examples: [
      { says: 'the second rule', line: 'covey network policy rm backend 2' },
      { says: 'two of them', line: 'covey network policy rm backend 1 3' },
    ],
    run: runRemove,
  },
  {
    path: ['network', 'policy', 'set'],
    says: 'Open or close a network, and let its tasks ask the metadata service of the cloud or not',
    args: [networkArg],
    options: [
      {
        flags: '--default <verdict>',
        says: 'allow (all may talk to all; rules go) or deny (only what rules allow)',
        completes: ['allow', 'deny'],
      },
      {
        flags: '--metadata <verdict>',
        says: 'allow or deny (default) 169.254.169.254, where clouds give a machine its secrets',
        completes: ['allow', 'deny'],
      },
    ],
    examples: [
      { says: 'nobody talks to anybody', line: 'covey network policy set backend --default deny' },
      {
        says: 'tasks that get their credentials from the cloud',
        line: 'covey network policy set cloud --metadata allow',
      },
    ],
    run: runSet,
  },
];

const openPolicy: NetworkPolicy = { closed: false, allow: [], metadata: false };

async function find(context: CliContext, name: string): Promise<Network> {
  const [found] = await listNetworks(context, [name]);
  if (found === undefined) throw new CoveyError('not-found', `Cannot find network "${name}"`);
  return found.network;
}

async function change(
  context: CliContext,
  name: string,
  decide: (policy: NetworkPolicy) => NetworkPolicy,
): Promise<number> {
  const { control } = await context.connect();
  const { id, spec, meta } = await find(context, name);
  const policy = decide(spec.policy ?? openPolicy);
  await control.setNetworkPolicy({ network: id, version: meta.version, policy }, { signal: context.signal });
  await context.print(spec.name);
  return exitCodes.done;
}

async function runAllow({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const rule: AllowRule = {
    from: flags.list('from'),
    to: flags.list('to'),
    ports: flags.parsedList('port', parseAllowedPort),
  };
  return await change(context, args[0] ?? '', policy => ({ ...policy, closed: true, allow: [...policy.allow, rule] }));
}

function parseAllowedPort(text: string): Parsed<AllowedPort> {
  const [ports = '', name = 'tcp', ...rest] = text.split('/');
  const range = parseRange(ports);
  const protocol = parseProtocol(name);
  if (range === undefined || rest.length > 0) return bad('PORT or PORT-PORT, and if wanted /tcp or /udp');
  return protocol.kind === 'bad' ? protocol : ok({ protocol: protocol.value, ...range });
}

async function runRemove({ args }: Invocation, context: CliContext): Promise<number> {
  const [name = '', ...numbers] = args;
  return await change(context, name, policy => {
    const wanted = numbers.map(Number);
    const wrong = wanted.find(number => policy.allow[number - 1] === undefined);
    if (wrong !== undefined) {
      throw new CoveyError('not-found', `Cannot remove rule ${numbers[wanted.indexOf(wrong)]} of network "${name}"`, {
        state: `it has ${policy.allow.length} rules`,
        hint: `covey network policy ls ${name}`,
      });
    }
    return { ...policy, allow: policy.allow.filter((_rule, at) => !wanted.includes(at + 1)) };
  });
}

async function runSet({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const verdict = oneOf<'allow' | 'deny'>('allow', 'deny');
  const otherwise = flags.parsed('default', verdict);
  const metadata = flags.parsed('metadata', verdict);
  if (otherwise === undefined && metadata === undefined) {
    throw new CoveyError('bad-argument', 'Cannot set a policy without --default or --metadata');
  }
  return await change(context, args[0] ?? '', policy => ({
    closed: otherwise === undefined ? policy.closed : otherwise === 'deny',
    allow: otherwise === 'allow' ? [] : policy.allow,
    metadata: metadata === undefined ? policy.metadata : metadata === 'allow',
  }));
}

interface NumberedRule {
  readonly number: number;
  readonly rule: AllowRule;
}

const view: ListView<NumberedRule> = {
  columns: [{ header: 'RULE', align: 'right' }, { header: 'FROM' }, { header: 'TO' }, { header: 'PORTS' }],
  row: ({ number, rule }) => [
    String(number),
    rule.from.join(' ') || 'all',
    rule.to.join(' ') || 'all',
    rule.ports.map(renderPort).join(' ') || 'all',
  ],
  record: ({ number, rule }) => ({ rule: number, from: rule.from, to: rule.to, ports: rule.ports.map(renderPort) }),
  id: ({ number }) => String(number),
  name: ({ number }) => String(number),
};

function renderPort({ protocol, first, last }: AllowedPort): string {
  return `${first === last ? first : `${first}-${last}`}/${protocol}`;
}

async function runList({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { spec } = await find(context, args[0] ?? '');
  const policy = spec.policy ?? openPolicy;
  const isTable = flags.text('format') === undefined;
  if (isTable && !policy.closed) await context.print(`All tasks of network "${spec.name}" may talk to one another.`);
  else await printList(context, flags, { view, items: policy.allow.map((rule, at) => ({ number: at + 1, rule })) });
  if (isTable && policy.metadata) await context.print('Its tasks may ask the metadata service (169.254.169.254).');
  return exitCodes.done;
}
