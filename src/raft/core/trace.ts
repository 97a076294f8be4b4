/**
 * What happened inside the core, event by event: the same events feed logs, metrics, checkers and trace validation.
 *
 * Keeps true: plain data without text; emitting changes nothing. Emitted by the rules in `raft/`, read by the driver
 * and by tests through `RaftConfig.trace`.
 *
 * Not here: the words that a log line needs (whoever prints it).
 */
import type { ConfChangeRefusal, ConfState, MessageKind, PeerId, Role } from './types.js';

export type CampaignKind = 'pre-vote' | 'election' | 'transfer';

interface TraceHead {
  readonly id: PeerId;
  readonly term: number;
}
export type TraceEvent = TraceHead &
  (
    | {
        readonly kind: 'started';
        readonly commit: number;
        readonly applied: number;
        readonly lastIndex: number;
        readonly lastTerm: number;
        readonly voters: readonly PeerId[];
      }
    | {
        readonly kind: 'became';
        readonly role: Role;
        readonly leader: PeerId;
        readonly vote: PeerId;
        readonly commit: number;
        readonly lastIndex: number;
      }
    | { readonly kind: 'election-started'; readonly reason: CampaignKind }
    | {
        readonly kind: 'campaign-refused';
        readonly because: 'not-promotable' | 'unapplied-conf-change' | 'already-leader';
      }
    | {
        readonly kind: 'vote-counted';
        readonly from: PeerId;
        readonly phase: 'vote' | 'pre-vote';
        readonly granted: boolean;
        readonly grants: number;
        readonly rejections: number;
      }
    | {
        readonly kind: 'vote-cast' | 'vote-refused' | 'vote-ignored';
        readonly to: PeerId;
        readonly phase: 'vote' | 'pre-vote';
        readonly lastIndex: number;
        readonly lastTerm: number;
      }
    | {
        readonly kind: 'higher-term';
        readonly from: PeerId;
        readonly message: MessageKind;
        readonly messageTerm: number;
      }
    | {
        readonly kind: 'stale-message';
        readonly from: PeerId;
        readonly message: MessageKind | 'storage-append-done';
        readonly messageTerm: number;
      }
    | { readonly kind: 'quorum-lost' }
    | { readonly kind: 'replicated'; readonly index: number; readonly count: number }
    | { readonly kind: 'committed'; readonly index: number }
    | { readonly kind: 'append-rejected'; readonly from: PeerId; readonly index: number }
    | { readonly kind: 'append-conflict'; readonly index: number; readonly ours: number; readonly theirs: number }
    | { readonly kind: 'snapshot-sent'; readonly to: PeerId; readonly index: number }
    | { readonly kind: 'snapshot-restored' | 'snapshot-ignored'; readonly index: number; readonly commit: number }
    | {
        readonly kind: 'progress';
        readonly peer: PeerId;
        readonly state: 'probe' | 'replicate' | 'snapshot';
        readonly match: number;
        readonly next: number;
      }
    | { readonly kind: 'conf-change-refused'; readonly because: ConfChangeRefusal }
    | { readonly kind: 'conf-changed'; readonly confState: ConfState }
    | { readonly kind: 'auto-leave'; readonly proposed: boolean }
    | { readonly kind: 'transfer'; readonly to: PeerId; readonly phase: 'started' | 'sent' | 'aborted' }
    | { readonly kind: 'proposal-dropped'; readonly because: string }
    | { readonly kind: 'leader-forgotten'; readonly leader: PeerId }
  );
