/**
 * A group of members driven step by step by directives, one network and one disk each, everything printed.
 *
 * Level 1: what the members say in log lines is not compared (runner.ts drops those lines from the expected output).
 * Commands of our own, beside the usual ones: crash, restart, torn-write, read-index, report-snapshot, step-down.
 *
 * Not here: the reader (reader.ts), the printing (describe.ts), what files there are (../vectors.ts).
 */
import {
  advance,
  applyConfChangeNode,
  campaign,
  createRawNode,
  forgetLeader,
  hasReady,
  propose,
  proposeConfChange,
  type RawNode,
  readIndex,
  ready,
  reportSnapshot,
  reportUnreachable,
  stepDown,
  stepNode,
  tickNode,
  transferLeader,
} from '../../../src/raft/core/rawnode.js';
import { isVoter } from '../../../src/raft/core/tracker.js';
import type {
  ConfChangeSingle,
  ConfChangeV2,
  Entry,
  HardState,
  PeerId,
  ProposeOutcome,
  RaftConfig,
  Snapshot,
  StepOutcome,
  StorageAppend,
  StorageApply,
} from '../../../src/raft/core/types.js';
import { MemoryStorage, noConfState } from '../memory-storage.js';
import {
  describeEntries,
  describeMessage,
  describeProgress,
  describeReady,
  messageNames,
  roleNames,
  type Wire,
} from './describe.js';
import type { Argument, Directive } from './reader.js';

/** The stub that every node starts from. */
export const stubConfig: Omit<RaftConfig, 'id' | 'storage'> = {
  applied: 0,
  electionTicks: 3,
  heartbeatTicks: 1,
  random: bound => bound - 1,
  asyncStorage: false,
  messageBytesMax: Number.POSITIVE_INFINITY,
  applyingBytesMax: Number.POSITIVE_INFINITY,
  uncommittedBytesMax: Number.POSITIVE_INFINITY,
  proposalBytesMax: Number.POSITIVE_INFINITY,
  inflightMessagesMax: 2_147_483_647,
  inflightBytesMax: Number.POSITIVE_INFINITY,
  transferLagMax: Number.POSITIVE_INFINITY,
  preVote: false,
  checkQuorum: false,
  stepDownOnRemoval: false,
  forwardProposals: true,
  commitByVote: false,
  leaseReads: false,
  checkConfChanges: true,
};

interface Envelope {
  readonly wire: Exclude<Wire, StorageAppend | StorageApply>;
  readonly from: PeerId;
  readonly to: PeerId;
  /** Between a node and its own storage, or to itself: never dropped. */
  readonly local: boolean;
}

interface Member {
  readonly id: PeerId;
  node: RawNode | undefined;
  readonly storage: MemoryStorage;
  readonly config: RaftConfig;
  appendWork: StorageAppend[];
  applyWork: StorageApply[];
  /** One snapshot for each applied entry; the newest is handed out on demand. */
  history: Snapshot[];
}

const levels = ['DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL', 'NONE'];
const none = levels.length - 1;

export class Interaction {
  readonly members: Member[] = [];
  #network: Envelope[] = [];
  #out = '';
  #level = 0;
  readonly #overrides: Partial<RaftConfig>;

  constructor(overrides: Partial<RaftConfig> = {}) {
    this.#overrides = overrides;
  }

