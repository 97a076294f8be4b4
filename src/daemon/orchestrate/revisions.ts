/**
 * The specs that a service had: every change makes a revision, the last ten are kept, and each can be gone back to. A change of
 * the number of replicas alone is none, and going back leaves that number as it is.
 *
 * A revision is stable when all its tasks were rolled out, or (the first one, that nothing was rolled for) when a task of it
 * ran as the next one came: the way back leads to a stable one where there is any.
 *
 * Pure but for the view. Called by control/ and, for automatic rollbacks, by pass.ts. Not here: rolling out (update.ts).
 */
import type { Revision, Rollout, Service, ServiceSpec, Task } from '../../gen/types.js';
import type { View, Write } from '../../raft/store.js';
import { isServing } from '../../serving.js';
import { isSame } from '../control/same.js';
import { isJob } from './job.js';
import { isOnlyScale, replacesTasks } from './spec-change.js';

/** Earlier ones that are kept. */
const revisionsMax = 10;

type Bare<Stored> = Omit<Stored, 'meta'>;

export interface Revised {
  readonly service: Bare<Service>;
  readonly revisions: readonly Bare<Revision>[];
  /** Ids of those that are forgotten. */
  readonly forgotten: readonly string[];
}

export interface Change {
  readonly kind: 'update' | 'rollback';
  /** What changes, in words. */
  readonly changes: readonly string[];
}

/** The service with another spec, and its revisions after that. */
export function reviseService(view: View, old: Service, spec: ServiceSpec, { kind, changes }: Change): Revised {
  const replaces = replacesTasks(old.spec, spec);
  const specVersion = old.specVersion + (replaces ? 1 : 0);
  const base = { ...old, spec, specVersion, removing: false };
  if (!old.removing && (isSame(old.spec, spec) || isOnlyScale(old.spec, spec))) {
    const resumed = isSame(old.spec, spec) ? resumedRollout(old) : old.rollout;
    return { service: { ...base, rollout: resumed }, revisions: [], forgotten: [] };
  }
  const known = revisionsOf(view, old);
  const left: Bare<Revision> = { ...presentRevision(known, old), stable: isStable(view, old) };
  const number = left.number + 1;
  const came: Bare<Revision> = {
    id: revisionId(old.id, number),
    serviceId: old.id,
    number,
    spec,
    specVersion,
    changes,
    stable: false,
  };
  const earlier = known.filter(each => each.number < left.number);
  return {
    service: {
      ...base,
      revision: number,
      // A job is not rolled out: it begins anew.
      rollout: isJob(spec.mode)
        ? undefined
        : replaces
          ? freshRollout(kind, specVersion, sameVersions([...earlier, left], old.spec, spec))
          : resumedRollout(old),
    },
    revisions: [left, came],
    forgotten: beyondLimit([...earlier, left], number),
  };
}

export function writesOfRevised({ service, revisions, forgotten }: Revised): readonly Write[] {
  return [
    { kind: 'put', table: 'service', object: service },
    ...revisions.map(object => ({ kind: 'put', table: 'revision', object }) as const),
    ...forgotten.map(id => ({ kind: 'delete', table: 'revision', id }) as const),
  ];
}

/** All that are kept, the present one too (but the first, as long as it is the only one), oldest first. */
export function revisionsOf(view: View, service: Pick<Service, 'id'>): readonly Revision[] {
  return [...view.list('revision')].filter(each => each.serviceId === service.id).sort((a, b) => a.number - b.number);
}

/** Where a rollback leads when nothing is said: to the last stable spec that is another one, else to the last other one. */
export function findTarget(view: View, service: Service): Revision | undefined {
  const others = revisionsOf(view, service).filter(
    each => each.number < numberOf(service) && !isSame(withMode(each.spec, service.spec), service.spec),
  );
  return others.findLast(each => each.stable) ?? others.at(-1);
}

/** The service with the spec of the revision; the number of replicas stays. */
export function rolledBack(view: View, service: Service, target: Revision): Revised {
  const changes = [`back to revision ${target.number}`];
  return reviseService(view, service, withMode(target.spec, service.spec), { kind: 'rollback', changes });
}

function withMode(spec: ServiceSpec, { mode }: ServiceSpec): ServiceSpec {
  return { ...spec, mode };
}

export function revisionId(serviceId: string, number: number): string {
  return `${serviceId}.${number}`;
}

/** Made from what the service asks for now. */
export function isCurrent(task: Pick<Task, 'specVersion'>, { specVersion, rollout }: Service): boolean {
  return task.specVersion === specVersion || rollout?.sameVersions.includes(task.specVersion) === true;
}

export function numberOf({ revision }: Pick<Service, 'revision'>): number {
  return revision ?? 1;
}

/** The first revision is written down when the second one comes: most services never have two. */
function presentRevision(known: readonly Revision[], service: Service): Bare<Revision> {
  const number = numberOf(service);
  const present = known.find(each => each.number === number);
  if (present !== undefined) return present;
  const { id, spec, specVersion } = service;
  return { id: revisionId(id, number), serviceId: id, number, spec, specVersion, changes: [], stable: false };
}

function isStable(view: View, service: Service): boolean {
  const { rollout } = service;
  if (rollout !== undefined) return rollout.state === 'completed' || rollout.state === 'rolled-back';
  return [...view.tasksOfService(service.id)].some(
    task => task.specVersion === service.specVersion && isServing(task.status),
  );
}

/** Older versions whose tasks are as the spec asks. A forced replacement takes none for granted. */
function sameVersions(
  earlier: readonly Pick<Revision, 'spec' | 'specVersion'>[],
  old: ServiceSpec,
  spec: ServiceSpec,
): readonly number[] {
  if (spec.task.force > old.task.force) return [];
  return [...new Set(earlier.filter(each => !replacesTasks(each.spec, spec)).map(each => each.specVersion))];
}

function beyondLimit(earlier: readonly Bare<Revision>[], number: number): readonly string[] {
  const lastStable = earlier.findLast(each => each.stable);
  return earlier.filter(each => each.number < number - revisionsMax && each !== lastStable).map(each => each.id);
}

function freshRollout(kind: Change['kind'], specVersion: number, same: readonly number[]): Rollout {
  return {
    state: kind === 'update' ? 'updating' : 'rolling-back',
    specVersion,
    startedAtMs: 0,
    endedAtMs: 0,
    message: '',
    total: 0,
    done: 0,
    progressedAtMs: 0,
    failed: [],
    deadlineAtMs: 0,
    because: '',
    sameVersions: same,
  };
}

/** A paused rollout begins anew, with its failures forgiven. */
export function resumedRollout({ rollout }: Service): Rollout | undefined {
  if (rollout?.state === 'paused') return freshRollout('update', rollout.specVersion, rollout.sameVersions);
  if (rollout?.state === 'rollback-paused') return freshRollout('rollback', rollout.specVersion, rollout.sameVersions);
  return rollout;
}
