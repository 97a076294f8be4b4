/**
 * How members reach each other, as the driver sees it: messages that may be lost, and snapshots that are pulled chunk by
 * chunk by whoever sends them. Neither call waits.
 *
 * Keeps true: a transport may drop, delay, reorder and repeat; the core lives with all of that. It never invents.
 *
 * Implementations: the in-memory one below (tests, benchmarks), the simulator's network, gRPC streams (daemon/rpc).
 */
import type { Message, PeerId, SnapshotRequest } from './core/types.js';
import type { SnapshotChunk } from './storage/snapshot-store.js';

export interface Transport {
  readonly send: (message: Message) => void;
  /**
   * Brings the snapshot's content over, then the message. `done(true)` when the other side has both on disk; false as
   * soon as that has failed. Once per call.
   */
  readonly sendSnapshot: (message: SnapshotRequest, source: SnapshotSource, done: (sent: boolean) => void) => void;
}

/** The content of a stored snapshot, read from the sender's disk. */
export interface SnapshotSource {
  /** Answers with undefined when the snapshot is gone (a newer one took its place). */
  readonly read: (offset: number, answer: (chunk: SnapshotChunk | undefined) => void) => void;
}

/** What a transport hands its arrivals to. */
export interface Arrivals {
  readonly receive: (message: Message) => void;
  /** Begins or resumes: answers how much of this snapshot is here already; undefined = it cannot be taken now. */
  readonly beginSnapshot: (message: SnapshotRequest, answer: (receivedBytes: number | undefined) => void) => void;
  readonly snapshotChunk: (
    message: SnapshotRequest,
    chunk: ArrivingChunk,
    answer: (receivedBytes: number | undefined) => void,
  ) => void;
  /** All bytes are here: store it, then take the message. Refused when it is not exactly `totalBytes`: a late repetition. */
  readonly finishSnapshot: (message: SnapshotRequest, totalBytes: number, answer: (stored: boolean) => void) => void;
  readonly unreachable: (peer: PeerId) => void;
  /**
   * Its machine answers that no process of it listens: it has ended. `nobody`: members are reached again, and nobody leads.
   * Tolerates being wrong.
   */
  readonly ended: (peer: PeerId) => void;
}

/** What of it concerns snapshots. */
export type SnapshotArrivals = Pick<Arrivals, 'beginSnapshot' | 'snapshotChunk' | 'finishSnapshot'>;

export interface ArrivingChunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Sends a snapshot's chunks one after the other to `to`: what every transport does, given how to reach the other side. */
export function pumpSnapshot(
  message: SnapshotRequest,
  source: SnapshotSource,
  way: { readonly to: SnapshotArrivals; readonly done: (sent: boolean) => void },
): void {
  const { to, done } = way;
  const next = (offset: number | undefined) => {
    if (offset === undefined) done(false);
    else source.read(offset, chunk => pass(offset, chunk));
  };
  const pass = (offset: number, chunk: SnapshotChunk | undefined) => {
    if (chunk === undefined) done(false);
    else if (chunk.bytes.length === 0) to.finishSnapshot(message, chunk.totalBytes, done);
    else to.snapshotChunk(message, { offset, bytes: chunk.bytes }, next);
  };
  to.beginSnapshot(message, next);
}

/** Members of one process: each message is handed over in a later turn, so that nothing calls back into its caller. */
export interface MemoryNetwork {
  readonly join: (id: PeerId, arrivals: Arrivals) => void;
  readonly leave: (id: PeerId) => void;
  readonly transportOf: (id: PeerId) => Transport;
}

export function createMemoryNetwork(defer: (call: () => void) => void): MemoryNetwork {
  const members = new Map<PeerId, Arrivals>();
  let mail: Message[] = [];
  const deliver = () => {
    const now = mail;
    mail = [];
    for (const message of now) members.get(message.to)?.receive(message);
  };
  return {
    join: (id, arrivals) => members.set(id, arrivals),
    leave: id => members.delete(id),
    transportOf: id => ({
      send(message) {
        if (mail.length === 0) defer(deliver);
        mail.push(message);
        if (!members.has(message.to)) members.get(id)?.unreachable(message.to);
      },
      sendSnapshot(message, source, done) {
        const to = members.get(message.to);
        if (to) pumpSnapshot(message, source, { to, done });
        else done(false);
      },
    }),
  };
}
