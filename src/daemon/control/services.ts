/**
 * Services and tasks as people ask for them: create, update, remove, list.
 *
 * Every change is decided on the state it is stored on. Called by control.ts. Not here: checks of specs (validate.ts,
 * resolve.ts), whole stacks (stacks.ts), what comes of it (orchestrate/).
 */
import { CoveyError } from '../../errors.js';
import type { ListServicesResponse, ListTasksResponse, Service, ServiceSpec, Task } from '../../gen/types.js';
import type { ServiceId } from '../../ids.js';
import type { View, Write } from '../../raft/store.js';
import { isServing } from '../../serving.js';

import { newIdFor } from '../control-once.js';
import { completedSlots, isJob } from '../orchestrate/job.js';
import { type Revised, reviseService, writesOfRevised } from '../orchestrate/revisions.js';
import { isWanted } from '../orchestrate/slot.js';
import { findUnmet } from '../schedule/constraints.js';
import { refuseAt } from './check.js';
import { getObject, getTasks, selectObjects } from './find.js';
import { type Change, type ControlHandlers, changeOnce, type Parts, removeOnce } from './parts.js';
import { writesOfAuth } from './registry-auth.js';
import { checkHostPortsFree, checkPortsFree, nothingUpcoming, resolveSpec } from './resolve.js';
import { updateHandlers } from './updates.js';
import { checkServiceSpec } from './validate.js';
import { describeSpecChange } from './words.js';

type ServiceHandlers = Pick<
  ControlHandlers,
  | 'listServices'
  | 'createService'
  | 'updateService'
  | 'removeService'
  | 'listTasks'
  | 'rollbackService'
  | 'holdUpdate'
  | 'listRevisions'
>;

export function serviceHandlers(parts: Parts): ServiceHandlers {
  const { store, random } = parts;
  return {
    listServices: async request => listServices(store.view(), request),
    createService: async ({ spec, registryAuth }, context) => {
      checkServiceSpec(spec, 'spec');
      const id = newIdFor<ServiceId>(context, random);
      await changeOnce(parts, context, view => [
        putService(planService(view, spec, id)),
        ...writesOfAuth(view, id, registryAuth),
      ]);
      return getObject(store.view(), 'service', id);
    },
    updateService: async ({ service: text, version, spec, registryAuth }, context) => {
      checkServiceSpec(spec, 'spec');
      const { id } = getObject(store.view(), 'service', text);
      await changeOnce(parts, context, view => {
        const old = getObject(view, 'service', id);
        checkVersion(old, version);
        return [...writesOfRevised(planUpdate(view, old, spec)), ...writesOfAuth(view, id, registryAuth)];
      });
      return getObject(store.view(), 'service', id);
    },
    removeService: async ({ object }, context) => {
      const { id } = await removeOnce(parts, context, view => {
        const service = getObject(view, 'service', object);
        return { id: service.id, writes: planRemovals([service]) };
      });
      return { id: id ?? object };
    },
    listTasks: async request => listTasks(store.view(), request),
    ...updateHandlers(parts),
  };
}

function putService(object: Change<'service'>): Write {
  return { kind: 'put', table: 'service', object };
}

function planService(view: View, spec: ServiceSpec, id: ServiceId): Change<'service'> {
  const present = view.findByName('service', spec.name);
  if (present !== undefined) {
    const state = present.removing ? 'one of that name is being removed' : `it has the id ${present.id}`;
    throw new CoveyError('already-exists', `Cannot create service "${spec.name}": the name is taken`, { state });
  }
  checkPortsFree(view, spec, [...view.list('service')]);
  checkHostPortsFree(view, spec, []);
  return newService(id, resolveSpec(view, spec, nothingUpcoming));
}

function planUpdate(view: View, old: Service, spec: ServiceSpec): Revised {
  if (old.removing) throw new CoveyError('not-found', `Cannot update service "${old.spec.name}": it is being removed`);
  checkPortsFree(
    view,
    spec,
    [...view.list('service')].filter(other => other.id !== old.id),
  );
  checkHostPortsFree(view, spec, old.ports);
  return changedService(view, old, resolveSpec(view, spec, nothingUpcoming));
}

function checkVersion(old: Service, version: number): void {
  if (version === old.meta.version) return;
  const state = `its version is ${old.meta.version}, the change is based on ${version}`;
  throw new CoveyError('stale-version', `Cannot update service "${old.spec.name}": it was changed meanwhile`, {
    state,
  });
}

