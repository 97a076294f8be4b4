/**
 * Where a member's log lies and under which keys: `<data dir>/raft/<member id>`. A node that becomes a manager again, or whose
 * group is made anew, is a new member with a new folder; node.json says which one counts, the others are left-overs.
 *
 * Called by group.ts and membership/recover.ts. Not here: what is in a folder (raft/storage).
 */
import type { Files } from '../../host.js';
import type { ClusterId } from '../../ids.js';
import type { PeerId } from '../../raft/core/types.js';
import type { Keyring } from '../../raft/storage/keyring.js';
import { storageDefaults } from '../../raft/storage/storage-server.js';
import type { WorkerSettings } from '../../raft/storage/wal-worker.js';

export interface MemberPlace {
  readonly dataDir: string;
  readonly clusterId: ClusterId;
  readonly raftId: PeerId;
  /** Its current key for this opening alone: each call of this has a new one (daemon/keys). */
  readonly keyring: Keyring;
}

export function storageOf({ dataDir, clusterId, raftId, keyring }: MemberPlace): WorkerSettings {
  return {
    ...storageDefaults,
    folder: `${dataDir}/raft/${raftId}`,
    identity: { cluster: clusterId, node: raftId },
    keyring,
  };
}

/** Removes the folders of members that this node is not any more, or never came to be. */
export async function removeOtherMembers(
  files: Pick<Files, 'list' | 'removeTree'>,
  { dataDir, raftId }: Pick<MemberPlace, 'dataDir' | 'raftId'>,
): Promise<void> {
  for (const name of await files.list(`${dataDir}/raft`))
    if (name !== String(raftId)) await files.removeTree(`${dataDir}/raft/${name}`);
}
