/**
 * What removing a node writes: its tasks that have not ended are orphaned, in pieces that fit a transaction; the node itself
 * goes with the last piece, and what says that it was removed comes. Until then it is marked as left, so that schedule gives it
 * nothing more.
 *
 * Keeps true: a removed node stays removed, on every manager, for as long as anybody could use a certificate of it.
 *
 * Pure. Used when a node leaves (issue.ts) and when an administrator removes one (control.ts).
 *
 * Not here: filling the slots again (orchestrate/), ending the node's session (dispatcher/).
 */
import { CoveyError } from '../../errors.js';
import type { Node, NodeRole, RemovedNode, Task, TaskState } from '../../gen/types.js';
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
  const gone: readonly Write[] = [
    { kind: 'delete', table: 'node', id: node.id },
    { kind: 'put', table: 'removedNode', object: removedNodeOf(view, node) },
    ...forgotten(view, removal.nowMs),
  ];
  return { writes: [...writes, ...gone], more: false };
}

const dayMs = 86_400_000;
const graceDaysDefault = 90;
/** Removed nodes forgotten in one transaction. */
const forgottenMax = 20;

/** How long a certificate that has expired is renewed by proof of its key. */
export function graceMsOf(view: View): number {
  for (const { spec } of view.list('cluster')) return (spec.certificateGraceDays ?? graceDaysDefault) * dayMs;
  return graceDaysDefault * dayMs;
}

function removedNodeOf(view: View, node: Node): Omit<RemovedNode, 'meta'> {
  const forgetAfterMs = node.certificateExpiresAtMs + graceMsOf(view);
  return { id: node.id, name: node.spec.name, raftId: node.raftId, forgetAfterMs };
}

/** Those of which nobody could use a certificate any more. */
function forgotten(view: View, nowMs: number): readonly Write[] {
  return [...view.list('removedNode')]
    .filter(({ forgetAfterMs }) => forgetAfterMs < nowMs)
    .slice(0, forgottenMax)
    .map(({ id }) => ({ kind: 'delete', table: 'removedNode', id }));
}

/**
 * What a node is to the server that it calls: its role; removed; undefined when nothing is known of it. A manager whose store is
 * behind does not know who is new, and goes by the certificate then: only the leader can say that there is no such node.
 */
export function standingOf(
  view: View,
  nodeId: string,
  { certified, isLeading }: { readonly certified: NodeRole; readonly isLeading: boolean },
): Standing | undefined {
  if (view.find('removedNode', nodeId) !== undefined) return 'removed';
  return view.find('node', nodeId)?.role ?? (isLeading ? undefined : certified);
}

export type Standing = NodeRole | 'removed';

/** A member of the Raft group with that id is or was there. */
export function isRaftIdUsed(view: View, id: number): boolean {
  for (const { raftId } of view.list('node')) if (raftId === id) return true;
  for (const { raftId } of view.list('removedNode')) if (raftId === id) return true;
  return false;
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
