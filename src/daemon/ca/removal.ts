/**
 * What removing a node writes: its tasks that have not ended are orphaned, in pieces that fit a transaction; the node itself
 * goes with the last piece. Until then it is marked as left, so that schedule gives it nothing more.
 *
 * Pure. Used when a node leaves (issue.ts) and when an administrator removes one (control.ts).
 *
 * Not here: filling the slots again (orchestrate/), ending the node's session (dispatcher/).
 */
import { CoveyError } from '../../errors.js';
import type { Node, Task, TaskState } from '../../gen/types.js';
import type { NodeId } from '../../ids.js';
import type { View, Write } from '../../raft/store.js';

export interface NodeRemoval {
  readonly writes: readonly Write[];
  /** Another piece has to follow. */
  readonly more: boolean;
}

export function planNodeRemoval(
  view: View,
  removal: { readonly nodeId: NodeId; readonly nowMs: number; readonly writesMax: number },
): NodeRemoval {
  const node = view.find('node', removal.nodeId);
  if (node === undefined) return { writes: [], more: false };
  const live = [...view.tasksOfNode(removal.nodeId)].filter(isOnNode);
  const piece = live.slice(0, removal.writesMax - 1);
  const writes: Write[] = piece.map(task => ({
    kind: 'put',
    table: 'task',
    object: orphaned(task, node, removal.nowMs),
  }));
  if (piece.length < live.length) {
    return { writes: [{ kind: 'put', table: 'node', object: markedLeft(node, removal.nowMs) }, ...writes], more: true };
  }
  return { writes: [...writes, { kind: 'delete', table: 'node', id: node.id }], more: false };
}

const liveStates: readonly TaskState[] = ['assigned', 'accepted', 'preparing', 'ready', 'starting', 'running'];

function isOnNode(task: Task): boolean {
  return liveStates.includes(task.status.state);
}

function orphaned(task: Task, node: Node, nowMs: number): Task {
  return {
    ...task,
    status: {
      ...task.status,
      state: 'orphaned',
      sinceMs: nowMs,
      message: '',
      error: `node ${node.spec.name} left the cluster`,
      errorCode: 'node-removed',
    },
  };
}

function markedLeft(node: Node, nowMs: number): Node {
  return { ...node, status: { state: 'left', sinceMs: nowMs, message: 'leaves the cluster' } };
}

export function removedError(nodeId: string): CoveyError {
  return new CoveyError('node-removed', `Cannot go on as node ${nodeId}`, {
    state: 'it was removed from the cluster',
    hint: 'covey leave --force, then covey join',
  });
}