  /** Carries one directive out and returns what it printed. */
  run(directive: Directive): string {
    this.#out = '';
    const problem = this.#handle(directive);
    if (problem !== undefined) {
      if (this.#level === none) return problem;
      this.#out += problem;
    }
    return this.#out === '' ? 'ok' : this.#out;
  }

  #handle(directive: Directive): string | undefined {
    const { args } = directive;
    switch (directive.command) {
      case '_breakpoint':
        return undefined;
      case 'add-nodes':
        return this.#addNodes(args);
      case 'stabilize':
        return this.#stabilizeCommand(args);
      case 'deliver-msgs':
        return this.#deliverCommand(args);
      case 'process-ready':
        return this.#each(args, 'handling Ready', member => this.#processReady(member));
      case 'process-append-thread':
        return this.#each(args, 'processing append thread', member => this.#processAppend(member));
      case 'process-apply-thread':
        return this.#each(args, 'processing apply thread', member => this.#processApply(member));
      case 'log-level':
        return this.#setLevel(args[0]?.key ?? '');
      case 'raft-state':
        return this.#raftState();
      case 'transfer-leadership':
        transferLeader(this.#live(numberOf(args, 'from')), numberOf(args, 'to'));
        return undefined;
      default:
        return this.#handleOne(directive);
    }
  }

  /** Commands whose first argument is a node. */
  #handleOne({ command, args, input }: Directive): string | undefined {
    const [id = 0, second = 0] = bareNumbers(args);
    switch (command) {
      case 'campaign':
        campaign(this.#live(id));
        return undefined;
      case 'propose':
        return problemOf(propose(this.#live(id), [new TextEncoder().encode(args[1]!.key)]));
      case 'propose-conf-change':
        return this.#proposeConfChange(id, args.slice(1), input);
      case 'tick-election':
        return this.#tick(id, this.#member(id).config.electionTicks);
      case 'tick-heartbeat':
        return this.#tick(id, this.#member(id).config.heartbeatTicks);
      case 'set-randomized-election-timeout':
        this.#live(id).raft.electionTimeout = numberOf(args, 'timeout');
        return undefined;
      case 'forget-leader':
        forgetLeader(this.#live(id));
        return undefined;
      case 'report-unreachable':
        if (bareNumbers(args).length !== 2)
          return 'must specify exactly two node indexes: node on which to report, and reported node';
        reportUnreachable(this.#live(id), this.#member(second).id);
        return undefined;
      case 'raft-log':
        return this.#raftLog(this.#member(id));
      case 'status':
        this.#print(this.#live(id).raft.role === 'leader' ? describeProgress(this.#live(id).raft.tracker.peers) : '');
        return undefined;
      case 'compact':
        return this.#member(id).storage.compact(second) ?? this.#raftLog(this.#member(id));
      case 'send-snapshot':
        return this.#sendSnapshot(id, second);
      default:
        return this.#handleOwn({ command, args, id, second });
    }
  }

  /** Our own commands: what the others never do. */
  #handleOwn({
    command,
    args,
    id,
    second,
  }: {
    command: string;
    args: readonly Argument[];
    id: PeerId;
    second: number;
  }): string | undefined {
    switch (command) {
      case 'crash':
        return this.#crash(this.#member(id));
      case 'torn-write': {
        // A batch is atomic: torn in the middle, none of it is there after the crash.
        const batch = this.#member(id).appendWork[0];
        this.#print(
          batch === undefined
            ? 'no append work to tear\n'
            : `Torn:\n${describeMessage({ ...batch, responses: [] }, id)}\n`,
        );
        return this.#crash(this.#member(id));
      }
      case 'restart':
        return this.#restart(this.#member(id));
      case 'read-index':
        return readIndex(this.#live(id), second) ? undefined : 'no leader to read from';
      case 'report-snapshot':
        reportSnapshot(this.#live(id), second, textOf(args, 'status') === 'finish');
        return undefined;
      case 'step-down':
        stepDown(this.#live(id));
        return undefined;
      default:
        return 'unknown command';
    }
  }

  #addNodes(args: readonly Argument[]): string | undefined {
    const count = Number(args[0]!.key);
    let snapshot: Snapshot = { version: 1, index: 0, term: 0, confState: noConfState, data: new Uint8Array(0) };
    let config: Partial<RaftConfig> = {};
    for (const { key, values } of args.slice(1)) {
      const [value = ''] = values;
      if (key === 'voters')
        snapshot = { ...snapshot, confState: { ...snapshot.confState, voters: values.map(Number) } };
      if (key === 'learners')
        snapshot = { ...snapshot, confState: { ...snapshot.confState, learners: values.map(Number) } };
      if (key === 'content') snapshot = { ...snapshot, data: new TextEncoder().encode(value) };
      if (key === 'index') snapshot = { ...snapshot, index: Number(value) };
      if (key === 'read-only' && value !== 'safe' && value !== 'lease-based')
        return `invalid read-only option ${JSON.stringify(value)}`;
      config = { ...config, ...settingOf(key, value) };
    }
    config = { ...config, applied: snapshot.index };
    const bootstrap = snapshot.index !== 0 || snapshot.data.length > 0 || snapshot.confState !== noConfState;
    for (let at = 0; at < count; at++) {
      if (bootstrap && snapshot.index <= 1) return 'index must be specified as > 1 due to bootstrap';
      this.#addNode(bootstrap ? { ...snapshot, term: 1 } : snapshot, config, bootstrap);
    }
    return undefined;
  }

  #addNode(snapshot: Snapshot, settings: Partial<RaftConfig>, bootstrap: boolean): void {
    const id = this.members.length + 1;
    const storage = new MemoryStorage();
    if (bootstrap) storage.applySnapshot(snapshot);
    const config: RaftConfig = { ...stubConfig, ...this.#overrides, ...settings, id, storage };
    const member: Member = { id, node: undefined, storage, config, appendWork: [], applyWork: [], history: [snapshot] };
    storage.snapshotSource = () => member.history.at(-1);
    member.node = createRawNode(config);
    this.members.push(member);
  }

  #proposeConfChange(id: PeerId, args: readonly Argument[], input: string): string | undefined {
    let single = false;
    let transition: ConfChangeV2['transition'] = 'auto';
    for (const { key, values } of args) {
      for (const value of values) {
        if (key === 'v1') single = parseBoolean(value);
        else if (key !== 'transition') return `unknown command ${key}`;
        else if (value === 'auto' || value === 'implicit' || value === 'explicit') transition = value;
        else return `unknown transition ${value}`;
      }
    }
    const changes = parseChanges(input);
    if (typeof changes === 'string') return changes;
    const context = new Uint8Array(0);
    if (!single) return problemOf(proposeConfChange(this.#live(id), { transition, changes, context }));
    if (changes.length > 1 || transition !== 'auto')
      return 'v1 conf change can only have one operation and no transition';
    return problemOf(proposeConfChange(this.#live(id), { change: changes[0]!, context }));
  }

  #tick(id: PeerId, times: number): undefined {
    for (let at = 0; at < times; at++) tickNode(this.#live(id));
  }

  #raftLog({ storage }: Member): undefined {
    const first = storage.firstIndex();
    const last = storage.lastIndex();
    if (last < first) this.#print(`log is empty: first index=${first}, last index=${last}`);
    else this.#print(describeEntries(storage.entries(first, last + 1, Number.POSITIVE_INFINITY) ?? []));
  }

  #raftState(): undefined {
    for (const { id, node } of this.members) {
      if (node === undefined) {
        this.#print(`${id}: down\n`);
        continue;
      }
      const { role, tracker, term, leader } = node.raft;
      this.#print(
        `${id}: ${roleNames[role]} ${isVoter(tracker, id) ? '(Voter)' : '(Non-Voter)'} Term:${term} Lead:${leader}\n`,
      );
    }
  }

  #sendSnapshot(from: PeerId, to: PeerId): undefined {
    const snapshot = this.#member(from).history.at(-1)!;
    const wire = { kind: 'snapshot', version: 1, from, to, term: this.#live(from).raft.term, snapshot } as const;
    this.#network.push({ wire, from, to, local: false });
    this.#print(describeMessage(wire, from));
  }

  #crash(member: Member): undefined {
    member.node = undefined;
    member.appendWork = [];
    member.applyWork = [];
    this.#network = this.#network.filter(envelope => !(envelope.local && envelope.to === member.id));
  }

  /** From what is stored: the application begins at the stored snapshot again. */
  #restart(member: Member): undefined {
    member.history = [member.storage.stored];
    member.node = createRawNode({ ...member.config, applied: member.storage.stored.index });
  }

  #each(args: readonly Argument[], title: string, act: (member: Member) => string | undefined): string | undefined {
    const ids = bareNumbers(args);
    for (const id of ids) {
      const problem =
        ids.length > 1 ? this.#titled(`> ${id} ${title}\n`, () => act(this.#member(id))) : act(this.#member(id));
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #processReady(member: Member): string | undefined {
    const node = this.#live(member.id);
    const out = ready(node);
    this.#print(describeReady(out, member.id));
    if (!member.config.asyncStorage) {
      const problem = store(member.storage, out);
      if (problem !== undefined) return problem;
      this.#apply(member, out.committedEntries);
    }
    for (const wire of out.messages)
      this.#network.push({ wire, from: wire.from, to: wire.to, local: wire.from === wire.to });
    if (out.storageAppend !== undefined) member.appendWork.push(out.storageAppend);
    if (out.storageApply !== undefined) member.applyWork.push(out.storageApply);
    if (!member.config.asyncStorage) advance(node);
    return undefined;
  }

  #processAppend(member: Member): string | undefined {
    const batch = member.appendWork.shift();
    if (batch === undefined) return this.#print('no append work to perform');
    this.#print(`Processing:\n${describeMessage({ ...batch, responses: [] }, member.id)}\n`);
    const problem = store(member.storage, batch);
    if (problem !== undefined) return problem;
    this.#respond(member, batch.responses);
    return undefined;
  }

  #processApply(member: Member): string | undefined {
    const work = member.applyWork.shift();
    if (work === undefined) return this.#print('no apply work to perform');
    const shown = describeMessage(work, member.id);
    this.#print(`Processing:\n${shown.slice(0, shown.lastIndexOf(' Responses:['))}\n`);
    this.#apply(member, work.entries);
    this.#respond(member, [work.done]);
    return undefined;
  }

