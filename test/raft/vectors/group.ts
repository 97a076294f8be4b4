/**
 * A group of members, each with a disk and an application in memory, and one network between them; every step is
 * printed. Nothing happens by itself.
 *
 * Keeps true: a member's batches are stored and applied in order; what goes between a member and its own storage is
 * never dropped. Not here: the directives that cause the steps (interaction.ts).
 */
import {
  advance,
  applyConfChangeNode,
  createRawNode,
  hasReady,
  type RawNode,
  ready,
  stepNode,
} from '../../../src/raft/core/rawnode.js';
import type {
  Entry,
  HardState,
  PeerId,
  RaftConfig,
  Snapshot,
  StorageAppend,
  StorageApply,
} from '../../../src/raft/core/types.js';
import { MemoryStorage } from '../memory-storage.js';
import { problemOf, stubConfig } from './arguments.js';
import { describeMessage, describeReady, messageNames, type Wire } from './describe.js';
import type { Output } from './output.js';

interface Envelope {
  readonly wire: Exclude<Wire, StorageAppend | StorageApply>;
  readonly from: PeerId;
  readonly to: PeerId;
  /** Between a node and its own storage, or to itself: never dropped. */
  readonly local: boolean;
}

export interface Member {
  readonly id: PeerId;
  /** Undefined while it is down. */
  node: RawNode | undefined;
  readonly storage: MemoryStorage;
  readonly config: RaftConfig;
  appendWork: StorageAppend[];
  applyWork: StorageApply[];
  /** One snapshot for each applied entry; the newest is handed out on demand. */
  history: Snapshot[];
}

export class Group {
  readonly members: Member[] = [];
  readonly #out: Output;
  #network: Envelope[] = [];

  constructor(out: Output) {
    this.#out = out;
  }

  /** A member with the next id that starts from `snapshot`, or from nothing if its index is 0. */
  add(snapshot: Snapshot, settings: Partial<RaftConfig>): void {
    const id = this.members.length + 1;
    const storage = new MemoryStorage();
    if (snapshot.index > 0) storage.applySnapshot(snapshot);
    const config: RaftConfig = { ...stubConfig, ...settings, id, storage };
    const member: Member = { id, node: undefined, storage, config, appendWork: [], applyWork: [], history: [snapshot] };
    storage.snapshotSource = () => member.history.at(-1);
    member.node = createRawNode(config);
    this.members.push(member);
  }

  member(id: PeerId): Member {
    const member = this.members[id - 1];
    if (member === undefined) throw new Error(`there is no node ${id}`);
    return member;
  }

  live(id: PeerId): RawNode {
    const { node } = this.member(id);
    if (node === undefined) throw new Error(`node ${id} is down`);
    return node;
  }

  /** Everything in memory is gone, and with it every write that was not carried out. */
  crash(member: Member): void {
    member.node = undefined;
    member.appendWork = [];
    member.applyWork = [];
    this.#network = this.#network.filter(envelope => !(envelope.local && envelope.to === member.id));
  }

  /** From what is stored: the application begins at the stored snapshot again. */
  restart(member: Member): void {
    member.history = [member.storage.stored];
    member.node = createRawNode({ ...member.config, applied: member.storage.stored.index });
  }

  sendSnapshot(from: PeerId, to: PeerId): void {
    const snapshot = this.member(from).history.at(-1)!;
    const wire = { kind: 'snapshot', version: 1, from, to, term: this.live(from).raft.term, snapshot } as const;
    this.#network.push({ wire, from, to, local: false });
    this.#out.print(describeMessage(wire, from));
  }

  processReady(member: Member): string | undefined {
    const node = this.live(member.id);
    const { asyncStorage } = member.config;
    const out = ready(node);
    this.#out.print(describeReady(out, member.id));
    if (!asyncStorage) {
      const problem = store(member.storage, out);
      if (problem !== undefined) return problem;
      this.#apply(member, out.committedEntries);
    }
    for (const wire of out.messages) {
      this.#network.push({ wire, from: wire.from, to: wire.to, local: wire.from === wire.to });
    }
    if (out.storageAppend !== undefined) member.appendWork.push(out.storageAppend);
    if (out.storageApply !== undefined) member.applyWork.push(out.storageApply);
    if (!asyncStorage) advance(node);
    return undefined;
  }

