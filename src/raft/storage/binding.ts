/**
 * What a sealed record is bound to: its head (length, key, kind, sequence, the checksum of the record before), the member
 * that wrote it, and the file that it lies in. A record that was moved, exchanged or repeated elsewhere does not open.
 *
 * Records of version 1 were bound to their heads alone, and are read as such.
 *
 * Called by wal.ts, log-reader.ts, snapshot-store.ts. Not here: sealing (keyring.ts), the head (frame.ts).
 */
import { FRAME_HEAD_BYTES, type FrameHead, type FrameVersion, writeFrameHead } from './frame.js';
import type { LogIdentity } from './segment.js';

/** Of one file: room for a head, then what is the same for all its records. */
export type Binding = Buffer;

export type RecordFile =
  | { readonly kind: 'segment'; readonly number: number }
  | { readonly kind: 'snapshot'; readonly index: number; readonly term: number; readonly chunkBytes: number };

export function bindTo(identity: LogIdentity, file: RecordFile): Binding {
  const { cluster, node } = identity;
  const place = file.kind === 'segment' ? [file.number] : [file.index, file.term, file.chunkBytes];
  return Buffer.concat([
    Buffer.alloc(FRAME_HEAD_BYTES),
    Buffer.from(JSON.stringify([cluster, node, file.kind, ...place])),
  ]);
}

/** Good until the next call for that file. */
export function boundBytes(
  binding: Binding,
  frame: FrameHead & { readonly version?: FrameVersion },
  bodyBytes: number,
): Uint8Array {
  writeFrameHead(binding, 0, frame, bodyBytes);
  return frame.version === 1 ? binding.subarray(0, FRAME_HEAD_BYTES) : binding;
}
