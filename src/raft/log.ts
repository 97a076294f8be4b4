/**
 * The replicated log as its users see it: entries go in by `propose`, come out of `apply` in the same order on every manager,
 * and an entry that was answered with `committed` survives kill -9 and loss of power.
 *
 * Implementation: group-log.ts (a Raft group, of one manager or of several).
 *
 * Not here: what an entry means (store.ts).
 */
export type ProposeOutcome =
  | { readonly kind: 'committed'; readonly index: number }
  | { readonly kind: 'not-leader'; readonly leaderId: string | undefined }
  | { readonly kind: 'dropped'; readonly reason: string }
  | { readonly kind: 'too-large'; readonly sizeBytes: number; readonly limitBytes: number }
  | { readonly kind: 'no-space'; readonly path: string }
  | { readonly kind: 'stopped' }
  /** Leadership was lost on the way: it may or may not be in the log. */
  | { readonly kind: 'unknown' };

/** Where entries go to. Called in order of index, each index once per incarnation; must not throw for a well-formed entry. */
export interface StateMachine {
  readonly apply: (index: number, entry: Uint8Array) => void;
  /** Everything up to the last applied entry, for a snapshot. */
  readonly snapshot: () => Uint8Array;
  readonly restore: (snapshot: Uint8Array) => void;
}

export interface Log extends AsyncDisposable {
  /** Resolves after the entry was applied here (committed), or with why not. */
  readonly propose: (entry: Uint8Array) => Promise<ProposeOutcome>;
  readonly lastApplied: () => number;
  /** Whether a majority answers; then all that was committed before the call is applied here. */
  readonly confirm: () => Promise<boolean>;
  /** Term of the present leadership; grows with each. */
  readonly term: () => number;
}
