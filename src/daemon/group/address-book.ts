/**
 * Where the managers are and which members of the Raft group they run: as the store here says, or while it is still empty (a
 * joiner), as the manager that let this node in has said.
 *
 * Pure, over what it is given. Called by group.ts and cluster-parts.ts. Not here: who leads (raft).
 */
import type { GroupHistory, ManagerAddress, Node } from '../../gen/types.js';
import type { PeerId } from '../../raft/core/types.js';
import type { View } from '../../raft/store.js';
import { historyOf } from './history.js';
import type { Whereabouts } from './whereabouts.js';

export interface AddressBook {
  readonly findPeer: (peer: PeerId) => { readonly nodeId: string; readonly addresses: readonly string[] } | undefined;
  /** All managers; `leader` is the member that leads, 0 when none is known. */
  readonly managers: (leader: PeerId) => readonly ManagerAddress[];
  /** What people call a member. */
  readonly nameOf: (peer: PeerId) => string | undefined;
  /** What there was before this group; nothing while nothing is known. */
  readonly history: () => GroupHistory;
}

const nothingNew: Pick<Whereabouts, 'of' | 'withAll'> = {
  of: (_nodeId, stored) => stored,
  withAll: managers => managers,
};

export function makeAddressBook(parts: {
  readonly view: () => View;
  readonly remembered: () => readonly ManagerAddress[];
  readonly whereabouts?: Pick<Whereabouts, 'of' | 'withAll'> | undefined;
}): AddressBook {
  const { whereabouts = nothingNew } = parts;
  const nodes = (): readonly Node[] => [...parts.view().list('node')].filter(node => node.raftId !== 0);
  const managers = (leader: PeerId): readonly ManagerAddress[] => {
    const known = nodes();
    if (known.length === 0) {
      return whereabouts.withAll(parts.remembered()).map(one => ({ ...one, leader: one.raftId === leader }));
    }
    return known.map(({ id, raftId, description }) => ({
      nodeId: id,
      addresses: whereabouts.of(id, description.addresses),
      leader: leader !== 0 && raftId === leader,
      raftId,
    }));
  };
  return {
    managers,
    findPeer: peer => managers(0).find(({ raftId }) => raftId === peer),
    nameOf: peer => nodes().find(({ raftId }) => raftId === peer)?.spec.name,
    history: () => historyOf(parts.view()),
  };
}
