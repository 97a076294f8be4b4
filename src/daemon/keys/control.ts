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
import { renderUnlockKey, unlockKeyId } from './unlock-key.js';

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
  if (autolock === false) {
    if (rotateUnlockKey) throw new CoveyError('bad-argument', 'Cannot rotate the unlock key and turn autolock off');
    return undefined;
  }
  if (present === undefined) {
    if (autolock === true) return { ...made, former: [] };
    if (rotateUnlockKey) throw notAutolocked('rotate the unlock key');
    return undefined;
  }
  if (!rotateUnlockKey) return present;
  const { key, madeAtMs, former } = present;
  return { ...made, former: [{ key, madeAtMs }, ...former].slice(0, formerMax) };
}

/** Nobody sees a key that opens or signs. */
export function withoutKeys(cluster: Cluster): Cluster {
  const none = new Uint8Array(0);
  const { rotation, retired = [] } = cluster.authority ?? {};
  const authority = rotation === undefined ? cluster.authority : { retired, rotation: { ...rotation, rootKey: none } };
  const unlock = cluster.unlock && { key: none, madeAtMs: cluster.unlock.madeAtMs, former: [] };
  return { ...cluster, rootKey: none, authority, unlock };
}

function answerOf(view: View): UnlockKeyAnswer {
  const { unlock } = getCluster(view);
  if (unlock === undefined) throw notAutolocked('show the unlock key');
  const { key, madeAtMs } = unlock;
  return { key: renderUnlockKey(key), keyId: unlockKeyId(key), madeAtMs, behind: behindOf(view, unlock) };
}

function behindOf(view: View, { key, former }: UnlockKeys): UnlockKeyAnswer['behind'] {
  const present = unlockKeyId(key);
  const old = new Map(former.map(one => [unlockKeyId(one.key), renderUnlockKey(one.key)]));
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
