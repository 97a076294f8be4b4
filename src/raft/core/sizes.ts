/**
 * How many bytes an entry counts for, in limits on messages, on work handed out and on what is uncommitted.
 *
 * Keeps true: the size depends on the entry alone, so that leader and follower cut batches alike. Used by log.ts, by
 * storage and by the leader's rules. The figures are those of the entry as protobuf.
 *
 * Not here: the encoding itself (the wire codec and the log's records have their own).
 */
import type { ConfChange, ConfChangeV2, Entry, Proposal } from './types.js';

/** Bytes of one stored entry. */
export function entrySize(entry: Entry): number {
  const head = 2 + varintSize(entry.term) + varintSize(entry.index);
  if (entry.kind !== 'normal') return head + 2 + fieldSize(payloadSize(entry));
  return head + fieldSize(entry.data.length);
}

/** Sum of `entrySize`. */
export function entriesSize(entries: readonly Entry[]): number {
  let sum = 0;
  for (const entry of entries) sum += entrySize(entry);
  return sum;
}

/** Bytes of what was proposed, without the log's own fields. Leaving a joint configuration counts nothing. */
export function payloadSize(item: Entry | Proposal): number {
  switch (item.kind) {
    case 'normal':
      return item.data.length;
    case 'conf-change':
      return confChangeSize(item.change);
    case 'conf-change-v2':
      return confChangeV2Size(item.change);
  }
}

/** Sum of `payloadSize`. */
export function payloadsSize(items: readonly (Entry | Proposal)[]): number {
  let sum = 0;
  for (const item of items) sum += payloadSize(item);
  return sum;
}

/** How many of `entries` fit into `maxBytes`; at least one if there is any. */
export function countWithin(entries: readonly Entry[], maxBytes: number): number {
  if (maxBytes === Number.POSITIVE_INFINITY || entries.length < 2) return entries.length;
  let size = 0;
  for (const [at, entry] of entries.entries()) {
    size += entrySize(entry);
    if (size > maxBytes && at > 0) return at;
  }
  return entries.length;
}

function confChangeSize(change: ConfChange): number {
  const context = change.context.length === 0 ? 0 : fieldSize(change.context.length);
  return 3 + varintSize(change.change.peer) + context;
}

function confChangeV2Size(change: ConfChangeV2): number {
  let size = change.context.length === 0 ? 0 : fieldSize(change.context.length);
  for (const single of change.changes) size += 5 + varintSize(single.peer);
  return size === 0 ? 0 : size + 2;
}

/** Tag, length and bytes of a field. */
function fieldSize(length: number): number {
  return 1 + varintSize(length) + length;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}
