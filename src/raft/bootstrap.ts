/**
 * The log of a group's first member: made anew for a new cluster, or made from the log of one survivor when the majority of
 * the managers is lost for good.
 *
 * A survivor's log may end with entries of which nobody can say any more whether they were committed: they are kept, because a
 * client may have been told that they were. It gets a new member id, so that members of the lost majority that come back
 * after all speak to somebody who is not there; and a term far above, so that what agents have seen is older.
 *
 * Called by daemon/ while no member runs on the folder (the storage thread's lock says so). Not here: running a member
 * (group-log.ts), which nodes stay managers (daemon/membership).
 */
import { CoveyError, fromProblem, toProblem } from '../errors.js';
import type { ConfState, PeerId } from './core/types.js';
import { refuseNewer } from './node/apply-queue.js';
import { openStorageClient, type StorageClient } from './storage/storage-client.js';
import type { StorageReply, StorageWork } from './storage/storage-protocol.js';
import { encodeForWal } from './storage/wal-types.js';
import type { WorkerSettings } from './storage/wal-worker.js';
import type { StoreMachine } from './store/machine.js';

export interface Bootstrap {
  readonly confState: ConfState;
  /** What the application starts from. */
  readonly content: Uint8Array;
  /** Where the log begins; 1, 1 for a new cluster. */
  readonly index?: number;
  readonly term?: number;
}

/** Makes the log of the first member of a group, in an empty folder. */
export async function bootstrapGroup(storage: WorkerSettings, workerFile: URL, start: Bootstrap): Promise<void> {
  await using client = await openStorageClient(storage, workerFile);
  if (client.opened.state.marker.index > 0 || client.opened.state.entries.length > 0) {
    throw new CoveyError(
      'already-in-cluster',
      `Cannot begin a Raft group in "${storage.folder}": there is a log already`,
    );
  }
  const { index = 1, term = 1, confState, content } = start;
  const name = { index, term };
  const ask = asker(client);
  await ask({ kind: 'snapshot-begin', meta: { ...name, confState }, origin: 'own' });
  await ask({ kind: 'snapshot-chunk', ...name, origin: 'own', offset: 0, bytes: content });
  await ask({ kind: 'snapshot-finish', ...name, origin: 'own', totalBytes: content.length });
  const hardState = { term, vote: 0, commit: index };
  await ask({
    kind: 'append',
    batch: encodeForWal({ hardState, marker: { ...name, replaces: true }, entries: [] }, true),
  });
}

export interface Recovery {
  /** The survivor's log. It stays as it is. */
  readonly from: WorkerSettings;
  /** An empty folder, and the survivor's new id. */
  readonly to: WorkerSettings;
  readonly workerFile: URL;
  /** Gets everything that the log holds. */
  readonly machine: StoreMachine;
  /** A last entry, made from what the machine holds then: who is a manager from now on. */
  readonly lastEntry: () => Uint8Array;
}

export interface Recovered {
  /** The last index of the old log, and how many of its entries were not known to be committed. */
  readonly index: number;
  readonly uncommitted: number;
  readonly members: number;
}

/** More than a leader could have been elected anew meanwhile. */
const termJump = 2 ** 20;

/** Makes the log of a group of one from the log of one member of a group that can never again agree on anything. */
export async function recoverGroup({ from, to, workerFile, machine, lastEntry }: Recovery): Promise<Recovered> {
  const { index, term, commit, members } = await replay(from, workerFile, machine);
  machine.apply(index + 1, lastEntry());
  const own: PeerId = to.identity.node;
  await bootstrapGroup(to, workerFile, {
    index: index + 1,
    term: term + termJump,
    confState: { voters: [own], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
    content: machine.snapshot(),
  });
  return { index, uncommitted: Math.max(0, index - commit), members };
}

/** Everything that is in the log, committed or not, in the machine. */
async function replay(from: WorkerSettings, workerFile: URL, machine: StoreMachine) {
  await using client = await openStorageClient(from, workerFile);
  const { state, snapshot } = client.opened;
  if (snapshot === undefined) {
    throw new CoveyError('state-damaged', `Cannot recover from "${from.folder}"`, {
      state: 'it holds no state of the cluster: this manager had not caught up yet',
      hint: 'recover on another manager',
    });
  }
  machine.restore(await readSnapshot(client, snapshot));
  for (const entry of state.entries) {
    refuseNewer(entry);
    if (entry.kind === 'normal' && entry.data.length > 0) machine.apply(entry.index, entry.data);
  }
  const last = state.entries.at(-1);
  const { voters, learners } = snapshot.confState;
  return {
    index: last?.index ?? snapshot.index,
    term: Math.max(state.hardState.term, last?.term ?? 0, snapshot.term),
    commit: Math.max(state.hardState.commit, snapshot.index),
    members: voters.length + learners.length,
  };
}

async function readSnapshot(
  client: StorageClient,
  { index, term }: { readonly index: number; readonly term: number },
): Promise<Uint8Array> {
  const ask = asker(client);
  const pieces: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const reply = await ask({ kind: 'snapshot-read', index, term, offset });
    if (reply.kind !== 'snapshot-chunk' || reply.bytes.length === 0) return Buffer.concat(pieces);
    pieces.push(reply.bytes);
    offset += reply.bytes.length;
  }
}

/** One request after the other. */
function asker(client: StorageClient): (work: StorageWork) => Promise<StorageReply> {
  let nextId = 1;
  let waiting: ((reply: StorageReply) => void) | undefined;
  client.listen({
    onReply: reply => waiting?.(reply),
    onDeath: error => waiting?.({ id: 0, kind: 'failed', problem: toProblem(error) }),
  });
  return work =>
    new Promise((resolve, reject) => {
      waiting = reply => (reply.kind === 'failed' ? reject(fromProblem(reply.problem)) : resolve(reply));
      client.post({ ...work, id: nextId });
      nextId += 1;
    });
}
