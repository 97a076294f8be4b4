/**
 * On a manager that runs: the lock of its disk is what the cluster wants, the key of its log is never older than a week, and
 * what lies under a key that should not count any more is written anew.
 *
 * Keeps true: one step at a time, each seen again on the next look, so that any line may be the last one. A manager that was
 * away when the wish changed takes it here when it has caught up, and not before: what a manager knew before its start
 * may be a wish of long ago.
 *
 * `planCare` is the rule, `openKeyCare` the shell. Not here: keys.json (keeper.ts), who wishes (control.ts).
 */
import type { Clock } from '../../host.js';
import { isCancellation, type Lifetime } from '../../lifetime.js';
import type { GroupLog } from '../../raft/group-log.js';
import type { Store, View } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import type { KeyFacts, KeyKeeper } from './keeper.js';
import type { UnlockKey } from './key-file.js';
import { findUnlock, unlockKeyId } from './unlock-key.js';

export interface CareParts {
  readonly keys: KeyKeeper;
  readonly store: Pick<Store, 'view' | 'watch'>;
  readonly group: Pick<GroupLog, 'read' | 'storageStats' | 'setKeyring' | 'renewSnapshot'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  /** Writes the private key of the node as the lock wants it, if it lies otherwise. */
  readonly alignIdentity: () => Promise<void>;
  /** Another lock is on disk. */
  readonly onLock: () => void;
}

export type CareStep =
  /** The wish may be another than is known here. */
  | 'catch-up'
  /** Lock and keys are not those that the cluster wants. */
  | 'relock'
  /** The current key has become old. */
  | 'rotate'
  /** Something lies under a key of an earlier lock, or in the clear, or under too many keys. */
  | 'renew-snapshot'
  /** There are keys that nothing is written under. */
  | 'retire';

const keyAgeMaxMs = 7 * 86_400_000;
/** One for each start of the daemon since the last snapshot. */
const keysMax = 16;
const lookMs = 3_600_000;
const againFirstMs = 1_000;
const againMaxMs = 60_000;

export function planCare(seen: {
  readonly facts: KeyFacts;
  readonly wanted: string | undefined;
  readonly inUse: readonly number[];
  readonly nowMs: number;
}): CareStep | undefined {
  const { facts, wanted, inUse, nowMs } = seen;
  if (facts.keyId !== wanted) return 'relock';
  const current = facts.keys.at(-1);
  if (current !== undefined && nowMs - current.madeAtMs > keyAgeMaxMs) return 'rotate';
  const known = new Map(facts.keys.map(key => [key.id, key]));
  if (inUse.length > keysMax || inUse.some(id => known.get(id)?.epoch !== facts.epoch)) return 'renew-snapshot';
  if (facts.keys.some(({ id }) => id !== current?.id && !inUse.includes(id))) return 'retire';
  return undefined;
}

/** What the cluster wants the managers' disks to be locked with. */
function wantedLock(view: View): UnlockKey | undefined {
  for (const cluster of view.list('cluster')) return findUnlock(cluster);
  return undefined;
}

export function openKeyCare(parts: CareParts): void {
  const { store, clock, log, lifetime } = parts;
  let wake: AbortController | undefined;
  let isDue = true;
  const look = (): void => {
    isDue = true;
    wake?.abort();
  };
  const watch = store.watch(events => {
    if (events.some(({ table }) => table === 'cluster')) look();
  });
  lifetime.defer('keys/watch', () => watch[Symbol.dispose]());
  lifetime.run('keys', async signal => {
    signal.addEventListener('abort', () => wake?.abort(), { once: true });
    let againMs = againFirstMs;
    while (!signal.aborted) {
      isDue = false;
      let restMs = lookMs;
      try {
        const step = await careOnce(parts);
        if (step === undefined) againMs = againFirstMs;
        else restMs = step === 'renew-snapshot' || step === 'catch-up' ? againMs : 0;
      } catch (error) {
        if (signal.aborted && isCancellation(error)) return;
        log.warn('keys of the log not as they should be', { error, retryInMs: againMs });
        restMs = againMs;
      }
      if (isDue || restMs === 0) continue;
      if (restMs !== lookMs) againMs = Math.min(againMs * 2, againMaxMs);
      wake = new AbortController();
      await rest(clock, restMs, { signal, wake: wake.signal });
      wake = undefined;
    }
  });
}

/** One step; undefined: all is as it should be. */
export async function careOnce(parts: Omit<CareParts, 'lifetime'>): Promise<CareStep | undefined> {
  const { keys, group, store, clock, log } = parts;
  await parts.alignIdentity();
  const facts = await keys.facts();
  const { keysInUse } = await group.storageStats();
  const wanted = wantedLock(store.view());
  const step = planCare({ facts, wanted: wanted && unlockKeyId(wanted.key), inUse: keysInUse, nowMs: clock.wallMs() });
  switch (step) {
    case 'relock':
      return await relock(parts, facts);
    case 'rotate':
      await group.setKeyring(await keys.mint());
      log.info('the log has another key');
      return step;
    case 'renew-snapshot':
      group.renewSnapshot();
      return step;
    case 'retire':
      await keys.retire(keysInUse);
      return step;
    default:
      return step;
  }
}

async function relock(
  { keys, group, store, log, alignIdentity, onLock }: Omit<CareParts, 'lifetime'>,
  facts: KeyFacts,
): Promise<CareStep> {
  if ((await group.read()).kind !== 'ready') return 'catch-up';
  const wanted = wantedLock(store.view());
  const keyId = wanted && unlockKeyId(wanted.key);
  if (keyId === facts.keyId) return 'catch-up';
  await group.setKeyring(await keys.relock(wanted));
  await alignIdentity();
  log.info(keyId === undefined ? 'not locked any more' : 'locked with the unlock key of the cluster', { keyId });
  onLock();
  return 'relock';
}

async function rest(
  clock: Clock,
  ms: number,
  { signal, wake }: { readonly signal: AbortSignal; readonly wake: AbortSignal },
): Promise<void> {
  try {
    await clock.sleep(ms, AbortSignal.any([signal, wake]));
  } catch (error) {
    if (!signal.aborted && !wake.aborted) throw error;
  }
}