  #respond(member: Member, responses: readonly Envelope['wire'][]): void {
    this.#print('Responses:\n');
    for (const wire of responses) {
      this.#print(`${describeMessage(wire, member.id)}\n`);
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
        entry.kind === 'normal' ? last.confState : applyConfChangeNode(this.#live(member.id), entry.change);
      const data = new Uint8Array([...last.data, ...update]);
      member.history.push({ version: 1, index: entry.index, term: entry.term, confState, data });
    }
  }

  #deliverCommand(args: readonly Argument[]): undefined {
    const recipients: { id: PeerId; drop: boolean }[] = [];
    let kind: string | undefined;
    for (const { key, values } of args) {
      if (values.length === 0) recipients.push({ id: Number(key), drop: false });
      if (key === 'drop') for (const value of values) recipients.push({ id: Number(value), drop: true });
      if (key === 'type') kind = values[0];
    }
    if (kind !== undefined && !Object.values(messageNames).includes(kind))
      throw new Error(`unknown message type ${kind}`);
    let count = 0;
    for (const { id, drop } of recipients) count += this.#deliver(id, drop, kind);
    if (count === 0) this.#print('no messages\n');
  }

  #deliver(id: PeerId, drop: boolean, kind: string | undefined): number {
    const taken = this.#network.filter(
      each => isFor(each, id, drop) && (kind === undefined || messageNames[each.wire.kind] === kind),
    );
    this.#network = this.#network.filter(each => !taken.includes(each));
    for (const { wire, from } of taken) {
      this.#print(`${drop ? 'dropped: ' : ''}${describeMessage(wire, 'from' in wire ? wire.from : from)}\n`);
      const node = this.members[id - 1]?.node;
      if (drop || node === undefined) continue;
      const problem = problemOf(stepNode(node, wire));
      if (problem !== undefined) this.#print(`${problem}\n`);
    }
    return taken.length;
  }

  #stabilizeCommand(args: readonly Argument[]): string | undefined {
    const before = this.#level;
    const wanted = args.find(({ key }) => key === 'log-level')?.values[0];
    const problem = wanted === undefined ? undefined : this.#setLevel(wanted);
    const ids = bareNumbers(args);
    const result = problem ?? this.#stabilize(ids.length === 0 ? this.members : ids.map(id => this.#member(id)));
    this.#level = before;
    return result;
  }

  #stabilize(chosen: readonly Member[]): string | undefined {
    for (let busy = true; busy; ) {
      busy = false;
      const members = chosen.filter(member => member.node !== undefined);
      for (const member of members) {
        if (!hasReady(this.#live(member.id))) continue;
        busy = true;
        const problem = this.#titled(`> ${member.id} handling Ready\n`, () => this.#processReady(member));
        if (problem !== undefined) return problem;
      }
      for (const { id } of members) {
        if (!this.#network.some(each => isFor(each, id, false))) continue;
        busy = true;
        this.#titled(`> ${id} receiving messages\n`, () => void this.#deliver(id, false, undefined));
      }
      for (const member of members) {
        if (member.appendWork.length === 0) continue;
        busy = true;
        this.#print(`> ${member.id} processing append thread\n`);
        while (member.appendWork.length > 0) {
          const problem = this.#titled('', () => this.#processAppend(member));
          if (problem !== undefined) return problem;
        }
      }
      for (const member of members) {
        if (member.applyWork.length === 0) continue;
        busy = true;
        this.#print(`> ${member.id} processing apply thread\n`);
        while (member.applyWork.length > 0) this.#titled('', () => this.#processApply(member));
      }
    }
    return undefined;
  }

  #setLevel(name: string): string | undefined {
    const level = levels.indexOf(name.toUpperCase());
    if (level < 0) return `log levels must be either of [${levels.join(' ')}]`;
    this.#level = level;
    return undefined;
  }

  #member(id: PeerId): Member {
    const member = this.members[id - 1];
    if (member === undefined) throw new Error(`there is no node ${id}`);
    return member;
  }

  #live(id: PeerId): RawNode {
    const { node } = this.#member(id);
    if (node === undefined) throw new Error(`node ${id} is down`);
    return node;
  }

  #print(text: string): undefined {
    if (this.#level !== none) this.#out += text;
  }

  /** Prints a title, then what `act` prints, indented. */
  #titled(title: string, act: () => string | undefined): string | undefined {
    this.#print(title);
    const outer = this.#out;
    this.#out = '';
    const problem = act();
    const inner = this.#out.endsWith('\n') ? this.#out.slice(0, -1) : this.#out;
    this.#out =
      inner === ''
        ? outer
        : outer +
          inner
            .split('\n')
            .map(line => `  ${line}\n`)
            .join('');
    return problem;
  }
}

