/**
 * What the words of a directive mean: settings of a node, numbers, lists of changes.
 *
 * Not here: the directives themselves (interaction.ts).
 */
import type { ConfChangeSingle, ProposeOutcome, RaftConfig, StepOutcome } from '../../../src/raft/core/types.js';
import type { Argument } from './reader.js';

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

/** The setting that an argument of `add-nodes` stands for, if it is one. */
export function settingOf(key: string, value: string): Partial<RaftConfig> {
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

export function problemOf(outcome: StepOutcome | ProposeOutcome): string | undefined {
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

export function bareNumbers(args: readonly Argument[]): number[] {
  return args.filter(({ values }) => values.length === 0).map(({ key }) => Number(key));
}

export function textOf(args: readonly Argument[], key: string): string | undefined {
  return args.find(each => each.key === key)?.values[0];
}

export function numberOf(args: readonly Argument[], key: string): number {
  const text = textOf(args, key);
  if (text === undefined) throw new Error(`the argument ${key} is missing`);
  return Number(text);
}
