/**
 * The main thread's end of the storage worker. Requests of one turn travel in one message; bodies are handed over, not
 * copied.
 *
 * Called by: node.ts's owner (daemon/manager). Not here: the thread itself (wal-worker.ts).
 */
import { Worker } from 'node:worker_threads';
import { CoveyError, fromProblem } from '../../errors.js';
import type { StoragePort, StorageReply, StorageRequest } from './storage-protocol.js';
import type { OpenedStorage } from './storage-server.js';
import type { WorkerMessage, WorkerSettings } from './wal-worker.js';

export interface StorageClient extends StoragePort, AsyncDisposable {
  readonly opened: OpenedStorage;
  /** Set once by the node before its first request. */
  listen(handlers: StorageHandlers): void;
}

interface StorageHandlers {
  readonly onReply: (reply: StorageReply) => void;
  /** The thread died: nothing will be answered any more. */
  readonly onDeath: (error: CoveyError) => void;
}

/** Starts the thread and waits until the log is read. Rejects with the reason of a refusal. */
export async function openStorageClient(settings: WorkerSettings, workerFile: URL): Promise<StorageClient> {
  const worker = new Worker(workerFile, {
    workerData: { purpose: 'covey-raft-storage', settings },
    name: 'covey-raft-log',
  });
  const opened = await firstMessage(worker);
  let handlers: StorageHandlers | undefined;
  let waiting: StorageRequest[] = [];
  let closing = false;
  const ended = new Promise<void>(resolve => {
    worker.once('exit', () => resolve());
  });
  const flush = () => {
    const requests = waiting;
    waiting = [];
    worker.postMessage(requests, transferable(requests));
  };
  const post = (request: StorageRequest) => {
    if (waiting.length === 0) queueMicrotask(flush);
    waiting.push(request);
  };
  worker.on('message', (message: WorkerMessage) => {
    if (message.kind === 'replies') for (const reply of message.replies) handlers?.onReply(reply);
  });
  const died = (cause: unknown) => {
    if (!closing)
      handlers?.onDeath(new CoveyError('log-failed', 'Cannot go on: the thread of the Raft log ended', { cause }));
  };
  worker.on('error', died);
  worker.on('exit', code => died(new Error(`exit code ${code}`)));
  return {
    opened,
    listen: next => {
      handlers = next;
    },
    post,
    async [Symbol.asyncDispose]() {
      closing = true;
      post({ id: 0, kind: 'close' });
      await ended;
    },
  };
}

function firstMessage(worker: Worker): Promise<OpenedStorage> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (message: WorkerMessage) => {
      worker.removeListener('error', reject);
      if (message.kind === 'opened') resolve(message.opened);
      else if (message.kind === 'refused') reject(fromProblem(message.problem));
    });
  });
}

/** The buffers that nobody on this side needs any more. */
function transferable(requests: readonly StorageRequest[]): ArrayBuffer[] {
  return requests.flatMap(request => {
    if (request.kind !== 'append') return [];
    const { buffer, byteLength } = request.batch.body;
    return buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : [];
  });
}
