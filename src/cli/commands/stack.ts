/**
 * Stacks: deployed from files, planned, listed, removed.
 *
 * Not here: reading the files (tasks/spec), what a deployment changes (daemon/control).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { DeployStackResponse, StackChange } from '../../gen/types.js';
import type { LoadedStack, StackFileText } from '../../tasks/spec/index.js';
import { confirm } from '../confirm.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, clusterListOptions, type Invocation, waitOptions, yesOption } from '../definition.js';
import type { Flags } from '../flags.js';
import { stateColour } from '../output/colours.js';
import { exitCodes } from '../output/errors.js';
import type { JsonRecord } from '../output/format.js';
import { compareNames, type ListView, printList } from '../output/list.js';
import { visibleText } from '../output/text.js';
import { plural } from '../output/values.js';
import type { CountedService } from '../records.js';
import { findRegistryAuth, registryAuthOption } from '../registry-auth.js';
import { waitForRemoval, waitForServices } from '../wait.js';
import { listServices } from './service/actions.js';
import { serviceView } from './service/view.js';
import { listTasks, taskView } from './task.js';

export const stackCommands: readonly CommandDefinition[] = [
  {
    path: ['stack', 'deploy'],
    says: 'Make a stack what its file says, and wait until it runs',
    about:
      'Variables in the file come from the environment, then from .env beside it. Several files are merged, the later over the earlier. "-" reads standard input.',
    args: [{ name: 'STACK', needed: false, completes: 'stack' }],
    options: [
      { flags: '-c, --compose-file <file>', says: 'Stack file', many: true, completes: 'file' },
      { flags: '--plan', says: 'Say what would change, and change nothing' },
      { flags: '--expect <mark>', says: 'Only when the plan is still the one with this mark' },
      { flags: '--prune', says: 'Remove services that the file does not name any more' },
      registryAuthOption,
      ...waitOptions,
    ],
    examples: [
      { says: 'look first', line: 'covey stack deploy -c stack.yaml shop --plan' },
      {
        says: 'deploy, with settings for this site over it',
        line: 'covey stack deploy -c stack.yaml -c site.yaml --prune shop',
      },
    ],
    run: runDeploy,
  },
  {
    path: ['stack', 'ls'],
    says: 'List stacks',
    args: [],
    options: clusterListOptions,
    examples: [
      { says: 'all stacks', line: 'covey stack ls' },
      { says: 'their names', line: 'covey stack ls --format name' },
    ],
    run: runList,
  },
  {
    path: ['stack', 'ps'],
    says: 'List the tasks of a stack',
    args: [{ name: 'STACK', needed: true, completes: 'stack' }],
    options: clusterListOptions,
    examples: [
      { says: 'tasks and their history', line: 'covey stack ps shop' },
      { says: 'what does not run', line: 'covey stack ps -f state!=running shop' },
    ],
    run: runTasks,
  },
  {
    path: ['stack', 'services'],
    says: 'List the services of a stack',
    args: [{ name: 'STACK', needed: true, completes: 'stack' }],
    options: clusterListOptions,
    examples: [
      { says: 'services and how many tasks run', line: 'covey stack services shop' },
      { says: 'for a program', line: 'covey stack services --format json shop' },
    ],
    run: runServices,
  },
  {
    path: ['stack', 'rm'],
    says: 'Remove stacks with all that belongs to them, and wait until it is gone',
    about: 'Volumes stay.',
    args: [{ name: 'STACK', needed: true, many: true, completes: 'stack' }],
    options: [yesOption, ...waitOptions],
    examples: [
      { says: 'asks first', line: 'covey stack rm shop' },
      { says: 'in a script', line: 'covey stack rm --yes shop' },
    ],
    run: runRemove,
  },
];

async function loadFiles(flags: Flags, name: string | undefined, context: CliContext): Promise<LoadedStack> {
  const { console } = context;
  const paths = flags.list('compose-file');
  const [first] = paths;
  if (first === undefined) {
    throw new CoveyError('bad-argument', 'Cannot deploy a stack without a file', {
      hint: 'covey stack deploy -c stack.yaml NAME',
    });
  }
  const files: StackFileText[] = [];
  for (const path of paths)
    files.push({ path: path === '-' ? 'standard input' : path, text: await readStackFile(path, context) });
  const { loadStack } = await import('../../tasks/spec/index.js');
  return loadStack(files, {
    name,
    directory: first === '-' ? console.directory : posix.dirname(posix.resolve(console.directory, first)),
    homeDirectory: console.homeDirectory,
    environment: console.env,
    findFile: console.findFile,
  });
}

async function readStackFile(path: string, context: CliContext): Promise<string> {
  const decoder = new TextDecoder();
  if (path === '-') {
    let text = '';
    for await (const chunk of context.console.stdin.read()) text += decoder.decode(chunk, { stream: true });
    return text + decoder.decode();
  }
  const data = context.console.findFile(posix.resolve(context.console.directory, path));
  if (data === undefined) throw new CoveyError('stack-file', `Cannot read "${path}": there is no such file`);
  return decoder.decode(data);
}

async function runDeploy({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const stack = await loadFiles(flags, args[0], context);
  for (const warning of stack.warnings) {
    await context.note(`note: ${warning.place.file}:${warning.place.line}:${warning.place.column}: ${warning.message}`);
  }
  const { control } = await context.connect();
  const { name, services, networks, secrets, configs } = stack;
  const found = await findRegistryAuth(context, flags, services);
  const registryAuth = Object.fromEntries((found ?? []).map((text, at) => [services[at]?.name ?? '', text]));
  const answer = await control.deployStack(
    {
      name,
      services,
      networks,
      secrets,
      configs,
      prune: flags.isOn('prune'),
      plan: flags.isOn('plan'),
      expect: flags.text('expect') ?? '',
      registryAuth,
    },
    { signal: context.signal },
  );
  for (const line of renderPlan(name, answer)) await context.print(line);
  if (flags.isOn('plan')) {
    await context.print(`Apply with:  ${applyLine(flags, name, answer.mark)}`);
    return exitCodes.done;
  }
  if (flags.isOn('detach') || answer.serviceIds.length === 0) return exitCodes.done;
  const deployed = await listServices(context, answer.serviceIds);
  return await waitForServices(context, {
    request: { tables: ['task', 'service', 'node'], service: '', stack: name },
    what: `stack "${name}"`,
    look: `covey stack ps ${name}`,
    flags,
    startedMs,
    services: deployed.map(({ service }) => service).filter(service => !service.removing),
  });
}

function applyLine(flags: Flags, name: string, mark: string): string {
  const files = flags.list('compose-file').map(path => `-c ${path}`);
  const others = ['prune', 'with-registry-auth'].filter(flag => flags.isOn(flag)).map(flag => `--${flag}`);
  return ['covey stack deploy', ...files, ...others, name, `--expect ${mark}`].join(' ');
}

const words: Readonly<Record<StackChange['kind'], { readonly word: string; readonly mark: string }>> = {
  create: { word: 'new', mark: '+' },
  update: { word: 'changed', mark: '~' },
  remove: { word: 'removed', mark: '-' },
  unchanged: { word: 'unchanged', mark: '=' },
};

/** "shop: 1 service new, 1 changed, 4 unchanged, 1 secret changed", then a line for each change. */
export function renderPlan(name: string, answer: Pick<DeployStackResponse, 'changes'>): readonly string[] {
  const parts: string[] = [];
  for (const object of ['service', 'network', 'secret', 'config']) {
    let isFirst = true;
    for (const kind of ['create', 'update', 'remove', 'unchanged'] as const) {
      const count = answer.changes.filter(change => change.object === object && change.kind === kind).length;
      if (count === 0 || (kind === 'unchanged' && object !== 'service')) continue;
      parts.push(`${isFirst ? plural(count, object) : count} ${words[kind].word}`);
      isFirst = false;
    }
  }
  const changes = answer.changes.filter(change => change.kind !== 'unchanged');
  const width = Math.max(0, ...changes.map(change => change.name.length));
  return [
    `${name}: ${parts.join(', ') || 'nothing to do'}`,
    ...changes.map(change => {
      const details = change.details.map(visibleText).join(' · ');
      return `  ${words[change.kind].mark} ${change.object.padEnd(7)}  ${change.name.padEnd(width)}  ${details}`.trimEnd();
    }),
  ];
}

