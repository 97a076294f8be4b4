/**
 * The managers' group as one manager sees it at this moment: who answers, and whether a majority does. On this rests whether
 * the group may be declared dead.
 *
 * `surveyOf` judges what was seen, `surveyGroup` looks. Called for recovery. Not here: what is done then (membership/recover.ts).
 */
import type { GroupMember } from '../../gen/types.js';
import type { PeerId } from '../../raft/core/types.js';
import type { NodeReadOutcome, NodeStatus } from '../../raft/node/types.js';
import type { View } from '../../raft/store.js';
import type { Group } from './group.js';

export interface GroupSurvey {
  readonly managers: readonly GroupMember[];
  /** How it is known that a majority is alive; empty: none is. */
  readonly alive: string;
  readonly lastIndex: number;
  /** The last entries of the log here of which nobody can say whether they were committed. */
  readonly uncommitted: number;
}

export interface Seen {
  readonly status: NodeStatus;
  /** Members that answer on their links. */
  readonly reached: ReadonlySet<PeerId>;
  /** Of asking for everything that is committed: only a leader with a majority can say that. */
  readonly read: NodeReadOutcome['kind'];
}

export function surveyOf(view: View, { status, reached, read }: Seen): GroupSurvey {
  const { voters } = status.confState;
  const answers = (peer: PeerId): boolean => peer === status.id || reached.has(peer);
  const managers = [...view.list('node')]
    .filter(node => node.role === 'manager' && node.raftId !== 0)
    .map(({ id, spec, description, raftId }) => ({
      nodeId: id,
      name: spec.name,
      addresses: description.addresses,
      own: raftId === status.id,
      answers: answers(raftId),
    }));
  return {
    managers,
    alive: aliveBecause({ view, status, read, answering: voters.filter(answers).length }),
    lastIndex: status.lastIndex,
    uncommitted: Math.max(0, status.lastIndex - status.commit),
  };
}

function aliveBecause({
  view,
  status,
  read,
  answering,
}: Pick<Seen, 'status' | 'read'> & { readonly view: View; readonly answering: number }): string {
  const { voters } = status.confState;
  const leader = [...view.list('node')].find(node => node.raftId === status.leader && status.leader !== 0);
  if (read === 'ready')
    return `manager ${leader?.spec.name ?? status.leader} leads in term ${status.term} and has just confirmed it with a majority`;
  const needed = Math.floor(voters.length / 2) + 1;
  if (voters.length > 1 && answering >= needed)
    return `${answering} of ${voters.length} managers answer here and ${needed} are enough: they will choose a leader`;
  return '';
}

/** Looks for some seconds when nobody leads. */
export async function surveyGroup(group: Pick<Group, 'log' | 'reached'>, view: () => View): Promise<GroupSurvey> {
  const read = await group.log.read();
  return surveyOf(view(), { status: group.log.status(), reached: group.reached(), read: read.kind });
}
