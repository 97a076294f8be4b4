/**
 * The application of the simulator: registers with compare-and-set, and a running hash of everything applied, which its
 * snapshots carry along, so that a snapshot can be held against the replay of the log.
 */
import { crc32 } from 'node:zlib';
import type { Machine } from '../../../src/raft/node/types.js';

export type Operation =
  | { readonly kind: 'write'; readonly key: string; readonly value: number }
  | { readonly kind: 'cas'; readonly key: string; readonly from: number | undefined; readonly to: number };

export interface RegisterMachine extends Machine {
  readonly get: (key: string) => number | undefined;
  readonly applied: () => number;
  readonly chain: () => number;
}

interface State {
  values: Record<string, number>;
  applied: number;
  chain: number;
}

export interface MachineWatch {
  /** After each entry: what was applied where, and the hash of everything up to here. */
  readonly onApplied: (index: number, term: number, chain: number) => void;
  readonly onRestored: (index: number, chain: number) => void;
}

export function encodeOperation(operation: Operation, id: number): Uint8Array {
  return Buffer.from(JSON.stringify({ ...operation, id }));
}

export function createRegisterMachine(watch: MachineWatch, pieceBytes: number): RegisterMachine {
  let state: State = { values: {}, applied: 0, chain: 0 };
  return {
    get: key => state.values[key],
    applied: () => state.applied,
    chain: () => state.chain,
    apply(entry) {
      state.applied = entry.index;
      state.chain = crc32(entry.data, crc32(`${entry.index}.${entry.term}`, state.chain));
      watch.onApplied(entry.index, entry.term, state.chain);
      const operation: Operation = JSON.parse(Buffer.from(entry.data).toString());
      if (operation.kind === 'write') {
        state.values[operation.key] = operation.value;
        return true;
      }
      if (state.values[operation.key] !== operation.from) return false;
      state.values[operation.key] = operation.to;
      return true;
    },
    snapshot: () => piecesOf(encodeState(state), pieceBytes),
    *restore(pieces) {
      // In steps: what comes between two of them must find the old state, and do no harm.
      for (const _ of pieces) yield;
      state = JSON.parse(Buffer.concat(pieces).toString());
      watch.onRestored(state.applied, state.chain);
      return undefined;
    },
  };
}

/** What the very first snapshot of a group holds. */
export function emptyState(): Uint8Array {
  return encodeState({ values: {}, applied: 0, chain: 0 });
}

function* piecesOf(bytes: Uint8Array, pieceBytes: number): Generator<Uint8Array, undefined> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
  return undefined;
}

function encodeState(state: State): Uint8Array {
  return Buffer.from(JSON.stringify(state));
}
