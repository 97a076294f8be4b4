/**
 * Raw nodes in synchronous mode on a network in memory, for tests of the rules: messages are delivered in order until
 * nothing moves, links can be cut, kinds of messages held back.
 *
 * Not here: faults at random (../sim/), step-by-step printing (../vectors/).
 */
import {
  advance,
  applyConfChangeNode,
  campaign,
  createRawNode,
  hasReady,
  propose,
  proposeConfChange,
  type RawNode,
  ready,
  stepNode,
  tickNode,
} from '../../../src/raft/core/rawnode.js';
import type {
  ConfChangeSingle,
  ConfChangeV2,
  Entry,
  Message,
  PeerId,
  ProposeOutcome,
  RaftConfig,
  ReadState,
  Snapshot,
} from '../../../src/raft/core/types.js';
import { MemoryStorage, noConfState } from '../memory-storage.js';

export const unlimited = Number.POSITIVE_INFINITY;

/** Settings of the product but for the limits, which are off, and for elections, which are plain unless asked for. */
export function configFor(id: PeerId, storage: MemoryStorage, overrides: Partial<RaftConfig> = {}): RaftConfig {
  return {
    id,
    storage,
    applied: storage.stored.index,
    electionTicks: 10,
    heartbeatTicks: 1,
    random: bound => (id * 7) % bound,
    asyncStorage: false,
    messageBytesMax: unlimited,
    applyingBytesMax: unlimited,
    uncommittedBytesMax: unlimited,
    proposalBytesMax: unlimited,
    inflightMessagesMax: 256,
    inflightBytesMax: unlimited,
    transferLagMax: unlimited,
    preVote: false,
    checkQuorum: false,
    stepDownOnRemoval: true,
    forwardProposals: true,
    commitByVote: false,
    leaseReads: false,
    checkConfChanges: true,
    ...overrides,
  };
}

export interface Disk {
  readonly voters: readonly PeerId[];
  readonly learners?: readonly PeerId[];
  /** Terms of the entries from index 1 on. */
  readonly terms?: readonly number[];
  readonly term?: number;
  readonly vote?: PeerId;
  readonly commit?: number;
}

export function diskWith({ voters, learners = [], terms = [], term, vote = 0, commit = 0 }: Disk): MemoryStorage {
  const storage = new MemoryStorage();
  storage.stored = { ...storage.stored, confState: { ...noConfState, voters, learners } };
  storage.append(terms.map((each, at) => entry(at + 1, each)));
  storage.hardState = { term: term ?? terms.at(-1) ?? 0, vote, commit };
  return storage;
}

