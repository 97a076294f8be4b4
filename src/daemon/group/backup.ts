/**
 * Everything that the store of a manager holds, as of one moment, while the cluster goes on: what `covey cluster backup` writes.
 *
 * Keeps true: it holds all that was committed before it was asked for, or says that nobody could confirm that; the loop is not
 * held while it is read.
 *
 * Called by the Local service. Not here: the file (cli/backup-file.ts), beginning anew from it (membership/restore.ts).
 */
import { CoveyError } from '../../errors.js';
import type { BackupHead } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { type OpenStore, schemaOfState, type View } from '../../raft/store.js';
import { version } from '../../version.js';
import { getCluster } from '../ca/issue.js';
import { findUnlock, unlockKeyId } from '../keys/unlock-key.js';
import type { Group } from './group.js';

export interface Backup {
  readonly head: BackupHead;
  /** To be read once; joined they are a snapshot of the store. */
  readonly pieces: Iterable<Uint8Array>;
}

export async function makeBackup(
  { store, group, clock }: { readonly store: OpenStore; readonly group: Pick<Group, 'log'>; readonly clock: Clock },
  { stale }: { readonly stale: boolean },
): Promise<Backup> {
  const read = await group.log.read();
  const isConfirmed = read.kind === 'ready';
  if (!isConfirmed && !stale) {
    throw new CoveyError('no-leader', 'Cannot make a backup of the latest state: no manager leads', {
      state: `this manager has the state of entry ${store.view().version}`,
      hint: 'covey cluster backup --stale',
    });
  }
  const view = store.view();
  return {
    head: headOf(view, {
      term: group.log.status().term,
      raftId: group.log.status().id,
      takenAtMs: clock.wallMs(),
      stale: !isConfirmed,
    }),
    pieces: store.snapshotPieces(),
  };
}

function headOf(
  view: View,
  at: { readonly term: number; readonly raftId: number; readonly takenAtMs: number; readonly stale: boolean },
): BackupHead {
  const managers = [...view.list('node')].filter(({ role }) => role === 'manager');
  const own = managers.find(({ raftId }) => raftId === at.raftId) ?? managers[0];
  if (own === undefined) {
    throw new CoveyError('stale-read', 'Cannot make a backup here', {
      state: 'this manager has not learnt of itself yet: it is still catching up',
      hint: 'ask another manager',
    });
  }
  const cluster = getCluster(view);
  const unlock = findUnlock(cluster);
  return {
    clusterId: cluster.id,
    index: view.version,
    term: at.term,
    nodeId: own.id,
    nodeName: own.spec.name,
    takenAtMs: at.takenAtMs,
    version,
    schemaVersion: schemaOfState(view),
    counts: countObjects(view),
    managers: managers.map(({ spec }) => spec.name),
    stale: at.stale,
    lockKeyId: unlock && unlockKeyId(unlock.key),
  };
}

export function countObjects(view: View): BackupHead['counts'] {
  return {
    nodes: view.count('node'),
    services: view.count('service'),
    tasks: view.count('task'),
    networks: view.count('network'),
  };
}
