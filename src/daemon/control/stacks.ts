/**
 * Stacks as people deploy and remove them.
 *
 * Called by control.ts. Not here: the plan (stack-plan.ts).
 */
import { CoveyError } from '../../errors.js';
import type { StackChange } from '../../gen/types.js';
import type { View, Write } from '../../raft/store.js';
import { type ControlHandlers, change, type Parts } from './parts.js';
import { planRemovals } from './services.js';
import { planStack, type StackPlan } from './stack-plan.js';

type StackHandlers = Pick<ControlHandlers, 'deployStack' | 'removeStack'>;

export function stackHandlers(parts: Parts): StackHandlers {
  const { store, random } = parts;
  return {
    deployStack: async (request, context) => {
      let plan: StackPlan = planStack(store.view(), request, random);
      checkExpected(plan, request.expect, request.name);
      if (!request.plan && plan.writes.length > 0) {
        await change(parts, context, view => {
          plan = planStack(view, request, random);
          checkExpected(plan, request.expect, request.name);
          return plan.writes;
        });
      }
      const { changes, serviceIds, mark } = plan;
      return { changes, serviceIds, mark };
    },
    removeStack: async ({ name }, context) => {
      let removal = planStackRemoval(store.view(), name);
      if (removal.writes.length > 0) {
        await change(parts, context, view => {
          removal = planStackRemoval(view, name);
          return removal.writes;
        });
      }
      return { changes: removal.changes, serviceIds: removal.serviceIds };
    },
  };
}

function checkExpected({ mark }: StackPlan, expect: string, name: string): void {
  if (expect === '' || mark.startsWith(expect)) return;
  throw new CoveyError('plan-changed', `Cannot deploy stack "${name}" as planned: the cluster has changed`, {
    state: `the plan has the mark ${mark} now, not ${expect}`,
    hint: 'plan again with --plan',
  });
}

type StackRemoval = Omit<StackPlan, 'mark'>;

/** Services are stopped; networks, secrets and configs are marked, and go when nothing uses them any more. */
function planStackRemoval(view: View, stack: string): StackRemoval {
  const services = [...view.list('service')].filter(({ spec }) => spec.stack === stack);
  const networks = [...view.list('network')].filter(({ spec }) => spec.stack === stack);
  const secrets = [...view.list('secret')].filter(({ spec }) => spec.stack === stack);
  const configs = [...view.list('config')].filter(({ spec }) => spec.stack === stack);
  if (services.length + networks.length + secrets.length + configs.length === 0) {
    throw new CoveyError('not-found', `Cannot find stack "${stack}"`, { hint: 'covey stack ls' });
  }
  const told = (
    object: string,
    list: readonly { readonly spec: { readonly name: string } }[],
  ): readonly StackChange[] =>
    list.map(({ spec }) => ({ kind: 'remove', object, name: spec.name.replace(`${stack}_`, ''), details: [] }));
  const marked: Write[] = [
    ...networks.map(object => ({ kind: 'put', table: 'network', object: { ...object, removing: true } }) as const),
    ...secrets.map(object => ({ kind: 'put', table: 'secret', object: { ...object, removing: true } }) as const),
    ...configs.map(object => ({ kind: 'put', table: 'config', object: { ...object, removing: true } }) as const),
  ].filter(({ object }) => view.find('network', object.id)?.removing !== true);
  return {
    writes: [...planRemovals(services), ...marked],
    changes: [
      ...told('service', services),
      ...told('network', networks),
      ...told('secret', secrets),
      ...told('config', configs),
    ],
    serviceIds: services.map(({ id }) => id),
  };
}