export function entry(index: number, term: number, text = ''): Entry {
  return { kind: 'normal', version: 1, index, term, data: bytes(text) };
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function change(...changes: readonly ConfChangeSingle[]): ConfChangeV2 {
  return { transition: 'auto', changes, context: new Uint8Array(0) };
}

export interface Peer {
  readonly id: PeerId;
  node: RawNode;
  readonly storage: MemoryStorage;
  readonly config: RaftConfig;
  applied: Entry[];
  reads: ReadState[];
  /** Set to hold a node's application back: committed entries are then not even handed out. */
  paused: boolean;
}

/** What is done with one message: pass, drop, or hold for later. */
export type Verdict = 'pass' | 'drop' | 'hold';

export class Network {
  readonly peers = new Map<PeerId, Peer>();
  /** Every message that was delivered, in order. */
  readonly delivered: Message[] = [];
  held: Message[] = [];
  filter: (message: Message) => Verdict = () => 'pass';
  #cuts = new Set<string>();
  #queue: Message[] = [];

  constructor(disks: ReadonlyMap<PeerId, MemoryStorage>, overrides: Partial<RaftConfig> = {}) {
    for (const [id, storage] of disks) this.add(id, storage, overrides);
  }

  add(id: PeerId, storage: MemoryStorage, overrides: Partial<RaftConfig> = {}): Peer {
    const config = configFor(id, storage, overrides);
    const peer: Peer = { id, node: createRawNode(config), storage, config, applied: [], reads: [], paused: false };
    this.peers.set(id, peer);
    return peer;
  }

  peer(id: PeerId): Peer {
    const peer = this.peers.get(id);
    if (peer === undefined) throw new Error(`no peer ${id}`);
    return peer;
  }

  raft(id: PeerId): RawNode['raft'] {
    return this.peer(id).node.raft;
  }

  /** Nothing passes between `one` and `other`, in either direction. */
  cut(one: PeerId, other: PeerId): void {
    this.#cuts.add(`${one}>${other}`).add(`${other}>${one}`);
  }

  /** Nothing passes from `from` to `to`. */
  cutOneWay(from: PeerId, to: PeerId): void {
    this.#cuts.add(`${from}>${to}`);
  }

  isolate(id: PeerId): void {
    for (const other of this.peers.keys()) if (other !== id) this.cut(id, other);
  }

  heal(): void {
    this.#cuts = new Set();
    this.filter = () => 'pass';
  }

  campaign(id: PeerId): void {
    campaign(this.peer(id).node);
    this.settle();
  }

  propose(id: PeerId, text = 'data'): ProposeOutcome {
    const outcome = propose(this.peer(id).node, [bytes(text)]);
    this.settle();
    return outcome;
  }

  change(id: PeerId, ...changes: readonly ConfChangeSingle[]): ProposeOutcome {
    const outcome = proposeConfChange(this.peer(id).node, change(...changes));
    this.settle();
    return outcome;
  }

  tick(id: PeerId, times = 1): void {
    for (let at = 0; at < times; at++) {
      tickNode(this.peer(id).node);
      this.settle();
    }
  }

  tickAll(times = 1): void {
    for (let at = 0; at < times; at++) {
      for (const id of this.peers.keys()) tickNode(this.peer(id).node);
      this.settle();
    }
  }

  /** Steps messages as if they had come over the network, then lets everything settle. */
  deliver(...messages: readonly Message[]): void {
    this.#queue.push(...messages);
    this.settle();
  }

  release(): void {
    const held = this.held;
    this.held = [];
    this.deliver(...held);
  }

  /** The node loses its memory and comes back with what is on its disk; `applied` as its application knows it. */
  restart(id: PeerId, overrides: Partial<RaftConfig> = {}): Peer {
    const old = this.peer(id);
    const peer: Peer = { ...old, node: createRawNode({ ...old.config, ...overrides }), applied: [], reads: [] };
    this.peers.set(id, peer);
    return peer;
  }

  leaders(): PeerId[] {
    return [...this.peers.values()].filter(({ node }) => node.raft.role === 'leader').map(({ id }) => id);
  }

  /** The terms of the stored log from `from` on. */
  terms(id: PeerId, from = 1): number[] {
    const { storage } = this.peer(id);
    const terms: number[] = [];
    for (let at = Math.max(from, storage.firstIndex()); at <= storage.lastIndex(); at++) terms.push(storage.term(at)!);
    return terms;
  }

  texts(id: PeerId): string[] {
    return this.peer(id)
      .applied.filter(each => each.kind === 'normal')
      .map(each => new TextDecoder().decode(each.data))
      .filter(text => text !== '');
  }

  settle(): void {
    for (let rounds = 0; rounds < 10_000; rounds++) {
      for (const peer of this.peers.values()) this.#drain(peer);
      const batch = this.#queue;
      if (batch.length === 0) return;
      this.#queue = [];
      for (const message of batch) this.#pass(message);
    }
    throw new Error('the network does not come to rest');
  }

  #pass(message: Message): void {
    if (this.#cuts.has(`${message.from}>${message.to}`)) return;
    const verdict = this.filter(message);
    if (verdict === 'hold') this.held.push(message);
    const peer = this.peers.get(message.to);
    if (verdict !== 'pass' || peer === undefined) return;
    this.delivered.push(message);
    stepNode(peer.node, message);
  }

  #drain(peer: Peer): void {
    while (!peer.paused && hasReady(peer.node)) {
      const out = ready(peer.node);
      if (out.hardState !== undefined) peer.storage.hardState = out.hardState;
      if (out.snapshot !== undefined) install(peer, out.snapshot);
      peer.storage.append(out.entries);
      this.#queue.push(...out.messages);
      peer.reads.push(...out.readStates);
      for (const each of out.committedEntries) {
        if (each.kind !== 'normal') applyConfChangeNode(peer.node, each.change);
        peer.applied.push(each);
      }
      advance(peer.node);
    }
  }
}

/** A network of fresh nodes 1..count, all voters. */
export function freshNetwork(count: number, overrides: Partial<RaftConfig> = {}): Network {
  const voters = idsUpTo(count);
  return new Network(new Map(voters.map(id => [id, diskWith({ voters })])), overrides);
}

/** The same with logs of their own, by the terms of their entries. */
export function networkWithLogs(logs: readonly (readonly number[])[], overrides: Partial<RaftConfig> = {}): Network {
  const voters = idsUpTo(logs.length);
  return new Network(new Map(voters.map(id => [id, diskWith({ voters, terms: logs[id - 1]! })])), overrides);
}

export function idsUpTo(count: number): PeerId[] {
  return Array.from({ length: count }, (_, at) => at + 1);
}

/** Takes a snapshot of what the peer has applied and compacts its log up to there. */
export function compactPeer(peer: Peer, index: number): Snapshot {
  const term = peer.storage.term(index) ?? 0;
  const { voters, learners, learnersNext, autoLeave } = peer.node.raft.tracker.config;
  const confState = { voters: voters.incoming, votersOutgoing: voters.outgoing, learners, learnersNext, autoLeave };
  const snapshot: Snapshot = { version: 1, index, term, confState, data: bytes(`state at ${index}`) };
  peer.storage.stored = snapshot;
  peer.storage.compact(index);
  return snapshot;
}

/** One node alone, for tests that look at every message. */
export function single(id: PeerId, disk: Disk, overrides: Partial<RaftConfig> = {}): Peer {
  return new Network(new Map([[id, diskWith(disk)]]), overrides).peer(id);
}

/** Takes what the node has to do, stores it, and returns the messages to others. */
export function takeMessages(peer: Peer): readonly Message[] {
  const messages: Message[] = [];
  while (hasReady(peer.node)) {
    const out = ready(peer.node);
    if (out.hardState !== undefined) peer.storage.hardState = out.hardState;
    if (out.snapshot !== undefined) install(peer, out.snapshot);
    peer.storage.append(out.entries);
    messages.push(...out.messages);
    peer.reads.push(...out.readStates);
    for (const each of out.committedEntries) {
      if (each.kind !== 'normal') applyConfChangeNode(peer.node, each.change);
      peer.applied.push(each);
    }
    advance(peer.node);
  }
  return messages;
}

function install(peer: Peer, snapshot: Snapshot): void {
  peer.storage.applySnapshot(snapshot);
  peer.applied = [];
}
