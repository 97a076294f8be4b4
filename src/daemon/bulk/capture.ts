/**
 * Packets of one task, from whichever node runs it, to the person who asks: one bulk stream, its data passed on.
 *
 * `relayCapture` is the manager's half, called by relay.ts, `framesOf` the node's. Not here: looking at packets (netns/capture.ts, netns/trace.ts).
 */
import { openChannel } from '../../channel.js';
import { CoveyError, fromProblem } from '../../errors.js';
import type { BulkFrame, CaptureChunk, CaptureRequest, CaptureStart } from '../../gen/types.js';
import type { Store } from '../../raft/store.js';
import type { BulkAgent } from '../session/types.js';
import type { OpenTaskStream } from './relay.js';
import { getTask } from './target.js';

export async function* relayCapture(options: {
  readonly store: Store;
  readonly open: OpenTaskStream;
  readonly request: CaptureRequest;
  readonly signal: AbortSignal;
}): AsyncGenerator<CaptureChunk> {
  const { store, open, request, signal } = options;
  const task = getTask(store.view(), request.task);
  if (task.nodeId === '' || task.endpoints.length === 0) {
    throw new CoveyError('bad-argument', `Cannot look at packets of task "${request.task}"`, {
      state: task.nodeId === '' ? `it is ${task.status.state}, on no node yet` : 'it is on no overlay network',
    });
  }
  const start: BulkFrame = { body: { kind: 'capture', ...request.start, taskId: task.id } };
  for await (const { body } of open(task, start, { down: openChannel<BulkFrame>(1), signal })) {
    if (body.kind === 'data') yield { data: body.data };
    if (body.kind === 'end' && body.problem !== undefined) throw fromProblem(body.problem);
  }
}

/** Packets of a task as frames of a bulk stream. */
export function framesOf(network: {
  readonly capture: (start: CaptureStart, signal: AbortSignal) => AsyncIterable<Uint8Array>;
}): BulkAgent['capture'] {
  return async function* (start, signal) {
    for await (const data of network.capture(start, signal)) {
      yield { body: { kind: 'data', stream: 'stdout', data, eof: false, atMs: 0 } };
    }
  };
}
