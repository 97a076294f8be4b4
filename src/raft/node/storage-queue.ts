/**
 * The batches on their way to disk, in order, and what may happen only when they are there.
 *
 * Keeps true: completions run in the order of the batches; a completion that cannot finish at once (an installed
 * snapshot is still being read back) holds up those after it; after a failure nothing completes, ever.
 *
 * Called by: ../node.ts. Not here: the disk (storage/).
 */
import type { CoveyError } from '../../errors.js';
import { fromProblem } from '../../errors.js';
import type { Problem } from '../../gen/types.js';
import type { Batch } from '../storage/batch.js';
import type { StorageAnswer, StoragePort, StorageReply, StorageWork } from '../storage/storage-protocol.js';
import { encodeForWal } from '../storage/wal-types.js';

export interface StorageQueue {
  /** Stores the batch; `done` runs when it and all before it are on disk. A batch of nothing is not written. */
  readonly append: (batch: Batch, options: { readonly mustSync: boolean; readonly done: Completion }) => void;
  /** Anything else of the storage; answers out of the batches' order. */
  readonly ask: (work: StorageWork, answer: (answer: StorageAnswer) => void) => void;
  readonly onReply: (reply: StorageReply) => void;
  /** When the oldest batch that is not on disk was posted; undefined = none is. In ticks of the node. */
  readonly oldestTick: () => number | undefined;
  readonly lowSpace: () => boolean;
  /** Asks the storage whether there is room again. */
  readonly lookForSpace: () => void;
  /** Runs what has become ready: called after a held-up completion went on. */
  readonly drain: () => void;
}

/** False: not finished; it will be called again by `drain` until it answers true. */
type Completion = () => boolean;

interface Waiting {
  readonly id: number;
  readonly tick: number;
  readonly done: Completion;
  stored: boolean;
}

export interface StorageQueueOptions {
  readonly port: StoragePort;
  readonly nowTick: () => number;
  /** Something completed: the node has work. */
  readonly wake: () => void;
  readonly onFailure: (error: CoveyError) => void;
}

export function createStorageQueue({ port, nowTick, wake, onFailure }: StorageQueueOptions): StorageQueue {
  const asked = new Map<number, (answer: StorageAnswer) => void>();
  let waiting: Waiting[] = [];
  let first = 0;
  let nextId = 1;
  let lowSpace = false;
  let failed = false;
  const fail = (problem: Problem) => {
    failed = true;
    onFailure(fromProblem(problem));
  };
  const waitingById = new Map<number, Waiting>();
  const drain = () => {
    while (!failed && first < waiting.length && waiting[first]!.stored && waiting[first]!.done()) first += 1;
    if (first > 64 && first * 2 > waiting.length) {
      waiting = waiting.slice(first);
      first = 0;
    }
  };
  return {
    append(batch, { mustSync, done }) {
      const isEmpty = batch.entries.length === 0 && batch.hardState === undefined && batch.marker === undefined;
      const item: Waiting = { id: nextId, tick: nowTick(), done, stored: isEmpty };
      nextId += 1;
      waiting.push(item);
      if (isEmpty) {
        wake();
        return;
      }
      waitingById.set(item.id, item);
      port.post({ id: item.id, kind: 'append', batch: encodeForWal(batch, mustSync) });
    },
    ask(work, answer) {
      asked.set(nextId, answer);
      port.post({ ...work, id: nextId });
      nextId += 1;
    },
    onReply(reply) {
      if (failed) return;
      const answer = asked.get(reply.id);
      if (answer) {
        asked.delete(reply.id);
        answer(reply);
        return;
      }
      const item = waitingById.get(reply.id);
      if (!item) return;
      if (reply.kind === 'failed') {
        fail(reply.problem);
        return;
      }
      waitingById.delete(reply.id);
      if (reply.kind === 'done') lowSpace = reply.lowSpace;
      item.stored = true;
      wake();
    },
    oldestTick: () => (first < waiting.length ? waiting[first]!.tick : undefined),
    lowSpace: () => lowSpace,
    lookForSpace() {
      asked.set(nextId, answer => {
        if (answer.kind === 'stats') ({ lowSpace } = answer.stats);
        if (answer.kind === 'failed') fail(answer.problem);
      });
      port.post({ id: nextId, kind: 'stats' });
      nextId += 1;
    },
    drain,
  };
}