interface StackSummary {
  readonly name: string;
  readonly services: number;
  readonly running: number;
  readonly wanted: number;
}

export function summariseStacks(services: readonly CountedService[]): readonly StackSummary[] {
  const stacks = new Map<string, StackSummary>();
  for (const { service, running: serving, wanted, completed } of services) {
    const running = completed ?? serving;
    const name = service.spec.stack;
    if (name === '') continue;
    const before = stacks.get(name) ?? { name, services: 0, running: 0, wanted: 0 };
    stacks.set(name, {
      name,
      services: before.services + 1,
      running: before.running + running,
      wanted: before.wanted + wanted,
    });
  }
  return [...stacks.values()].sort((a, b) => compareNames(a.name, b.name));
}

const stackView: ListView<StackSummary> = {
  columns: [
    { header: 'STACK', cutTo: 20 },
    { header: 'SERVICES', align: 'right' },
    { header: 'RUNNING', align: 'right' },
  ],
  row: ({ name, services, running, wanted }) => [
    name,
    String(services),
    { text: `${running} of ${wanted}`, colour: stateColour(running >= wanted ? 'running' : 'pending') },
  ],
  record: (stack): JsonRecord => ({ ...stack }),
  id: ({ name }) => name,
  name: ({ name }) => name,
};

