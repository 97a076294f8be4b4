/**
 * Prints messages, entries, progress and configurations the way the vectors expect them.
 *
 * Not here: the environment that prints them (interaction.ts).
 */
import type { Config } from '../../../src/raft/core/confchange.js';
import { asV2 } from '../../../src/raft/core/confchange.js';
import { isFull } from '../../../src/raft/core/inflights.js';
import { isPaused, type Progress } from '../../../src/raft/core/progress.js';
import type {
  ConfChangeSingle,
  ConfState,
  Entry,
  HardState,
  Message,
  PeerId,
  Proposal,
  Ready,
  Role,
  Snapshot,
  StorageAppend,
  StorageApply,
  StorageApplyDone,
  StorageResponse,
} from '../../../src/raft/core/types.js';

export const roleNames: Readonly<Record<Role, string>> = {
  follower: 'StateFollower',
  'pre-candidate': 'StatePreCandidate',
  candidate: 'StateCandidate',
  leader: 'StateLeader',
};

export const messageNames: Readonly<Record<Wire['kind'], string>> = {
  propose: 'MsgProp',
  append: 'MsgApp',
  'append-reply': 'MsgAppResp',
  vote: 'MsgVote',
  'vote-reply': 'MsgVoteResp',
  snapshot: 'MsgSnap',
  heartbeat: 'MsgHeartbeat',
  'heartbeat-reply': 'MsgHeartbeatResp',
  'transfer-leader': 'MsgTransferLeader',
  'timeout-now': 'MsgTimeoutNow',
  'read-index': 'MsgReadIndex',
  'read-index-reply': 'MsgReadIndexResp',
  'pre-vote': 'MsgPreVote',
  'pre-vote-reply': 'MsgPreVoteResp',
  'storage-append': 'MsgStorageAppend',
  'storage-append-done': 'MsgStorageAppendResp',
  'storage-apply': 'MsgStorageApply',
  'storage-apply-done': 'MsgStorageApplyResp',
};

export type Wire = StorageResponse | StorageAppend | StorageApply | StorageApplyDone;

/** All fields that a printed message can show; `owner` is the node whose storage is meant. */
interface Printed {
  readonly from: string;
  readonly to: string;
  readonly term?: number;
  readonly logTerm?: number;
  readonly index?: number;
  readonly rejectHint?: number | undefined;
  readonly commit?: number;
  readonly vote?: number;
  readonly entries?: readonly (Entry | Proposal)[];
  readonly snapshot?: Snapshot | undefined;
  readonly responses?: readonly Wire[];
}

export function describeMessage(message: Wire, owner: PeerId, indent = ''): string {
  const printed = printable(message, owner);
  const { from, to, term = 0, logTerm = 0, index = 0, rejectHint, commit = 0, vote = 0, snapshot } = printed;
  let text = `${indent}${from}->${to} ${messageNames[message.kind]} Term:${term} Log:${logTerm}/${index}`;
  if (rejectHint !== undefined) text += ` Rejected (Hint: ${rejectHint})`;
  if (commit !== 0) text += ` Commit:${commit}`;
  if (vote !== 0) text += ` Vote:${vote}`;
  const entries = printed.entries ?? [];
  if (entries.length === 1) text += ` Entries:[${describeEntry(entries[0]!)}]`;
  else if (entries.length > 1)
    text += ` Entries:[${entries.map(entry => `\n${indent}  ${describeEntry(entry)}`).join('')}\n${indent}]`;
  if (snapshot !== undefined && snapshot.index !== 0) text += `\n${indent}  Snapshot: ${describeSnapshot(snapshot)}`;
  const responses = printed.responses ?? [];
  if (responses.length > 0) {
    text += ` Responses:[${responses.map(each => `\n${describeMessage(each, owner, `${indent}  `)}`).join('')}\n${indent}]`;
  }
  return text;
}

function printable(message: Wire, owner: PeerId): Printed {
  const self = hex(owner);
  switch (message.kind) {
    case 'storage-append': {
      const { hardState, entries, snapshot, responses } = message;
      return { from: self, to: 'AppendThread', ...hardState, entries, snapshot, responses };
    }
    case 'storage-append-done':
      return {
        from: 'AppendThread',
        to: self,
        term: message.term,
        index: message.index,
        logTerm: message.logTerm,
        snapshot: message.snapshot,
      };
    case 'storage-apply':
      return { from: self, to: 'ApplyThread', entries: message.entries, responses: [message.done] };
    case 'storage-apply-done':
      return { from: 'ApplyThread', to: self, entries: message.entries };
    default:
      return {
        from: hex(message.kind === 'transfer-leader' ? message.transferee : message.from),
        to: hex(message.to),
        term: message.term,
        ...body(message),
      };
  }
}

