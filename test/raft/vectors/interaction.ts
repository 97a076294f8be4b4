/**
 * The directives that drive a group of members step by step.
 *
 * Level 1: what the members say in log lines is not compared (runner.ts drops those lines from the expected output).
 * Commands of our own, beside the usual ones: crash, restart, torn-write, read-index, report-snapshot, step-down.
 *
 * Not here: the group (group.ts), the reader (reader.ts), the printing (describe.ts), what files there are (runner.ts).
 */
import {
  campaign,
  forgetLeader,
  propose,
  proposeConfChange,
  readIndex,
  reportSnapshot,
  reportUnreachable,
  stepDown,
  tickNode,
  transferLeader,
} from '../../../src/raft/core/rawnode.js';
import { isVoter } from '../../../src/raft/core/tracker.js';
import type { ConfChangeV2, PeerId, RaftConfig, Snapshot } from '../../../src/raft/core/types.js';
import { noConfState } from '../memory-storage.js';
import { bareNumbers, numberOf, parseBoolean, parseChanges, problemOf, settingOf, textOf } from './arguments.js';
import { describeEntries, describeMessage, describeProgress, messageNames, roleNames } from './describe.js';
import { Group, type Member } from './group.js';
import { Output } from './output.js';
import type { Argument, Directive } from './reader.js';

interface OneNode {
  readonly command: string;
  readonly args: readonly Argument[];
  readonly input: string;
  /** The first two bare words. */
  readonly id: PeerId;
  readonly second: number;
}

export class Interaction {
  readonly #out = new Output();
  readonly #group = new Group(this.#out);
  readonly #overrides: Partial<RaftConfig>;

  constructor(overrides: Partial<RaftConfig> = {}) {
    this.#overrides = overrides;
  }

  /** Carries one directive out and returns what it printed. */
  run(directive: Directive): string {
    this.#out.clear();
    const problem = this.#handle(directive);
    if (problem !== undefined) {
      if (this.#out.quiet) return problem;
      this.#out.print(problem);
    }
    return this.#out.text === '' ? 'ok' : this.#out.text;
  }

  #handle({ command, args, input }: Directive): string | undefined {
    switch (command) {
      case '_breakpoint':
        return undefined;
      case 'add-nodes':
        return this.#addNodes(args);
      case 'stabilize':
        return this.#stabilize(args);
      case 'deliver-msgs':
        return this.#deliver(args);
      case 'process-ready':
        return this.#each(args, 'handling Ready', member => this.#group.processReady(member));
      case 'process-append-thread':
        return this.#each(args, 'processing append thread', member => this.#group.processAppend(member));
      case 'process-apply-thread':
        return this.#each(args, 'processing apply thread', member => this.#group.processApply(member));
      case 'log-level':
        return this.#out.setLevel(args[0]?.key ?? '');
      case 'raft-state':
        return this.#raftState();
      case 'transfer-leadership':
        transferLeader(this.#group.live(numberOf(args, 'from')), numberOf(args, 'to'));
        return undefined;
      default: {
        const [id = 0, second = 0] = bareNumbers(args);
        return this.#handleOne({ command, args, input, id, second });
      }
    }
  }

  /** Commands whose first argument is a node. */
  #handleOne(one: OneNode): string | undefined {
    const { command, args, id, second } = one;
    const group = this.#group;
    switch (command) {
      case 'campaign':
        campaign(group.live(id));
        return undefined;
      case 'propose':
        return problemOf(propose(group.live(id), [new TextEncoder().encode(args[1]!.key)]));
      case 'propose-conf-change':
        return this.#proposeConfChange(one);
      case 'tick-election':
        return this.#tick(id, group.member(id).config.electionTicks);
      case 'tick-heartbeat':
        return this.#tick(id, group.member(id).config.heartbeatTicks);
      case 'set-randomized-election-timeout':
        group.live(id).raft.electionTimeout = numberOf(args, 'timeout');
        return undefined;
      case 'forget-leader':
        forgetLeader(group.live(id));
        return undefined;
      case 'report-unreachable':
        if (bareNumbers(args).length !== 2) {
          return 'must specify exactly two node indexes: node on which to report, and reported node';
        }
        reportUnreachable(group.live(id), group.member(second).id);
        return undefined;
      case 'raft-log':
        return this.#raftLog(group.member(id));
      case 'status': {
        const { role, tracker } = group.live(id).raft;
        return this.#out.print(role === 'leader' ? describeProgress(tracker.peers) : '');
      }
      case 'compact':
        return group.member(id).storage.compact(second) ?? this.#raftLog(group.member(id));
      case 'send-snapshot':
        group.sendSnapshot(id, second);
        return undefined;
      default:
        return this.#handleOwn(one);
    }
  }

