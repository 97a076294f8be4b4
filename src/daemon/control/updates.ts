/**
 * Updates as people steer them: back to an earlier revision, paused, resumed; and the list of revisions.
 *
 * Called by services.ts. Not here: what a revision is (orchestrate/revisions.ts), the replacing itself (orchestrate/update.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Revision, Service } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { isUnderWay, paused } from '../orchestrate/progress.js';
import {
  findTarget,
  numberOf,
  type Revised,
  resumedRollout,
  revisionId,
  revisionsOf,
  rolledBack,
  writesOfRevised,
} from '../orchestrate/revisions.js';
import { getObject } from './find.js';
import { type ControlHandlers, change, changeOnce, type Parts } from './parts.js';
import { checkPortsFree, nothingUpcoming, resolveSpec } from './resolve.js';

type UpdateHandlers = Pick<ControlHandlers, 'rollbackService' | 'holdUpdate' | 'listRevisions'>;

export function updateHandlers(parts: Parts): UpdateHandlers {
  const { store, clock } = parts;
  return {
    rollbackService: async ({ service: text, to }, context) => {
      const { id } = getObject(store.view(), 'service', text);
      // Once: the second time would bring it forward again.
      await changeOnce(parts, context, view => writesOfRevised(planRollback(view, getObject(view, 'service', id), to)));
      return getObject(store.view(), 'service', id);
    },
    holdUpdate: async ({ service: text, paused: isPaused }, context) => {
      const { id } = getObject(store.view(), 'service', text);
      await change(parts, context, view => {
        const service = getObject(view, 'service', id);
        const object = isPaused ? heldService(service, clock.wallMs()) : resumedService(service);
        return [{ kind: 'put', table: 'service', object }];
      });
      return getObject(store.view(), 'service', id);
    },
    listRevisions: async ({ object }) => {
      const service = getObject(store.view(), 'service', object);
      return { service, revisions: listRevisions(store.view(), service) };
    },
  };
}

function planRollback(view: View, service: Service, to: number): Revised {
  const what = `Cannot roll service "${service.spec.name}" back`;
  if (service.removing) throw new CoveyError('not-found', `${what}: it is being removed`);
  const target = to === 0 ? findTarget(view, service) : view.find('revision', revisionId(service.id, to));
  if (target === undefined || target.number === numberOf(service)) {
    const kept = revisionsOf(view, service).map(({ number }) => number);
    throw new CoveyError('no-revision', to === 0 ? `${what}: it has no other spec` : `${what} to revision ${to}`, {
      state:
        kept.length === 0
          ? 'there is one revision only'
          : `kept are ${kept.join(', ')}; present is ${numberOf(service)}`,
      hint: `covey service history ${service.spec.name}`,
    });
  }
  checkPortsFree(
    view,
    target.spec,
    [...view.list('service')].filter(other => other.id !== service.id),
  );
  // Its networks, secrets and configs may be gone.
  return rolledBack(view, service, { ...target, spec: resolveSpec(view, target.spec, nothingUpcoming) });
}

function heldService(service: Service, nowMs: number): Service {
  const { rollout } = service;
  if (rollout === undefined || !isUnderWay(rollout)) throw noUpdate(service, 'pause');
  return { ...service, rollout: paused(rollout, 'by order', nowMs) };
}

function resumedService(service: Service): Service {
  const rollout = resumedRollout(service);
  if (rollout === service.rollout) throw noUpdate(service, 'resume');
  return { ...service, rollout };
}

function noUpdate({ spec, rollout }: Service, verb: string): CoveyError {
  return new CoveyError('no-update', `Cannot ${verb} the update of service "${spec.name}"`, {
    state: rollout === undefined ? 'it was never updated' : `its update is ${rollout.state}`,
    hint: `covey service ps ${spec.name}`,
  });
}

/** The newest first. The first one is told from the service as long as nothing followed on it. */
function listRevisions(view: View, service: Service): readonly Revision[] {
  const { id, meta, spec, specVersion } = service;
  const kept = revisionsOf(view, service).map(each =>
    each.number === 1 ? { ...each, meta: { ...each.meta, createdAtMs: meta.createdAtMs, owner: meta.owner } } : each,
  );
  const first: Revision = {
    id: revisionId(id, 1),
    meta,
    serviceId: id,
    number: 1,
    spec,
    specVersion,
    changes: [],
    stable: false,
  };
  return kept.length === 0 ? [first] : kept.reverse();
}