function body(message: Message): Partial<Printed> {
  switch (message.kind) {
    case 'vote':
    case 'pre-vote':
      return { logTerm: message.lastTerm, index: message.lastIndex, commit: message.commit };
    case 'vote-reply':
    case 'pre-vote-reply':
      return { rejectHint: message.reject ? 0 : undefined, commit: message.commit };
    case 'append':
      return { logTerm: message.prevTerm, index: message.prevIndex, commit: message.commit, entries: message.entries };
    case 'append-reply':
      return {
        logTerm: message.hintTerm,
        index: message.index,
        rejectHint: message.reject ? message.hintIndex : undefined,
      };
    case 'heartbeat':
      return { commit: message.commit };
    case 'snapshot':
      return { snapshot: message.snapshot };
    case 'propose':
      return { entries: message.proposals };
    case 'read-index':
      return { entries: [requestEntry(message.request)] };
    case 'read-index-reply':
      return { index: message.index, entries: [requestEntry(message.request)] };
    case 'heartbeat-reply':
    case 'transfer-leader':
    case 'timeout-now':
      return {};
  }
}

export function describeReady(ready: Ready, owner: PeerId): string {
  let text = '';
  if (ready.softState !== undefined)
    text += `Lead:${ready.softState.leader} State:${roleNames[ready.softState.role]}\n`;
  if (ready.hardState !== undefined) text += `HardState ${describeHardState(ready.hardState)}\n`;
  if (ready.readStates.length > 0) {
    text += `ReadStates [${ready.readStates.map(read => `{${read.index} [${[...new TextEncoder().encode(String(read.request))].join(' ')}]}`).join(' ')}]\n`;
  }
  if (ready.entries.length > 0) text += `Entries:\n${describeEntries(ready.entries)}`;
  if (ready.snapshot !== undefined) text += `Snapshot ${describeSnapshot(ready.snapshot)}\n`;
  if (ready.committedEntries.length > 0) text += `CommittedEntries:\n${describeEntries(ready.committedEntries)}`;
  const messages: Wire[] = [...ready.messages];
  if (ready.storageAppend !== undefined) messages.push(ready.storageAppend);
  if (ready.storageApply !== undefined) messages.push(ready.storageApply);
  if (messages.length > 0)
    text += `Messages:\n${messages.map(message => `${describeMessage(message, owner)}\n`).join('')}`;
  return text === '' ? '<empty Ready>' : `Ready MustSync=${ready.mustSync}:\n${text}`;
}

function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === 0 ? '' : ` Vote:${vote}`} Commit:${commit}`;
}

export function describeEntries(entries: readonly Entry[]): string {
  return entries.map(entry => `${describeEntry(entry)}\n`).join('');
}

function describeEntry(entry: Entry | Proposal): string {
  const place = 'index' in entry ? `${entry.term}/${entry.index}` : '0/0';
  if (entry.kind === 'normal') return `${place} EntryNormal ${JSON.stringify(new TextDecoder().decode(entry.data))}`;
  const changes = describeChanges(asV2(entry.change).changes);
  return `${place} ${entry.kind === 'conf-change' ? 'EntryConfChange' : 'EntryConfChangeV2'}${changes === '' ? '' : ` ${changes}`}`;
}

function describeChanges(changes: readonly ConfChangeSingle[]): string {
  const letters = { 'add-voter': 'v', 'add-learner': 'l', remove: 'r', update: 'u' };
  return changes.map(({ kind, peer }) => `${letters[kind]}${peer}`).join(' ');
}

function describeSnapshot({ index, term, confState }: Snapshot): string {
  return `Index:${index} Term:${term} ConfState:${describeConfState(confState)}`;
}

function describeConfState(state: ConfState): string {
  const list = (ids: readonly PeerId[]) => `[${ids.join(' ')}]`;
  return `Voters:${list(state.voters)} VotersOutgoing:${list(state.votersOutgoing)} Learners:${list(state.learners)} LearnersNext:${list(state.learnersNext)} AutoLeave:${state.autoLeave}`;
}

export function describeConfig({ voters, learners, learnersNext, autoLeave }: Config): string {
  let text = `voters=${describeSet(voters.incoming)}`;
  if (voters.outgoing.length > 0) text += `&&${describeSet(voters.outgoing)}`;
  if (learners.length > 0) text += ` learners=${describeSet(learners)}`;
  if (learnersNext.length > 0) text += ` learners_next=${describeSet(learnersNext)}`;
  return autoLeave ? `${text} autoleave` : text;
}

export function describeProgress(peers: readonly Progress[]): string {
  return peers
    .map(progress => {
      const state = { probe: 'StateProbe', replicate: 'StateReplicate', snapshot: 'StateSnapshot' }[progress.state];
      let text = `${progress.id}: ${state} match=${progress.match} next=${progress.next}`;
      if (progress.learner) text += ' learner';
      if (isPaused(progress)) text += ' paused';
      if (progress.pendingSnapshot > 0) text += ` pendingSnap=${progress.pendingSnapshot}`;
      if (!progress.recentActive) text += ' inactive';
      if (progress.inflights.count > 0)
        text += ` inflight=${progress.inflights.count}${isFull(progress.inflights) ? '[full]' : ''}`;
      return `${text}\n`;
    })
    .join('');
}

function describeSet(ids: readonly PeerId[]): string {
  return `(${ids.map(hex).join(' ')})`;
}

export function hex(id: PeerId): string {
  return id === 0 ? 'None' : id.toString(16);
}

/** Reads are numbered here; the vectors' form shows a text. */
function requestEntry(request: number): Proposal {
  return { kind: 'normal', version: 1, data: new TextEncoder().encode(String(request)) };
}