function settingOf(key: string, value: string): Partial<RaftConfig> {
  switch (key) {
    case 'inflight':
      return { inflightMessagesMax: Number(value) };
    case 'async-storage-writes':
      return { asyncStorage: parseBoolean(value) };
    case 'prevote':
      return { preVote: parseBoolean(value) };
    case 'checkquorum':
      return { checkQuorum: parseBoolean(value) };
    case 'max-committed-size-per-ready':
      return { applyingBytesMax: Number(value) === 0 ? Number.POSITIVE_INFINITY : Number(value) };
    case 'disable-conf-change-validation':
      return { checkConfChanges: !parseBoolean(value) };
    case 'read-only':
      return { leaseReads: value === 'lease-based' };
    case 'step-down-on-removal':
      return { stepDownOnRemoval: parseBoolean(value) };
    case 'commit-by-vote':
      return { commitByVote: parseBoolean(value) };
    default:
      return {};
  }
}

function store(
  storage: MemoryStorage,
  batch: { hardState: HardState | undefined; snapshot: Snapshot | undefined; entries: readonly Entry[] },
): string | undefined {
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

function problemOf(outcome: StepOutcome | ProposeOutcome): string | undefined {
  switch (outcome.kind) {
    case 'dropped':
    case 'not-leader':
    case 'too-large':
      return 'raft proposal dropped';
    case 'unknown-peer':
      return 'raft: cannot step as peer not found';
    case 'malformed':
    case 'unknown-version':
      return `raft: ${outcome.kind}`;
    default:
      return undefined;
  }
}

/** A list like `v2 l3 r1 u4`, or what is wrong with it. */
export function parseChanges(text: string): ConfChangeSingle[] | string {
  const kinds: Readonly<Record<string, ConfChangeSingle['kind']>> = {
    v: 'add-voter',
    l: 'add-learner',
    r: 'remove',
    u: 'update',
  };
  const changes: ConfChangeSingle[] = [];
  const trimmed = text.trim();
  for (const token of trimmed === '' ? [] : trimmed.split(' ')) {
    if (token.length < 2) return `unknown token ${token}`;
    const kind = kinds[token[0]!];
    if (kind === undefined) return `unknown input: ${token}`;
    const digits = token.slice(1);
    if (!/^\d+$/.test(digits)) return `strconv.ParseUint: parsing ${JSON.stringify(digits)}: invalid syntax`;
    changes.push({ kind, peer: Number(digits) });
  }
  return changes;
}

export function parseBoolean(text: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
  throw new Error(`not a truth value: ${text}`);
}

function bareNumbers(args: readonly Argument[]): number[] {
  return args.filter(({ values }) => values.length === 0).map(({ key }) => Number(key));
}

function textOf(args: readonly Argument[], key: string): string | undefined {
  return args.find(each => each.key === key)?.values[0];
}

function numberOf(args: readonly Argument[], key: string): number {
  const text = textOf(args, key);
  if (text === undefined) throw new Error(`the argument ${key} is missing`);
  return Number(text);
}
