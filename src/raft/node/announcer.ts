/**
 * Tells the owner of a member what it has become: its role, that its work as leader may begin, who the members are.
 *
 * Keeps true: `leading` comes once a term, and only when everything that earlier leaders committed is applied here.
 *
 * Called by: ../node.ts.
 */
import { configOf, membersOf } from '../core/confchange.js';
import type { Raft } from '../core/raft/index.js';
import type { ConfState, PeerId, SoftState } from '../core/types.js';
import type { NodeEvent } from './types.js';

export interface Announcer {
  readonly role: (state: SoftState, term: number) => void;
  readonly leading: (raft: Raft, applied: number) => void;
  readonly configured: (confState: ConfState, index: number) => void;
}

export function createAnnouncer(id: PeerId, onEvent: (event: NodeEvent) => void): Announcer {
  let announcedTerm = 0;
  let removed = false;
  return {
    role: ({ role, leader }, term) => onEvent({ kind: 'role', role, leader, term }),
    leading(raft, applied) {
      if (raft.role !== 'leader' || announcedTerm === raft.term || applied < raft.termStartIndex) return;
      announcedTerm = raft.term;
      onEvent({ kind: 'leading', term: raft.term });
    },
    configured(confState, index) {
      onEvent({ kind: 'configured', confState, index });
      const isIn = membersOf(configOf(confState)).includes(id);
      if (!isIn && !removed) onEvent({ kind: 'removed' });
      removed = !isIn;
    },
  };
}
