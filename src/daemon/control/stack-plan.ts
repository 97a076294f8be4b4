/**
 * A stack file against what is there: what to write, what to tell, and the mark that says "as I saw it".
 *
 * Pure but for the ids it draws; `--plan` and the deployment run the same code, so the plan is the deployment. All of it is
 * one transaction: either the whole stack is stored, or nothing.
 *
 * Called by stacks.ts. Not here: reading stack files (tasks/spec), carrying changes out (orchestrate/).
 */
import { createHash } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { DeployStackRequest, Network, NetworkSpec, Service, ServiceSpec, StackChange } from '../../gen/types.js';
import type { Random } from '../../host.js';
import { type NetworkId, newId, type ServiceId } from '../../ids.js';
import type { View, Write } from '../../raft/store.js';
import { findOverlap } from '../allocate/subnets.js';
import { writesOfRevised } from '../orchestrate/revisions.js';
import { fixedNetworkSpec } from '../tables.js';
import { checkName, findDuplicate, refuseAt } from './check.js';
import { planNetwork } from './networks.js';
import { writesOfAuth } from './registry-auth.js';
import { checkHostPortsFree, checkPortsFree, resolveSpec, type Upcoming } from './resolve.js';
import { isSame } from './same.js';
import { changedService, newService, planRemovals } from './services.js';
import { type FilesPlan, planFiles, takenError } from './stack-files.js';
import { checkNetworkSpec, checkServiceSpec } from './validate.js';
import { describeChange, describeService } from './words.js';

export interface StackPlan {
  readonly writes: readonly Write[];
  readonly changes: readonly StackChange[];
  readonly serviceIds: readonly ServiceId[];
  readonly mark: string;
}

export function planStack(view: View, request: DeployStackRequest, random: Pick<Random, 'bytes'>): StackPlan {
  const { name: stack } = request;
  checkRequest(request);
  const services = request.services.map(spec => ({ ...spec, stack }));
  const networks = planNetworks(view, withDefault(stack, request.networks, services), { stack, random });
  const secrets = planFiles(view, 'secret', { stack, files: request.secrets, random });
  const configs = planFiles(view, 'config', { stack, files: request.configs, random });
  const upcoming: Upcoming = { networks: networks.made, secrets: secrets.ids, configs: configs.ids };
  const planned = planServices(view, services, { stack, upcoming, random, prune: request.prune });
  const changes = [
    ...networks.changes,
    ...withRolls(secrets, planned.rolled),
    ...withRolls(configs, planned.rolled),
    ...planned.changes,
  ].map(change => ({ ...change, name: shortName(stack, change.name) }));
  const auth = services.flatMap(({ name }, at) => {
    const id = planned.ids[at];
    return id === undefined ? [] : writesOfAuth(view, id, request.registryAuth[name]);
  });
  const writes = [...networks.writes, ...secrets.writes, ...configs.writes, ...planned.writes, ...auth];
  return { writes, changes, serviceIds: planned.ids, mark: markOf(view, { changes, writes }) };
}

function checkRequest(request: DeployStackRequest): void {
  checkName(request.name, 'name');
  for (const spec of request.services) checkServiceSpec(spec, `services."${spec.name}"`);
  for (const spec of request.networks) checkNetworkSpec(spec, `networks."${spec.name}"`);
  for (const kind of ['secrets', 'configs'] as const) {
    const twice = findDuplicate(request[kind].map(({ name }) => name));
    if (twice !== undefined) refuseAt(kind)(`"${twice}" is there twice`);
  }
  for (const kind of ['services', 'networks'] as const) {
    const twice = findDuplicate(request[kind].map(spec => spec.name));
    if (twice !== undefined) refuseAt(kind)(`"${twice}" is there twice`);
  }
}

/** A stack has a network of its own for services that name none. */
function withDefault(
  stack: string,
  networks: readonly NetworkSpec[],
  services: readonly ServiceSpec[],
): readonly NetworkSpec[] {
  const name = `${stack}_default`;
  const isNeeded = services.some(spec => spec.task.networks.length === 0) && !networks.some(spec => spec.name === name);
  return isNeeded ? [...networks, { ...fixedNetworkSpec(name), stack }] : networks;
}

interface NetworksPlan {
  readonly writes: readonly Write[];
  readonly changes: readonly StackChange[];
  readonly made: ReadonlyMap<string, Network>;
}

