/**
 * Linearizable reads that wait: first for the leader's word up to which index they must wait, then for the application
 * to get there. All reads of one turn share one question; a question that was lost is asked again.
 *
 * Called by: ../node.ts. Not here: how the leader makes sure (core/raft/reads.ts).
 */
import { type RawNode, readIndex } from '../core/rawnode.js';
import type { ReadState } from '../core/types.js';
import type { NodeReadOutcome } from './types.js';

export interface ReadQueue {
  readonly add: (done: (outcome: NodeReadOutcome) => void) => void;
  /** Asks for all that came since the last turn. */
  readonly ask: (node: RawNode) => void;
  readonly onState: (state: ReadState) => void;
  /** Answers those whose index is applied. */
  readonly release: (applied: number) => void;
  /** A tick has passed: asks again what was not answered, gives up what waited too long. */
  readonly tick: (node: RawNode) => void;
  readonly giveUp: (outcome: NodeReadOutcome) => void;
  readonly size: () => number;
}

interface Group {
  readonly reads: readonly ((outcome: NodeReadOutcome) => void)[];
  ticks: number;
}

export interface ReadQueueOptions {
  /** After so many ticks without an answer the question is put again. */
  readonly retryTicks: number;
  /** After so many the reader is told that there is no leader. */
  readonly giveUpTicks: number;
  /**
   * Where the numbers of this process's questions begin: drawn anew for each, because an answer to a question of the
   * process before it may still be on its way, and would be taken for ours.
   */
  readonly firstRequest: number;
}

export function createReadQueue({ retryTicks, giveUpTicks, firstRequest }: ReadQueueOptions): ReadQueue {
  let fresh: ((outcome: NodeReadOutcome) => void)[] = [];
  let nextRequest = firstRequest;
  /** By every request number under which they were asked. */
  const asked = new Map<number, Group>();
  let confirmed: { readonly group: Group; readonly index: number }[] = [];
  let waiting = 0;
  const answer = (group: Group, outcome: NodeReadOutcome) => {
    waiting -= group.reads.length;
    for (const done of group.reads) done(outcome);
  };
  const put = (node: RawNode, group: Group) => {
    const request = nextRequest;
    nextRequest += 1;
    if (readIndex(node, request)) asked.set(request, group);
    else asked.set(-request, group);
  };
  const groups = () => new Set(asked.values());
  const forget = (group: Group) => {
    for (const [request, other] of asked) if (other === group) asked.delete(request);
  };
  return {
    add(done) {
      fresh.push(done);
      waiting += 1;
    },
    ask(node) {
      if (fresh.length === 0) return;
      const group = { reads: fresh, ticks: 0 };
      fresh = [];
      put(node, group);
    },
    onState({ request, index }) {
      const group = asked.get(request);
      if (!group) return;
      forget(group);
      confirmed.push({ group, index });
    },
    release(applied) {
      if (confirmed.length === 0) return;
      const due = confirmed.filter(({ index }) => index <= applied);
      if (due.length === 0) return;
      confirmed = confirmed.filter(({ index }) => index > applied);
      for (const { group, index } of due) answer(group, { kind: 'ready', index });
    },
    tick(node) {
      for (const group of groups()) {
        group.ticks += 1;
        if (group.ticks >= giveUpTicks) {
          forget(group);
          answer(group, { kind: 'no-leader' });
        } else if (group.ticks % retryTicks === 0) {
          put(node, group);
        }
      }
    },
    giveUp(outcome) {
      const all = [...groups(), ...confirmed.map(({ group }) => group), { reads: fresh, ticks: 0 }];
      fresh = [];
      asked.clear();
      confirmed = [];
      for (const group of all) answer(group, outcome);
    },
    size: () => waiting,
  };
}
