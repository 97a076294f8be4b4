/**
 * `rebalance`: marks the tasks that are to move; orchestrate carries the moves out, whoever leads and whether or not somebody
 * waits for them.
 *
 * Not here: which tasks (orchestrate/rebalance.ts), how they move (orchestrate/moves.ts).
 */
import type { PlannedMove, Service } from '../../gen/types.js';
import type { View, Write } from '../../raft/store.js';
import { configOf } from '../orchestrate/progress.js';
import { type Move, planRebalance } from '../orchestrate/rebalance.js';
import { type ControlHandlers, change, type Parts } from './parts.js';

/** Of one command: what one transaction takes. */
const movesMax = 150;

export function rebalanceOf(parts: Parts): ControlHandlers['rebalance'] {
  return async ({ dryRun, maxMoves }, context) => {
    const nowMs = parts.clock.wallMs();
    const limits = { movesMax: maxMoves === 0 ? movesMax : Math.min(maxMoves, movesMax), nowMs };
    let plan = planRebalance(parts.store.view(), limits);
    if (!dryRun && plan.moves.length > 0) {
      await change(parts, context, view => {
        plan = planRebalance(view, limits);
        return plan.moves.map(move => marked(view, move, nowMs));
      });
    }
    return { moves: plan.moves.map(planned), more: plan.isMore, notes: plan.notes };
  };
}

function marked(view: View, { task, to }: Move, nowMs: number): Write {
  const service: Service | undefined = view.find('service', task.serviceId);
  const { deadlineMs } = configOf({ rollout: undefined, update: service?.spec.update, rollback: undefined });
  return { kind: 'put', table: 'task', object: { ...task, move: { nodeId: to.id, untilMs: nowMs + deadlineMs } } };
}

function planned({ task, to }: Move): PlannedMove {
  const { id, serviceName, slot, nodeId } = task;
  return { taskId: id, serviceName, slot, fromNode: nodeId, toNode: to.id };
}
