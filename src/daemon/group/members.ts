/**
 * The leader keeps the members of the Raft group what the store says: each manager a member, nobody else.
 *
 *     manager, no member           ──►  listens (learner)  ──► has caught up and answers ──►  votes
 *     manager that is to go        ──►  leads? hands over  ──► out of the group          ──►  worker, in the store
 *     member, no manager           ──►  out of the group
 *
 * Keeps true: one change at a time; nobody is taken out whose going would leave the others without a majority; an id that was
 * taken out never comes back, because the role changes only after it.
 *
 * `planMembers` is the rule, `openMembers` the shell. Not here: whether a change is wise (raft/membership.ts), who asks for it
 * (roles.ts, ca/issue.ts).
 */
import type { Node } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { isCancellation, type Lifetime } from '../../lifetime.js';
import type { ConfState, PeerId } from '../../raft/core/types.js';
import { type MembershipPlan, type MembershipView, planJoin, planPromote, planRemove } from '../../raft/membership.js';
import type { NodeStatus } from '../../raft/node/types.js';
import type { Store } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import type { Group } from './group.js';
import { historyOf, noteRemoved } from './history.js';

export type MemberStep =
  | { readonly kind: 'change'; readonly what: string; readonly plan: MembershipPlan & { readonly kind: 'propose' } }
  | { readonly kind: 'hand-over'; readonly to: PeerId }
  /** Out of the group: its role may change now. */
  | { readonly kind: 'let-go'; readonly nodeId: string }
  /** Something is to be done and can't be yet. */
  | { readonly kind: 'wait'; readonly why: string };

const lookAgainMs = 200;
const retryMs = 1_000;

/** The next thing to do; undefined when the members are what they should be. */
export function planMembers(nodes: readonly Node[], { status, removed }: MembershipView): MemberStep | undefined {
  const { confState } = status;
  if (confState.votersOutgoing.length > 0) return { kind: 'wait', why: 'a change of the members is going on' };
  const managers = nodes.filter(node => node.role === 'manager' && node.raftId !== 0);
  const view = { status, removed };
  const steps: (MemberStep | undefined)[] = [];
  for (const node of managers) {
    const { raftId, demoting } = node;
    if (demoting) {
      steps.push(isMember(confState, raftId) ? planGoing(status, raftId) : { kind: 'let-go', nodeId: node.id });
    } else if (!isMember(confState, raftId)) {
      steps.push(stepOf(planJoin(view, raftId), `${node.spec.name} listens`));
    } else if (confState.learners.includes(raftId)) {
      steps.push(stepOf(planPromote(view, raftId), `${node.spec.name} votes`));
    }
  }
  for (const peer of [...confState.voters, ...confState.learners]) {
    if (!managers.some(({ raftId }) => raftId === peer)) steps.push(planGoing(status, peer));
  }
  const due = steps.filter(step => step !== undefined);
  return due.find(({ kind }) => kind !== 'wait') ?? due[0];
}

function planGoing(status: NodeStatus, peer: PeerId): MemberStep {
  if (peer === status.id) {
    const to = findHeir(status);
    return to === undefined ? { kind: 'wait', why: 'no other voter answers' } : { kind: 'hand-over', to };
  }
  return stepOf(planRemove({ status, removed: new Set() }, peer), `member ${peer} goes`);
}

/** The voter that answers and has most of the log. */
export function findHeir(status: NodeStatus): PeerId | undefined {
  const [best] = status.peers
    .filter(peer => peer.id !== status.id && !peer.learner && peer.active)
    .sort((a, b) => b.match - a.match);
  return best?.id;
}

function stepOf(plan: MembershipPlan, what: string): MemberStep {
  return plan.kind === 'propose' ? { kind: 'change', what, plan } : { kind: 'wait', why: plan.state };
}

function isMember({ voters, learners }: ConfState, peer: PeerId): boolean {
  return voters.includes(peer) || learners.includes(peer);
}

export interface MembersOptions {
  readonly store: Store;
  readonly group: Pick<Group, 'log'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends with the leadership. */
  readonly lifetime: Lifetime;
}

/** What it returns is called when the group changed. */
export function openMembers(options: MembersOptions): () => void {
  const { store, group, clock, log, lifetime } = options;
  let wake: (() => void) | undefined;
  let isDue = true;
  const look = (): void => {
    isDue = true;
    wake?.();
  };
  const watch = store.watch(events => {
    if (events.some(event => event.table === 'node')) look();
  });
  lifetime.defer('members/watch', () => watch[Symbol.dispose]());
  lifetime.run('members', async signal => {
    signal.addEventListener('abort', () => wake?.(), { once: true });
    while (!signal.aborted) {
      isDue = false;
      const view = store.view();
      const removed = new Set(historyOf(view).removed);
      const step = planMembers([...view.list('node')], { status: group.log.status(), removed });
      try {
        if (step !== undefined && step.kind !== 'wait') await carryOut(options, step, signal);
      } catch (error) {
        if (signal.aborted && isCancellation(error)) return;
        log.warn('members of the group not changed', { error, retryInMs: retryMs });
        await clock.sleep(retryMs, signal);
        continue;
      }
      if (isDue || signal.aborted) continue;
      if (step !== undefined) await clock.sleep(lookAgainMs, signal);
      else
        await new Promise<void>(resolve => {
          wake = resolve;
        });
    }
  });
  return look;
}

async function carryOut(
  { store, group, clock, log }: MembersOptions,
  step: Exclude<MemberStep, { readonly kind: 'wait' }>,
  signal: AbortSignal,
): Promise<void> {
  switch (step.kind) {
    case 'change': {
      const outcome = await group.log.changeMembers(step.plan.change);
      if (outcome.kind === 'committed') log.info('members of the group changed', { what: step.what });
      return;
    }
    case 'hand-over':
      group.log.transferTo(step.to);
      return;
    case 'let-go':
      await store.update(
        view => {
          const node = view.find('node', step.nodeId);
          if (node === undefined || !node.demoting) return [];
          const status = { ...node.status, sinceMs: clock.wallMs(), message: '' };
          const object = { ...node, role: 'worker' as const, raftId: 0, demoting: false, status };
          return [{ kind: 'put', table: 'node', object }, noteRemoved(view, [node.raftId])];
        },
        { principal: 'system', signal },
      );
      log.info('manager let go', { node: step.nodeId });
  }
}
