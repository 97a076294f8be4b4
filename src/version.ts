/**
 * The versions of this program: its own, as `covey version` shows it and hellos carry it (equal to package.json, checked by a
 * test), and those of what it exchanges with other daemons and finds on disk. A test builds the next covey by putting another
 * file in the place of this one (test/cluster/next), and runs both side by side.
 *
 * Not here: the choice between two sides (daemon/session/protocol.ts), the frames of the log (raft/core/types.ts, raft/storage).
 */
export const version = '0.1.0';

/** When this version was written, Unix milliseconds: no clock that is right shows less. */
export const writtenAtMs = Date.UTC(2026, 10, 1);

export interface ProtocolRange {
  readonly min: number;
  readonly max: number;
}

/** Versions that are spoken between an agent and a manager. */
export const sessionProtocols: ProtocolRange = { min: 1, max: 1 };

/** Versions that are spoken between managers: the highest that both speak is used; with none in common the newer one refuses. */
export const peerProtocols: ProtocolRange = { min: 1, max: 1 };

/** The newest changes of the store that are known. Each is written with the lowest version that holds it. */
export const schemaVersion = 1;

/** Kinds of objects that came with a later schema than the first: a leader stores none while a manager would not know it. */
export const schemaSince: Readonly<Partial<Record<string, number>>> = {};

/** Of the data directory's layout. Grows when an older covey would misread what this one writes. */
export const dataFormat = 1;
