/**
 * A snapshot on its way to another member: begun or resumed, part by part, each answered when it is stored there.
 *
 * Keeps true: an answer that does not come within its time ends the call, and the next call goes on where this one stopped.
 *
 * Called by transport.ts. Not here: how parts are read and in which order (raft/transport.ts), the other end (serve.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type { RaftSnapshotPart, RaftSnapshotProgress } from '../../gen/types.js';
import type { Calls } from '../../grpc.js';
import type { Clock } from '../../host.js';
import type { SnapshotRequest } from '../../raft/core/types.js';
import { pumpSnapshot, type SnapshotSource } from '../../raft/transport.js';
import { toWire } from './codec.js';

/** A part is 256 KiB: a link that needs longer for it cannot carry a cluster. */
const partMs = 20_000;

interface Sending {
  readonly message: SnapshotRequest;
  readonly source: SnapshotSource;
  readonly signal: AbortSignal;
}

/** True when the other side has all of it on disk. */
export async function sendSnapshot(
  { calls, clock }: { readonly calls: Calls<Services['Raft']>; readonly clock: Clock },
  { message, source, signal }: Sending,
): Promise<boolean> {
  const ending = new AbortController();
  const stop = (): void => ending.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  const call = calls.snapshot({ signal: ending.signal });
  const answers = call[Symbol.asyncIterator]();
  const ask = async (body: RaftSnapshotPart['body']): Promise<RaftSnapshotProgress | undefined> => {
    const limit = clock.after(partMs, () =>
      ending.abort(new CoveyError('timeout', 'Cannot send a snapshot', { state: `no answer within ${partMs} ms` })),
    );
    try {
      await call.send({ body });
      const next = await answers.next();
      return next.done === true ? undefined : next.value;
    } finally {
      limit.cancel();
    }
  };
  let failure: unknown;
  const answered = (
    work: Promise<RaftSnapshotProgress | undefined>,
    answer: (progress?: RaftSnapshotProgress) => void,
  ) =>
    void work.then(answer, error => {
      failure = error;
      answer(undefined);
    });
  try {
    const stored = await new Promise<boolean>(done =>
      pumpSnapshot(message, source, {
        done,
        to: {
          beginSnapshot: (_, answer) =>
            answered(ask({ kind: 'begin', message: toWire(message) }), progress => answer(progress?.receivedBytes)),
          snapshotChunk: (_, { offset, bytes }, answer) =>
            answered(ask({ kind: 'bytes', offset, data: bytes }), progress => answer(progress?.receivedBytes)),
          finishSnapshot: (_, totalBytes, answer) =>
            answered(ask({ kind: 'end', totalBytes }), progress => answer(progress?.stored === true)),
        },
      }),
    );
    if (failure !== undefined) throw failure;
    return stored;
  } finally {
    signal.removeEventListener('abort', stop);
    call.end();
    ending.abort(new CoveyError('cancelled', 'Cannot go on: the snapshot is done'));
  }
}
