/**
 * What the service commands do: calls of the control API, then waiting.
 *
 * Not here: flags to specs (spec-flags.ts), waiting (wait.ts).
 */
import { CoveyError, codeOf } from '../../../errors.js';
import type { Service, ServiceSpec, UpdateServiceRequest } from '../../../gen/types.js';
import { parseInteger } from '../../../tasks/spec/values.js';
import type { CliContext } from '../../context.js';
import type { Invocation } from '../../definition.js';
import { type Flags, orBadValue } from '../../flags.js';
import { exitCodes } from '../../output/errors.js';
import { compareNames, printInspection, printList } from '../../output/list.js';
import { type CountedService, portRecord, serviceRecord } from '../../records.js';
import { findRegistryAuth } from '../../registry-auth.js';
import { waitForRemoval } from '../../wait.js';
import { listTasks, taskView } from '../task.js';
import { containersOf, containersView } from './containers-view.js';
import { finish } from './finish.js';
import type { FlagWorld } from './list-flags.js';
import { scaledMode } from './mode-flags.js';
import { changedSpec, createdSpec } from './spec-flags.js';
import { findSteering, runSteering } from './steering.js';
import { serviceView } from './view.js';

/** A change is told relative to what is, so it may be told again when somebody else was faster. */
const updateAttemptsMax = 5;

export async function listServices(
  context: CliContext,
  objects: readonly string[],
  stack = '',
): Promise<readonly CountedService[]> {
  const { control } = await context.connect();
  const answer = await control.listServices({ objects, stack }, { signal: context.signal });
  return answer.services
    .map(service => ({
      service,
      running: answer.running[service.id] ?? 0,
      completed: answer.completed[service.id],
      wanted: answer.wanted[service.id] ?? replicasOf(service.spec),
    }))
    .sort((a, b) => compareNames(a.service.spec.name, b.service.spec.name));
}

function replicasOf(spec: ServiceSpec): number {
  return spec.mode.kind === 'replicated' ? spec.mode.replicas : 0;
}

async function getService(context: CliContext, name: string): Promise<Service> {
  const [found] = await listServices(context, [name]);
  if (found === undefined)
    throw new CoveyError('not-found', `Cannot find service "${name}"`, { hint: 'covey service ls' });
  return found.service;
}

/** Ids of networks, secrets and configs, fetched only when a flag names one. */
async function flagWorld(context: CliContext, flags: Flags): Promise<FlagWorld> {
  const { console, signal } = context;
  const ids = new Map<string, string>();
  const named = (kind: string): boolean => flags.list(`${kind}-add`).length + flags.list(`${kind}-rm`).length > 0;
  const all = { objects: [], stack: '' };
  const { control } = await context.connect();
  if (named('network')) {
    const { networks } = await control.listNetworks(all, { signal });
    for (const network of networks) ids.set(`network ${network.spec.name}`, network.id);
  }
  if (named('secret')) {
    const { secrets } = await control.listSecrets(all, { signal });
    for (const secret of secrets) ids.set(`secret ${secret.spec.name}`, secret.id);
  }
  if (named('config')) {
    const { configs } = await control.listConfigs(all, { signal });
    for (const config of configs) ids.set(`config ${config.spec.name}`, config.id);
  }
  const { directory, homeDirectory, env, findFile } = console;
  return { directory, homeDirectory, env, findFile, findId: (kind, name) => ids.get(`${kind} ${name}`) };
}

export async function runCreate({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const { directory, homeDirectory, env, findFile } = context.console;
  const [image = '', ...command] = args;
  const spec = createdSpec(
    flags,
    { image, command },
    { directory, homeDirectory, env, findFile, findId: () => undefined },
  );
  const { control } = await context.connect();
  const [registryAuth] = (await findRegistryAuth(context, flags, [spec])) ?? [];
  const service = await control.createService({ spec, registryAuth }, { signal: context.signal });
  return await finish(context, { flags, services: [service], startedMs });
}

/** Reads, changes and writes; again when the service was changed in between. */
export async function updateService(
  context: CliContext,
  name: string,
  change: (spec: ServiceSpec) => ServiceSpec,
  flags?: Flags,
): Promise<Service> {
  const { control } = await context.connect();
  for (let attempt = 1; ; attempt += 1) {
    const service = await getService(context, name);
    const spec = change(service.spec);
    const [registryAuth] = (flags && (await findRegistryAuth(context, flags, [spec]))) ?? [];
    const request: UpdateServiceRequest = {
      service: service.id,
      version: service.meta.version,
      spec,
      registryAuth,
    };
    try {
      return await control.updateService(request, { signal: context.signal });
    } catch (error) {
      if (codeOf(error) !== 'stale-version' || attempt >= updateAttemptsMax) throw error;
    }
  }
}

export async function runUpdate({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const steering = findSteering(flags);
  if (steering !== undefined) return await runSteering(context, { name: args[0] ?? '', steering, flags, startedMs });
  const world = await flagWorld(context, flags);
  const service = await updateService(context, args[0] ?? '', spec => changedSpec(spec, flags, world), flags);
  return await finish(context, { flags, services: [service], startedMs });
}

export async function runScale({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const wanted = args.map(text => {
    const [, name, count] = /^(.+)=([^=]*)$/u.exec(text) ?? [];
    if (name === undefined || count === undefined) {
      throw new CoveyError('bad-argument', `Cannot scale "${text}"`, { hint: 'give SERVICE=REPLICAS, such as web=3' });
    }
    return { name, replicas: orBadValue(name, count, parseInteger(count, { min: 0, max: 100_000 })) };
  });
  const services: Service[] = [];
  for (const { name, replicas } of wanted) {
    services.push(await updateService(context, name, spec => ({ ...spec, mode: scaledMode(spec, replicas) })));
  }
  return await finish(context, { flags, services, startedMs });
}

export async function runRemove({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const { control } = await context.connect();
  const removed: { readonly name: string; readonly id: string }[] = [];
  for (const name of args) {
    const { id } = await control.removeService({ object: name }, { signal: context.signal });
    removed.push({ name, id });
  }
  if (!flags.isOn('detach')) {
    const [only] = removed;
    const code = await waitForRemoval(context, {
      request: { tables: ['task', 'service'], service: removed.length === 1 ? (only?.id ?? '') : '', stack: '' },
      what: `service "${args.join('", "')}"`,
      look: 'covey service ls',
      flags,
      startedMs,
      serviceIds: removed.map(one => one.id),
    });
    if (code !== exitCodes.done) return code;
  }
  for (const { name } of removed) await context.print(name);
  return exitCodes.done;
}

export async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  await printList(context, flags, {
    view: serviceView(context.console.clock.wallMs()),
    items: await listServices(context, []),
  });
  return exitCodes.done;
}

export async function runTasks({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const services = await listServices(context, args);
  const lists = await Promise.all(services.map(({ service }) => listTasks(context, { service: service.id })));
  if (flags.isOn('containers')) {
    const items = lists.flat().flatMap(named => (named.past ? [] : containersOf(named)));
    await printList(context, flags, { view: containersView, items });
    return exitCodes.done;
  }
  await printList(context, flags, { view: taskView(context.console.clock.wallMs()), items: lists.flat() });
  return exitCodes.done;
}

export async function runInspect({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const services = await listServices(context, args);
  const records = services.map(one => ({
    record: { ...serviceRecord(one), spec: { ...one.service.spec, ports: one.service.spec.ports.map(portRecord) } },
    name: one.service.spec.name,
  }));
  await printInspection(context, flags, records);
  return exitCodes.done;
}
