import t from 'tap';
import type { Entry } from '../../../src/raft/core/types.js';
import { createMemoryLog } from '../../../src/raft/storage/memory-log.js';

const hardState = { term: 1, vote: 1, commit: 0 };

/** A few bytes of a large buffer, as messages and pools give them. */
function pieceEntry(index: number): Entry {
  const data = new Uint8Array(65_536).subarray(index, index + 3).fill(index);
  return { version: 1, term: 1, index, kind: 'normal', data };
}

t.test('an entry keeps its own bytes alive and not the buffer that they came in', async t => {
  const log = createMemoryLog({ hardState, snapshot: undefined, entries: [pieceEntry(1)] });
  log.append([pieceEntry(2)]);
  const kept = log.entries(1, 3, Number.MAX_SAFE_INTEGER) ?? [];
  t.strictSame(
    kept.map(entry => (entry.kind === 'normal' ? [[...entry.data], entry.data.buffer.byteLength] : [])),
    [
      [[1, 1, 1], 3],
      [[2, 2, 2], 3],
    ],
  );
});
