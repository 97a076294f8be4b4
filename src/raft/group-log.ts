/**
 * A Raft group as a Log: the driver with a real clock, a storage thread and promises around it. Ticks are the host's
 * timers: a late one gives one tick, never a burst, and a very late one makes a leader hand its leadership over.
 *
 * Called by daemon/node.ts. Not here: the driver (node.ts), the way to other members (a Transport), what entries mean.
 */
import { CoveyError, fromProblem } from '../errors.js';
import type { Clock, Random, Timer } from '../host.js';
import type { PeerId, TransferOutcome } from './core/types.js';
import type { Log, ProposeOutcome } from './log.js';
import {
  type Machine,
  type MembershipChange,
  type NodeEvent,
  type NodeLimits,
  type NodeProposeOutcome,
  type NodeReadOutcome,
  type NodeStatus,
  nodeDefaults,
} from './node/types.js';
import { RaftNode } from './node.js';
import type { Keyring } from './storage/keyring.js';
import { openStorageClient } from './storage/storage-client.js';
import type { OwnerWork, StorageAnswer, StorageStats } from './storage/storage-protocol.js';
import type { OpenedStorage } from './storage/storage-server.js';
import type { WorkerSettings } from './storage/wal-worker.js';
import type { StoreMachine } from './store/machine.js';
import type { Arrivals, Transport } from './transport.js';

export interface GroupLogParts {
  readonly id: PeerId;
  readonly storage: WorkerSettings;
  /** The compiled wal-worker.js, or the bundle of it. */
  readonly workerFile: URL;
  readonly transport: Transport;
  readonly machine: StoreMachine;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits?: Partial<NodeLimits> | undefined;
  readonly tickMs?: number | undefined;
  /** A member by what people call it, for "who leads". */
  readonly nameOf: (id: PeerId) => string | undefined;
  readonly onEvent: (event: NodeEvent) => void;
}

export interface GroupLog extends Log {
  /** How the log was found; `torn` is worth a line in the daemon's log. */
  readonly opened: OpenedStorage;
  /** Where the transport delivers. */
  readonly arrivals: Arrivals;
  /** Resolves when everything that was committed before the call is applied here. */
  readonly read: () => Promise<NodeReadOutcome>;
  readonly changeMembers: (change: MembershipChange) => Promise<NodeProposeOutcome>;
  readonly transferTo: (peer: PeerId) => TransferOutcome;
  readonly status: () => NodeStatus;
  /** Counters of the disk, for metrics. */
  readonly storageStats: () => Promise<StorageStats>;
  /** From now on log and snapshots are written under the new current key. */
  readonly setKeyring: (keyring: Keyring) => Promise<void>;
  /** Soon a snapshot is written, whether or not one is due; it drops what lay under older keys. */
  readonly renewSnapshot: () => void;
}

const defaultTickMs = 100;

/** Opens the log in its folder and takes part in the group. Rejects when the log is refused (damaged, foreign, locked). */
export async function openGroupLog(parts: GroupLogParts): Promise<GroupLog> {
  const client = await openStorageClient(parts.storage, parts.workerFile);
  const { clock, random } = parts;
  const limits = { ...nodeDefaults, ...parts.limits };
  const node = new RaftNode({
    id: parts.id,
    limits,
    storage: client,
    opened: client.opened,
    transport: parts.transport,
    machine: machineOf(parts.machine),
    scheduler: { defer: call => setImmediate(call), nowMs: () => clock.monotonicMs() },
    random: bound => Math.floor(random.fraction() * bound),
    onEvent: parts.onEvent,
  });
  client.listen({
    onReply: reply => node.onStorageReply(reply),
    onDeath: error => {
      node.stop();
      parts.onEvent({ kind: 'failed', error });
    },
  });
  const ticking = startTicks(node, clock, {
    tickMs: parts.tickMs ?? defaultTickMs,
    electionTicks: limits.electionTicks,
  });
  return {
    opened: client.opened,
    arrivals: node,
    propose: entry =>
      new Promise(resolve => {
        node.propose(entry, outcome => resolve(outcomeOf(outcome, parts)));
      }),
    read: () =>
      new Promise(resolve => {
        node.read(resolve);
      }),
    changeMembers: change =>
      new Promise(resolve => {
        node.changeMembers(change, resolve);
      }),
    transferTo: peer => node.transferTo(peer),
    status: () => node.status(),
    storageStats: async () => {
      const answer = await askNode(node, { kind: 'stats' });
      if (answer.kind === 'stats') return answer.stats;
      throw new CoveyError('bug', `Cannot read the counters of the log: ${answer.kind}`);
    },
    setKeyring: async keyring => {
      await askNode(node, { kind: 'set-keyring', keyring });
    },
    renewSnapshot: () => node.renewSnapshot(),
    confirm: () => new Promise(resolve => node.read(({ kind }) => resolve(kind === 'ready'))),
    lastApplied: () => node.status().applied,
    term: () => node.status().term,
    async [Symbol.asyncDispose]() {
      ticking.cancel();
      node.stop();
      await client[Symbol.asyncDispose]();
    },
  };
}

function startTicks(
  node: RaftNode,
  clock: Clock,
  options: { readonly tickMs: number; readonly electionTicks: number },
): Timer {
  const { tickMs, electionTicks } = options;
  let timer: Timer;
  let ended = false;
  const arm = () => {
    const due = clock.monotonicMs() + tickMs;
    timer = clock.after(tickMs, () => {
      if (ended) return;
      node.tick(clock.monotonicMs() - due > tickMs * electionTicks);
      arm();
    });
  };
  arm();
  return {
    cancel() {
      ended = true;
      timer.cancel();
    },
  };
}

function askNode(node: RaftNode, work: OwnerWork): Promise<StorageAnswer> {
  return new Promise((resolve, reject) => {
    node.askStorage(work, answer => (answer.kind === 'failed' ? reject(fromProblem(answer.problem)) : resolve(answer)));
  });
}

/** The store takes bytes; the driver gives entries and pulls a snapshot piece by piece. */
function machineOf(machine: StoreMachine): Machine {
  return {
    apply: entry => machine.apply(entry.index, entry.data),
    snapshot: () => machine.snapshotPieces()[Symbol.iterator]() as Iterator<Uint8Array, undefined>,
    restore: pieces => machine.restoreSteps(Buffer.concat(pieces)),
  };
}

function outcomeOf(outcome: NodeProposeOutcome, parts: GroupLogParts): ProposeOutcome {
  switch (outcome.kind) {
    case 'committed':
      return { kind: 'committed', index: outcome.index };
    case 'not-leader':
      return { kind: 'not-leader', leaderId: parts.nameOf(outcome.leader) };
    case 'dropped':
      return { kind: 'dropped', reason: outcome.because };
    case 'no-space':
      return { kind: 'no-space', path: parts.storage.folder };
    default:
      return outcome;
  }
}
