/**
 * Vectors of majorities: `committed` and `vote` with cfg=, cfgj=, idx= and votes=. Each result is computed in other
 * ways too; where they differ, the output says so and the vector fails.
 *
 * Not here: the arithmetic (src/raft/core/quorum.ts).
 */
import {
  committedIndex,
  jointCommittedIndex,
  jointVoteResult,
  type VoteResult,
  voteResult,
  votersOf,
} from '../../../src/raft/core/quorum.js';
import type { PeerId } from '../../../src/raft/core/types.js';
import { hex } from './describe.js';
import type { Directive } from './reader.js';

const resultNames: Readonly<Record<VoteResult, string>> = { pending: 'VotePending', lost: 'VoteLost', won: 'VoteWon' };

interface Question {
  readonly ids: readonly PeerId[];
  readonly other: readonly PeerId[];
  readonly joint: boolean;
  /** One for each voter in order of appearance; 0 = nothing known. */
  readonly values: readonly number[];
}

export function runQuorum({ command, args }: Directive): string {
  if (command !== 'committed' && command !== 'vote') throw new Error(`unknown command: ${command}`);
  const list = (key: string) => args.filter(each => each.key === key).flatMap(({ values }) => values);
  const stray = args.find(({ key }) => !['cfg', 'cfgj', 'idx', 'votes'].includes(key));
  if (stray !== undefined) throw new Error(`unknown arg ${stray.key}`);
  const question: Question = {
    ids: list('cfg').map(Number),
    other: list('cfgj')
      .filter(value => value !== 'zero')
      .map(Number),
    joint: list('cfgj').length > 0,
    values: command === 'committed' ? list('idx').map(parseIndex) : list('votes').map(parseVote),
  };
  const voters = votersOf({ incoming: sorted(question.ids), outgoing: sorted(question.other) });
  if (voters.length !== question.values.length) {
    const map = voters.map(id => `${id}:{}`).join(' ');
    return `error: mismatched input (explicit or _) for voters map[${map}]: [${question.values.join(' ')}]`;
  }
  return command === 'committed' ? runCommitted(question) : runVote(question);
}

function runCommitted(question: Question): string {
  const { joint } = question;
  const ids = sorted(question.ids);
  const other = sorted(question.other);
  const known = assign(question);
  const acked = (id: PeerId) => known.get(id);
  const picture = describe(votersOf({ incoming: ids, outgoing: other }), known);
  if (joint) {
    const index = jointCommittedIndex({ incoming: ids, outgoing: other }, acked);
    const swapped = jointCommittedIndex({ incoming: other, outgoing: ids }, acked);
    return `${picture}${differs(index, swapped, 'symmetry')}${show(index)}\n`;
  }
  const index = committedIndex(ids, acked);
  let text = picture;
  text += differs(index, bruteForce(ids, known), 'alternative computation');
  text += differs(index, jointCommittedIndex({ incoming: ids, outgoing: [] }, acked), 'zero-joint quorum');
  text += differs(index, jointCommittedIndex({ incoming: ids, outgoing: ids }, acked), 'self-joint quorum');
  for (const id of ids) {
    const own = known.get(id) ?? 0;
    if (index <= own || own === 0) continue;
    // What is below the result anyway can fall further without changing it.
    for (const lower of [own - 1, 0]) {
      const changed = committedIndex(ids, each => (each === id ? lower : known.get(each)));
      if (changed !== index) text += `${show(changed)} <-- overlaying ${id}->${lower === 0 ? 0 : own}`;
    }
  }
  return `${text}${show(index)}\n`;
}

function runVote(question: Question): string {
  const ids = sorted(question.ids);
  const other = sorted(question.other);
  const known = assign(question);
  const vote = (id: PeerId) => (known.has(id) ? known.get(id) !== 1 : undefined);
  if (!question.joint) return `${resultNames[voteResult(ids, vote)]}\n`;
  const result = jointVoteResult({ incoming: ids, outgoing: other }, vote);
  const swapped = jointVoteResult({ incoming: other, outgoing: ids }, vote);
  const note = swapped === result ? '' : `${resultNames[swapped]} <-- via symmetry\n`;
  return `${note}${resultNames[result]}\n`;
}

/** The values go to the voters in order of appearance, without repetition; 0 stands for "nothing known". */
function assign({ ids, other, values }: Question): Map<PeerId, number> {
  const known = new Map<PeerId, number>();
  const order = [...new Set([...ids, ...other])];
  for (const [at, id] of order.entries()) if ((values[at] ?? 0) !== 0) known.set(id, values[at]!);
  return known;
}

/** The highest index that more than half have reached, found by trying all. */
function bruteForce(ids: readonly PeerId[], known: ReadonlyMap<PeerId, number>): number {
  if (ids.length === 0) return Number.POSITIVE_INFINITY;
  const reached = (index: number) => ids.filter(id => (known.get(id) ?? 0) >= index).length > ids.length / 2;
  return Math.max(0, ...[...known.values()].filter(reached));
}

function describe(voters: readonly PeerId[], known: ReadonlyMap<PeerId, number>): string {
  if (voters.length === 0) return '<empty majority quorum>';
  const size = voters.length;
  const indexOf = (id: PeerId) => known.get(id) ?? 0;
  const lines = voters.map(id => {
    const bar = voters.filter(each => indexOf(each) < indexOf(id)).length;
    const picture = known.has(id) ? `${'x'.repeat(bar)}>${' '.repeat(size - bar)}` : `?${' '.repeat(size)}`;
    return `${picture} ${String(indexOf(id)).padStart(5)}    (id=${hex(id)})\n`;
  });
  return `${' '.repeat(size)}    idx\n${lines.join('')}`;
}

function differs(index: number, other: number, way: string): string {
  return index === other ? '' : `${show(other)} <-- via ${way}\n`;
}

function show(index: number): string {
  return index === Number.POSITIVE_INFINITY ? '∞' : String(index);
}

function parseIndex(text: string): number {
  if (text === '_') return 0;
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`cannot use ${text} as idx`);
  return Number(text);
}

function parseVote(text: string): number {
  const value = { y: 2, n: 1, _: 0 }[text];
  if (value === undefined) throw new Error(`unknown vote: ${text}`);
  return value;
}

function sorted(ids: readonly PeerId[]): readonly PeerId[] {
  return [...new Set(ids)].sort((a, b) => a - b);
}