export function newService(id: ServiceId, spec: ServiceSpec): Change<'service'> {
  return { id, spec, specVersion: 1, vips: [], ports: [], removing: false };
}

/** The service with another spec; tasks are replaced when what they are made from has changed. */
export function changedService(view: View, old: Service, spec: ServiceSpec): Revised {
  const refuse = refuseAt(`service "${old.spec.name}"`);
  if (spec.name !== old.spec.name) refuse(`its name can't become "${spec.name}"; create another service`);
  if (spec.mode.kind !== old.spec.mode.kind) refuse(`its mode can't become ${spec.mode.kind}; create another service`);
  if (spec.stack !== old.spec.stack) refuse("it can't move to another stack");
  return reviseService(view, old, spec, { kind: 'update', changes: describeSpecChange(old.spec, spec) });
}

/** Marks services as removed; their ports are taken back at once, their tasks are stopped, then they go. */
export function planRemovals(services: readonly Service[]): readonly Write[] {
  return services
    .filter(service => !service.removing)
    .map(service => ({ kind: 'put', table: 'service', object: { ...service, ports: [], removing: true } }));
}

function listServices(
  view: View,
  request: { readonly objects: readonly string[]; readonly stack: string },
): ListServicesResponse {
  const services = selectObjects(view, 'service', request);
  const running = (service: Service): number => runningSlots([...view.tasksOfService(service.id)]);
  return {
    services,
    running: Object.fromEntries(services.map(service => [service.id, running(service)])),
    completed: Object.fromEntries(
      services
        .filter(({ spec }) => isJob(spec.mode))
        .map(service => [service.id, completedSlots([...view.tasksOfService(service.id)], service)]),
    ),
    wanted: Object.fromEntries(services.map(service => [service.id, wantedCount(view, service)])),
  };
}

/** Slots in which a task runs that is meant to; during an update two may in one. */
function runningSlots(tasks: readonly Task[]): number {
  const up = tasks.filter(task => isServing(task.status) && isWanted(task.desired) && !task.superseded);
  return new Set(up.map(task => (task.slot === 0 ? task.nodeId : task.slot))).size;
}

function wantedCount(view: View, { spec, removing }: Service): number {
  if (removing) return 0;
  if (spec.mode.kind === 'replicated') return spec.mode.replicas;
  if (spec.mode.kind === 'replicatedJob') return spec.mode.completions;
  return [...view.list('node')].filter(
    node =>
      node.status.state !== 'left' &&
      node.spec.availability !== 'drain' &&
      findUnmet(spec.task.placement.constraints, node) === undefined,
  ).length;
}

interface TaskFilter {
  readonly tasks: readonly string[];
  readonly service: string;
  readonly node: string;
  readonly stack: string;
  readonly current: boolean;
}

function listTasks(view: View, { tasks: texts, service, node, stack, current }: TaskFilter): ListTasksResponse {
  const serviceId = service === '' ? undefined : getObject(view, 'service', service).id;
  const nodeId = node === '' ? undefined : getObject(view, 'node', node).id;
  const chosen = texts.length === 0 ? tasksFrom(view, serviceId) : new Set(texts.flatMap(text => getTasks(view, text)));
  const tasks = [...chosen].filter(
    task =>
      (serviceId === undefined || task.serviceId === serviceId) &&
      (nodeId === undefined || task.nodeId === nodeId) &&
      (stack === '' || task.stack === stack) &&
      (!current || isWanted(task.desired)),
  );
  if (texts.length === 0) tasks.sort(byPlace);
  return { tasks, nodes: Object.fromEntries([...view.list('node')].map(each => [each.id, each.spec.name])) };
}

function tasksFrom(view: View, serviceId: string | undefined): Iterable<Task> {
  return serviceId === undefined ? view.list('task') : view.tasksOfService(serviceId);
}

/** By service and slot, the newest first. */
function byPlace(a: Task, b: Task): number {
  if (a.serviceName !== b.serviceName) return a.serviceName < b.serviceName ? -1 : 1;
  if (a.slot !== b.slot) return a.slot - b.slot;
  if (a.slot === 0 && a.nodeId !== b.nodeId) return a.nodeId < b.nodeId ? -1 : 1;
  return b.meta.createdAtMs - a.meta.createdAtMs || b.meta.version - a.meta.version;
}
