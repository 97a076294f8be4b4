/**
 * A group of managers that is made anew with one member, by recovery or from a backup: who manages from then on, and the wait until
 * that one leads and the other nodes have found it.
 *
 * Not here: where its state comes from (recover.ts, restore.ts).
 */
import { CoveyError } from '../../errors.js';
import type { RecoverProgress } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import type { NodeId } from '../../ids.js';
import type { View, Write } from '../../raft/store.js';
import { noteNewGroup } from '../group/history.js';

/** The node as it runs afterwards. */
export interface RecoveredNode {
  readonly isLeader: () => boolean;
  readonly view: () => View;
  /** Has a session with this manager. */
  readonly hasSession: (nodeId: NodeId) => boolean;
}

export type Say = (step: RecoverProgress['step'], over?: Partial<RecoverProgress>) => void;

export function sayer(onProgress: (progress: RecoverProgress) => void): Say {
  return (step, over = {}) => onProgress({ step, nodesBack: 0, nodes: 0, missing: [], formerManagers: [], ...over });
}

/** Who manages from now on: this node alone. The others are workers as soon as they come back. */
export function planSoleManager(
  view: View,
  sole: { readonly nodeId: string; readonly raftId: number },
): readonly Write[] {
  const managers = [...view.list('node')].filter(node => node.role === 'manager' || node.id === sole.nodeId);
  return [
    noteNewGroup(
      view,
      managers.map(({ raftId }) => raftId).filter(raftId => raftId !== 0),
    ),
    ...managers.map((node): Write => {
      const isSole = node.id === sole.nodeId;
      const role = isSole ? ('manager' as const) : ('worker' as const);
      const object = { ...node, role, raftId: isSole ? sole.raftId : 0, demoting: false };
      return { kind: 'put', table: 'node', object };
    }),
  ];
}

const lookMs = 100;
const leadMs = 30_000;
/** Nodes dial again within 2 s of losing their manager; those that were away for long come when they come. */
const gatherMs = 8_000;

/** Resolves when it leads and all nodes are back but former managers, or the time for that is over. */
export async function untilGathered(
  { clock, say, signal }: { readonly clock: Clock; readonly say: Say; readonly signal: AbortSignal },
  node: RecoveredNode,
  formerManagers: readonly string[],
): Promise<void> {
  await untilLeading(clock, node, signal);
  say('leading');
  const others = [...node.view().list('node')].filter(({ spec }) => !formerManagers.includes(spec.name));
  const missing = (): readonly string[] => others.filter(({ id }) => !node.hasSession(id)).map(({ spec }) => spec.name);
  const endMs = clock.monotonicMs() + gatherMs;
  let told = -1;
  while (missing().length > 0 && clock.monotonicMs() < endMs) {
    const nodesBack = others.length - missing().length;
    if (nodesBack !== told) say('gathering', { nodesBack, nodes: others.length });
    told = nodesBack;
    await clock.sleep(lookMs, signal);
  }
  const away = missing();
  say('done', { nodesBack: others.length - away.length, nodes: others.length, missing: away, formerManagers });
}

async function untilLeading(clock: Clock, node: RecoveredNode, signal: AbortSignal): Promise<void> {
  const endMs = clock.monotonicMs() + leadMs;
  while (!node.isLeader()) {
    if (clock.monotonicMs() > endMs) {
      throw new CoveyError('timeout', 'Cannot wait longer for the new group to choose its only member', {
        state: `${leadMs / 1000} s are over; the new group is on disk and counts`,
        hint: 'covey info; the log of the daemon',
      });
    }
    await clock.sleep(lookMs, signal);
  }
}