function planNetworks(
  view: View,
  specs: readonly NetworkSpec[],
  { stack, random }: { readonly stack: string; readonly random: Pick<Random, 'bytes'> },
): NetworksPlan {
  const writes: Write[] = [];
  const changes: StackChange[] = [];
  const made = new Map<string, Network>();
  const meta = { version: 0, createdAtMs: 0, updatedAtMs: 0, owner: '' };
  for (const given of specs) {
    const spec = { ...given, stack };
    const present = view.findByName('network', spec.name);
    const change = (kind: StackChange['kind'], ...details: string[]) =>
      changes.push({ kind, object: 'network', name: spec.name, details });
    if (present !== undefined && present.spec.stack !== stack)
      throw takenError('network', spec.name, present.spec.stack);
    if (present === undefined) {
      checkOverlap(spec, made.values());
      // Prefixes come from allocate: several networks of one stack must not be given the same one here.
      const object = { ...planNetwork(view, spec, newId<NetworkId>(random.bytes)), subnets: spec.subnets };
      writes.push({ kind: 'put', table: 'network', object });
      made.set(spec.name, { ...object, meta });
      change('create');
      continue;
    }
    made.set(spec.name, present);
    if (isSame(present.spec, spec) && present.removing !== true) {
      change('unchanged');
      continue;
    }
    if (spec.driver !== present.spec.driver || !isSame(spec.subnets, present.spec.subnets)) {
      throw new CoveyError(
        'network-in-use',
        `Cannot change driver or subnets of network "${spec.name}" while it is there`,
        {
          hint: `covey stack rm ${stack}`,
        },
      );
    }
    writes.push({ kind: 'put', table: 'network', object: { ...present, spec, removing: undefined } });
    change('update', isSame(present.spec, spec) ? 'kept, it was being removed' : 'settings changed');
  }
  return { writes, changes, made };
}

function checkOverlap(spec: NetworkSpec, made: Iterable<Network>): void {
  const other = findOverlap(spec.subnets, made);
  if (other === undefined) return;
  throw new CoveyError(
    'subnet-conflict',
    `Cannot deploy network "${spec.name}": its subnet overlaps with "${other.spec.name}"`,
  );
}

interface ServicesPlan {
  readonly writes: readonly Write[];
  readonly changes: readonly StackChange[];
  readonly ids: readonly ServiceId[];
  /** Services whose tasks are replaced, with the secrets and configs they use by then. */
  readonly rolled: readonly ServiceSpec[];
}

function planServices(
  view: View,
  specs: readonly ServiceSpec[],
  {
    stack,
    upcoming,
    random,
    prune,
  }: {
    readonly stack: string;
    readonly upcoming: Upcoming;
    readonly random: Pick<Random, 'bytes'>;
    readonly prune: boolean;
  },
): ServicesPlan {
  const writes: Write[] = [];
  const changes: StackChange[] = [];
  const ids: ServiceId[] = [];
  const rolled: ServiceSpec[] = [];
  const present = [...view.list('service')];
  const names = new Set(specs.map(({ name }) => name));
  const surplus = prune ? present.filter(({ spec }) => spec.stack === stack && !names.has(spec.name)) : [];
  const rivals: Pick<Service, 'ports' | 'spec' | 'removing'>[] = present.filter(
    service => !surplus.includes(service) && !names.has(service.spec.name),
  );
  for (const given of specs) {
    checkPortsFree(view, given, rivals);
    checkHostPortsFree(view, given, view.findByName('service', given.name)?.ports ?? []);
    rivals.push({ spec: given, ports: [], removing: false });
    const spec = resolveSpec(view, given, upcoming);
    const old = view.findByName('service', spec.name);
    const change = (kind: StackChange['kind'], details: readonly string[]) =>
      changes.push({ kind, object: 'service', name: spec.name, details });
    if (old !== undefined && old.spec.stack !== stack) throw takenError('service', spec.name, old.spec.stack);
    const revised =
      old === undefined
        ? { service: newService(newId<ServiceId>(random.bytes), spec), revisions: [], forgotten: [] }
        : changedService(view, old, spec);
    const next = revised.service;
    ids.push(next.id);
    if (old === undefined) change('create', describeService(spec));
    else if (old.removing) change('create', [...describeService(spec), 'in place of the one that is being removed']);
    else change(isSame(old.spec, spec) ? 'unchanged' : 'update', describeChange(old.spec, spec));
    if (old !== undefined && !old.removing && isSame(old.spec, spec)) continue;
    writes.push(...writesOfRevised(revised));
    if (old !== undefined && next.specVersion > old.specVersion) rolled.push(spec);
  }
  for (const service of surplus) {
    if (!service.removing) changes.push({ kind: 'remove', object: 'service', name: service.spec.name, details: [] });
  }
  return { writes: [...writes, ...planRemovals(surplus)], changes, ids, rolled };
}

/** New versions of secrets and configs, with the services that are rolled because of them. */
function withRolls({ changes, ids }: FilesPlan, rolled: readonly ServiceSpec[]): readonly StackChange[] {
  return changes.map(change => {
    const id = ids.get(change.name);
    const users = rolled.filter(({ task }) =>
      task.containers.some(({ secrets, configs }) => [...secrets, ...configs].some(({ source }) => source === id)),
    );
    if (!change.details.includes('new version') || users.length === 0) return change;
    const names = users.map(({ name, stack }) => shortName(stack, name));
    return { ...change, details: [...change.details, `rolls: ${names.join(', ')}`] };
  });
}

function shortName(stack: string, name: string): string {
  return name.startsWith(`${stack}_`) ? name.slice(stack.length + 1) : name;
}

/** Changes when anything that the plan rests on has changed. */
function markOf(
  view: View,
  { changes, writes }: { readonly changes: readonly StackChange[]; readonly writes: readonly Write[] },
): string {
  const versions = writes.map(write => {
    const id = write.kind === 'put' ? write.object.id : write.id;
    return view.find(write.table, id)?.meta.version ?? 0;
  });
  return createHash('sha256')
    .update(JSON.stringify([changes, versions]))
    .digest('hex')
    .slice(0, 8);
}
