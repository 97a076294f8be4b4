/**
 * Autolock as people wish for it: on, off, another key; and the key itself, for whoever may ask.
 *
 * Keeps true: turned on or rotated once for each time it is asked for; the keys before stay as long as a manager may need
 * one, three at most.
 *
 * Called by Control (control.ts, control/cluster.ts). Not here: what managers do about it (care.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type { Cluster, Node, UnlockKeyAnswer, UnlockKeys, UpdateClusterRequest } from '../../gen/types.js';
import type { Handlers } from '../../grpc.js';
import type { Store, View } from '../../raft/store.js';
import { getCluster } from '../ca/issue.js';
import { findUnlock, renderUnlockKey, unlockKeyId } from './unlock-key.js';

export type LockHandlers = Pick<Handlers<Services['Control']>, 'getUnlockKey'>;

const formerMax = 3;

export function lockHandlers({ store }: { readonly store: Pick<Store, 'view'> }): LockHandlers {
  return { getUnlockKey: async () => answerOf(store.view()) };
}

/** The unlock keys after the request. */
export function planUnlock(
  present: UnlockKeys | undefined,
  { autolock, rotateUnlockKey = false }: Pick<UpdateClusterRequest, 'autolock' | 'rotateUnlockKey'>,
  made: { readonly key: Uint8Array; readonly madeAtMs: number },
): UnlockKeys | undefined {
  if (autolock === false && rotateUnlockKey)
    throw new CoveyError('bad-argument', 'Cannot rotate the unlock key and turn autolock off');
  const on = findUnlock({ unlock: present });
  if (on === undefined) {
    if (autolock === true) return { ...made, former: present?.former ?? [] };
    if (rotateUnlockKey) throw notAutolocked('rotate the unlock key');
    return present;
  }
  const { key, madeAtMs, former } = on;
  const older = [{ key, madeAtMs }, ...former].slice(0, formerMax);
  if (autolock === false) return { key: new Uint8Array(0), madeAtMs: made.madeAtMs, former: older };
  return rotateUnlockKey ? { ...made, former: older } : present;
}

/** Nobody sees a key that opens or signs. */
export function withoutKeys(cluster: Cluster): Cluster {
  const none = new Uint8Array(0);
  const { rotation, retired = [] } = cluster.authority ?? {};
  const authority = rotation === undefined ? cluster.authority : { retired, rotation: { ...rotation, rootKey: none } };
  const on = findUnlock(cluster);
  const unlock = on && { key: none, madeAtMs: on.madeAtMs, former: [] };
  return { ...cluster, rootKey: none, authority, unlock };
}

/** With autolock off there may still be managers that were away then. */
function answerOf(view: View): UnlockKeyAnswer {
  const { unlock } = getCluster(view);
  const behind = unlock === undefined ? [] : behindOf(view, unlock);
  const on = findUnlock({ unlock });
  if (on !== undefined) {
    const { key, madeAtMs } = on;
    return { key: renderUnlockKey(key), keyId: unlockKeyId(key), madeAtMs, behind };
  }
  if (behind.length === 0) throw notAutolocked('show the unlock key');
  return { key: '', keyId: '', madeAtMs: 0, behind };
}

function behindOf(view: View, unlock: UnlockKeys): UnlockKeyAnswer['behind'] {
  const on = findUnlock({ unlock });
  const present = on && unlockKeyId(on.key);
  const old = new Map(unlock.former.map(one => [unlockKeyId(one.key), renderUnlockKey(one.key)]));
  return [...view.list('node')]
    .filter((node: Node) => node.role === 'manager' && node.description.lockKeyId !== present)
    .map(({ spec, status, description: { lockKeyId } }) => ({
      name: spec.name,
      state: status.state,
      key: old.get(lockKeyId ?? '') ?? '',
      keyId: lockKeyId ?? '',
    }));
}

function notAutolocked(verb: string): CoveyError {
  return new CoveyError('not-autolocked', `Cannot ${verb}: this cluster has none`, {
    state: 'autolock is off: managers start without being unlocked',
    hint: 'covey cluster update --autolock=true',
  });
}