  processAppend(member: Member): string | undefined {
    const batch = member.appendWork.shift();
    if (batch === undefined) return this.#out.print('no append work to perform');
    this.#out.print(`Processing:\n${describeMessage({ ...batch, responses: [] }, member.id)}\n`);
    const problem = store(member.storage, batch);
    if (problem === undefined) this.#respond(member, batch.responses);
    return problem;
  }

  processApply(member: Member): string | undefined {
    const work = member.applyWork.shift();
    if (work === undefined) return this.#out.print('no apply work to perform');
    const shown = describeMessage(work, member.id);
    this.#out.print(`Processing:\n${shown.slice(0, shown.lastIndexOf(' Responses:['))}\n`);
    this.#apply(member, work.entries);
    this.#respond(member, [work.done]);
    return undefined;
  }

  /** Delivers or drops what is on its way to `id`; returns how many messages that were. */
  deliver(id: PeerId, drop: boolean, kind: string | undefined): number {
    const taken = this.#network.filter(
      each => isFor(each, id, drop) && (kind === undefined || messageNames[each.wire.kind] === kind),
    );
    this.#network = this.#network.filter(each => !taken.includes(each));
    for (const { wire, from } of taken) {
      this.#out.print(`${drop ? 'dropped: ' : ''}${describeMessage(wire, from)}\n`);
      const node = this.members[id - 1]?.node;
      if (drop || node === undefined) continue;
      const problem = problemOf(stepNode(node, wire));
      if (problem !== undefined) this.#out.print(`${problem}\n`);
    }
    return taken.length;
  }

  /** Lets these members work until nothing is left to do. */
  stabilize(chosen: readonly Member[]): string | undefined {
    for (;;) {
      const up = chosen.filter(member => member.node !== undefined);
      const withReady = up.filter(({ id }) => hasReady(this.live(id)));
      for (const member of withReady) {
        const problem = this.#out.titled(`> ${member.id} handling Ready\n`, () => this.processReady(member));
        if (problem !== undefined) return problem;
      }
      const withMail = up.filter(({ id }) => {
        if (!this.#network.some(each => isFor(each, id, false))) return false;
        this.#out.titled(`> ${id} receiving messages\n`, () => this.deliver(id, false, undefined));
        return true;
      });
      const appending = up.filter(({ appendWork }) => appendWork.length > 0);
      for (const member of appending) {
        const problem = this.#drain(member, 'processing append thread');
        if (problem !== undefined) return problem;
      }
      const applying = up.filter(({ applyWork }) => applyWork.length > 0);
      for (const member of applying) this.#drain(member, 'processing apply thread');
      if (withReady.length + withMail.length + appending.length + applying.length === 0) return undefined;
    }
  }

  #drain(member: Member, title: 'processing append thread' | 'processing apply thread'): string | undefined {
    this.#out.print(`> ${member.id} ${title}\n`);
    const append = title === 'processing append thread';
    while ((append ? member.appendWork : member.applyWork).length > 0) {
      const problem = this.#out.titled('', () => (append ? this.processAppend(member) : this.processApply(member)));
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #respond(member: Member, responses: readonly Envelope['wire'][]): void {
    this.#out.print('Responses:\n');
    for (const wire of responses) {
      this.#out.print(`${describeMessage(wire, member.id)}\n`);
      const to = 'to' in wire ? wire.to : member.id;
      this.#network.push({ wire, from: member.id, to, local: to === member.id });
    }
  }

  /** The application appends what it is given to what it has. */
  #apply(member: Member, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const last = member.history.at(-1)!;
      const update = entry.kind === 'normal' ? entry.data : entry.change.context;
      const confState =
        entry.kind === 'normal' ? last.confState : applyConfChangeNode(this.live(member.id), entry.change);
      const data = new Uint8Array([...last.data, ...update]);
      member.history.push({ version: 1, index: entry.index, term: entry.term, confState, data });
    }
  }
}

interface Batch {
  readonly hardState: HardState | undefined;
  readonly snapshot: Snapshot | undefined;
  readonly entries: readonly Entry[];
}

function store(storage: MemoryStorage, batch: Batch): string | undefined {
  if (batch.hardState !== undefined) storage.hardState = batch.hardState;
  if (batch.snapshot !== undefined) {
    if (batch.entries.length > 0) return "can't apply snapshot and entries at the same time";
    return storage.applySnapshot(batch.snapshot);
  }
  storage.append(batch.entries);
  return undefined;
}

function isFor(envelope: Envelope, id: PeerId, drop: boolean): boolean {
  return envelope.to === id && !(drop && envelope.local);
}
