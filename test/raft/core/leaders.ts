/** Members put into a role by hand, for tests of single rules. */

import { becomeCandidate, becomeLeader } from '../../../src/raft/core/raft/roles.js';
import { type RawNode, stepNode } from '../../../src/raft/core/rawnode.js';
import { appendReply } from './messages.js';
import { idsUpTo, type Peer, single, takeMessages } from './network.js';

export const three = { voters: [1, 2, 3] };
type RoleMaker = (node: RawNode) => void;
export const asFollower: RoleMaker = () => undefined;
export const asCandidate: RoleMaker = node => becomeCandidate(node.raft);
export const asLeader: RoleMaker = node => {
  becomeCandidate(node.raft);
  becomeLeader(node.raft);
};

/** A leader of `count` members whose first entry everybody has. */
export function settledLeader(count: number): Peer {
  const peer = single(1, { voters: idsUpTo(count) });
  asLeader(peer.node);
  takeMessages(peer);
  const { term } = peer.node.raft;
  for (const from of idsUpTo(count).slice(1)) stepNode(peer.node, appendReply({ from, to: 1, term, index: 1 }));
  takeMessages(peer);
  return peer;
}