  /** Our own commands: what the others never do. */
  #handleOwn({ command, args, id, second }: OneNode): string | undefined {
    const group = this.#group;
    switch (command) {
      case 'crash':
        group.crash(group.member(id));
        return undefined;
      case 'torn-write': {
        // A batch is atomic: torn in the middle, none of it is there after the crash.
        const batch = group.member(id).appendWork[0];
        group.crash(group.member(id));
        if (batch === undefined) return 'no append work to tear';
        return this.#out.print(`Torn:\n${describeMessage({ ...batch, responses: [] }, id)}\n`);
      }
      case 'restart':
        group.restart(group.member(id));
        return undefined;
      case 'read-index':
        return readIndex(group.live(id), second) ? undefined : 'no leader to read from';
      case 'report-snapshot':
        reportSnapshot(group.live(id), second, textOf(args, 'status') === 'finish');
        return undefined;
      case 'step-down':
        stepDown(group.live(id));
        return undefined;
      default:
        return 'unknown command';
    }
  }

  #addNodes(args: readonly Argument[]): string | undefined {
    const count = Number(args[0]!.key);
    let snapshot: Snapshot = { version: 1, index: 0, term: 0, confState: noConfState, data: new Uint8Array(0) };
    let config: Partial<RaftConfig> = this.#overrides;
    for (const { key, values } of args.slice(1)) {
      const [value = ''] = values;
      const { confState } = snapshot;
      if (key === 'voters') snapshot = { ...snapshot, confState: { ...confState, voters: values.map(Number) } };
      if (key === 'learners') snapshot = { ...snapshot, confState: { ...confState, learners: values.map(Number) } };
      if (key === 'content') snapshot = { ...snapshot, data: new TextEncoder().encode(value) };
      if (key === 'index') snapshot = { ...snapshot, index: Number(value) };
      if (key === 'read-only' && value !== 'safe' && value !== 'lease-based') {
        return `invalid read-only option ${JSON.stringify(value)}`;
      }
      config = { ...config, ...settingOf(key, value) };
    }
    const bootstrap = snapshot.index !== 0 || snapshot.data.length > 0 || snapshot.confState !== noConfState;
    if (bootstrap && snapshot.index <= 1) return 'index must be specified as > 1 due to bootstrap';
    if (bootstrap) snapshot = { ...snapshot, term: 1 };
    for (let at = 0; at < count; at++) this.#group.add(snapshot, { ...config, applied: snapshot.index });
    return undefined;
  }

  #proposeConfChange({ id, args, input }: OneNode): string | undefined {
    let single = false;
    let transition: ConfChangeV2['transition'] = 'auto';
    for (const { key, values } of args.slice(1)) {
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
    const node = this.#group.live(id);
    if (!single) return problemOf(proposeConfChange(node, { transition, changes, context }));
    if (changes.length > 1 || transition !== 'auto') {
      return 'v1 conf change can only have one operation and no transition';
    }
    return problemOf(proposeConfChange(node, { change: changes[0]!, context }));
  }

  #tick(id: PeerId, times: number): undefined {
    for (let at = 0; at < times; at++) tickNode(this.#group.live(id));
  }

  #raftLog({ storage }: Member): undefined {
    const first = storage.firstIndex();
    const last = storage.lastIndex();
    if (last < first) this.#out.print(`log is empty: first index=${first}, last index=${last}`);
    else this.#out.print(describeEntries(storage.entries(first, last + 1, Number.POSITIVE_INFINITY) ?? []));
  }

  #raftState(): undefined {
    for (const { id, node } of this.#group.members) {
      if (node === undefined) {
        this.#out.print(`${id}: down\n`);
        continue;
      }
      const { role, tracker, term, leader } = node.raft;
      const voter = isVoter(tracker, id) ? '(Voter)' : '(Non-Voter)';
      this.#out.print(`${id}: ${roleNames[role]} ${voter} Term:${term} Lead:${leader}\n`);
    }
  }

  #each(args: readonly Argument[], title: string, act: (member: Member) => string | undefined): string | undefined {
    const members = bareNumbers(args).map(id => this.#group.member(id));
    for (const member of members) {
      const problem =
        members.length > 1 ? this.#out.titled(`> ${member.id} ${title}\n`, () => act(member)) : act(member);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #deliver(args: readonly Argument[]): undefined {
    const recipients: { readonly id: PeerId; readonly drop: boolean }[] = [];
    for (const { key, values } of args) {
      if (values.length === 0) recipients.push({ id: Number(key), drop: false });
      if (key === 'drop') for (const value of values) recipients.push({ id: Number(value), drop: true });
    }
    const kind = textOf(args, 'type');
    if (kind !== undefined && !Object.values(messageNames).includes(kind)) throw new Error(`no message type ${kind}`);
    let count = 0;
    for (const { id, drop } of recipients) count += this.#group.deliver(id, drop, kind);
    if (count === 0) this.#out.print('no messages\n');
  }

  #stabilize(args: readonly Argument[]): string | undefined {
    const before = this.#out.level;
    const wanted = textOf(args, 'log-level');
    const problem = wanted === undefined ? undefined : this.#out.setLevel(wanted);
    const ids = bareNumbers(args);
    const { members } = this.#group;
    const result = problem ?? this.#group.stabilize(ids.length === 0 ? members : ids.map(id => this.#group.member(id)));
    this.#out.setLevel(before);
    return result;
  }
}
