/**
 * The thread that owns the Raft log of this node. It blocks in write and fdatasync so that nobody else has to; while it
 * does, requests gather in its port and become the next group.
 *
 * Started by: storage-client.ts. Messages: storage-protocol.ts, in arrays, so that a turn of the node costs one message.
 * Not here: what is done with a request (storage-server.ts).
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { isMainThread, type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { toProblem } from '../../errors.js';
import type { Problem } from '../../gen/types.js';
import { openFolderLock } from './folder-lock.js';
import { createRealDisk } from './real-disk.js';
import type { StorageReply, StorageRequest } from './storage-protocol.js';
import { type OpenedStorage, openStorage, type StorageOptions, type StorageServer } from './storage-server.js';

/** What the thread is started with. */
export type WorkerSettings = Omit<StorageOptions, 'disk' | 'random'>;

/** What it says: first how the opening went, then replies. */
export type WorkerMessage =
  | { readonly kind: 'opened'; readonly opened: OpenedStorage }
  | { readonly kind: 'refused'; readonly problem: Problem }
  | { readonly kind: 'replies'; readonly replies: readonly StorageReply[] };

if (!isMainThread && parentPort && workerData?.purpose === 'covey-raft-storage') run(parentPort, workerData.settings);

function run(port: MessagePort, settings: WorkerSettings): void {
  const say = (message: WorkerMessage) => port.postMessage(message);
  let lock: Disposable;
  let server: StorageServer;
  try {
    mkdirSync(settings.folder, { recursive: true, mode: 0o700 });
    lock = openFolderLock(settings.folder);
    server = openStorage({ ...settings, disk: createRealDisk(), random: size => randomBytes(size) });
  } catch (error) {
    say({ kind: 'refused', problem: toProblem(error) });
    port.close();
    return;
  }
  say({ kind: 'opened', opened: server.opened });
  const prepare = () => {
    if (server.idle()) setImmediate(prepare);
  };
  prepare();
  port.on('message', (first: readonly StorageRequest[]) => {
    const requests = [...first];
    for (let more = receiveMessageOnPort(port); more !== undefined; more = receiveMessageOnPort(port))
      requests.push(...more.message);
    say({ kind: 'replies', replies: server.handle(requests) });
    if (requests.some(request => request.kind === 'close')) {
      lock[Symbol.dispose]();
      port.close();
    } else {
      prepare();
    }
  });
}