async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  await printList(context, flags, { view: stackView, items: summariseStacks(await listServices(context, [])) });
  return exitCodes.done;
}

/** The services of a stack; a stack without any is not there. */
async function servicesOf(context: CliContext, stack: string): Promise<readonly CountedService[]> {
  const services = await listServices(context, [], stack);
  if (services.length === 0)
    throw new CoveyError('not-found', `Cannot find stack "${stack}"`, { hint: 'covey stack ls' });
  return services;
}

async function runTasks({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const [stack = ''] = args;
  await servicesOf(context, stack);
  const items = await listTasks(context, { stack });
  await printList(context, flags, { view: taskView(context.console.clock.wallMs()), items });
  return exitCodes.done;
}

async function runServices({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const items = await servicesOf(context, args[0] ?? '');
  await printList(context, flags, { view: serviceView(context.console.clock.wallMs()), items });
  return exitCodes.done;
}

async function runRemove({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const { control } = await context.connect();
  for (const stack of args) {
    const services = await listServices(context, [], stack);
    const running = services.reduce((sum, one) => sum + one.running, 0);
    await confirm(context, flags, {
      what: `remove stack "${stack}"`,
      losses: [
        `${plural(services.length, 'service')} with ${plural(running, 'running task')}, its networks, secrets and configs`,
      ],
    });
    const answer = await control.removeStack({ name: stack }, { signal: context.signal });
    for (const line of renderPlan(stack, answer)) await context.print(line);
    if (flags.isOn('detach')) continue;
    const code = await waitForRemoval(context, {
      request: { tables: ['task', 'service'], service: '', stack },
      what: `stack "${stack}"`,
      look: `covey stack ps ${stack}`,
      flags,
      startedMs,
      serviceIds: answer.serviceIds,
    });
    if (code !== exitCodes.done) return code;
    await context.print(`${stack} is gone`);
  }
  return exitCodes.done;
}
