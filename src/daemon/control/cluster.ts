/**
 * Settings of the whole cluster: how long certificates live and are forgiven, when a silent node is lost, whether managers are
 * locked.
 *
 * Called by control.ts. Not here: the root certificate (ca/root-control.ts), what a link's own times are (dispatcher/patience.ts).
 */
import { CoveyError } from '../../errors.js';
import type { ClusterSpec, UpdateClusterRequest } from '../../gen/types.js';
import { getCluster } from '../ca/issue.js';
import { withEncryption } from '../encryption/request.js';
import { planUnlock, withoutKeys } from '../keys/control.js';
import { makeUnlockKey } from '../keys/unlock-key.js';
import { type ControlHandlers, changeOnce, type Parts } from './parts.js';

interface Limit {
  readonly least: number;
  readonly most: number;
  readonly unit: string;
}

/** Those that are numbers. */
type SpecChange = Omit<UpdateClusterRequest, 'autolock' | 'rotateUnlockKey' | 'encrypt' | 'rotateTunnelKeys'>;

const limits: { readonly [Name in keyof SpecChange]-?: Limit } = {
  certificateDays: { least: 1, most: 3_650, unit: 'days' },
  certificateGraceDays: { least: 0, most: 3_650, unit: 'days' },
  heartbeatMs: { least: 100, most: 600_000, unit: 'ms' },
  lostAfterMs: { least: 1_000, most: 86_400_000, unit: 'ms' },
  // Five minutes: a replacement needs every node, and some are slow.
  encryptRotateMs: { least: 300_000, most: 31_536_000_000, unit: 'ms' },
};
/** A node is not lost for one heartbeat that is late. */
const beatsMin = 2.5;

export function updateClusterOf(parts: Parts): ControlHandlers['updateCluster'] {
  return async (request, context) => {
    const made = { key: makeUnlockKey(parts.random.bytes), madeAtMs: parts.clock.wallMs() };
    const { autolock, rotateUnlockKey, encrypt, rotateTunnelKeys, ...settings } = request;
    const names = [autolock, rotateUnlockKey, encrypt, rotateTunnelKeys].some(value => value !== undefined);
    const hasSettings = Object.values(settings).some(value => value !== undefined);
    await changeOnce(parts, context, view => {
      const cluster = getCluster(view);
      const unlock = planUnlock(cluster.unlock, { autolock, rotateUnlockKey }, made);
      const spec = names && !hasSettings ? cluster.spec : specAfter(cluster.spec, settings);
      const before = { ...cluster, spec };
      const after = withEncryption(before, { encrypt, rotateTunnelKeys, nowMs: made.madeAtMs, view });
      if (unlock === cluster.unlock && after === before && spec === cluster.spec) return [];
      return [{ kind: 'put', table: 'cluster', object: { ...after, unlock } }];
    });
    return withoutKeys(getCluster(parts.store.view()));
  };
}

export function specAfter(spec: ClusterSpec, request: SpecChange): ClusterSpec {
  const what = 'Cannot change the settings of the cluster';
  const given = Object.entries(request).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  if (given.length === 0) throw new CoveyError('bad-argument', what, { state: 'none is named' });
  for (const [name, value] of given) {
    const { least, most, unit } = limits[name as keyof SpecChange];
    if (value < least || value > most)
      throw new CoveyError('bad-argument', what, {
        state: `${name} is ${value}; ${least} to ${most} ${unit} is valid`,
      });
  }
  const after = { ...spec, ...Object.fromEntries(given) };
  if (after.lostAfterMs < beatsMin * after.heartbeatMs) {
    throw new CoveyError('bad-argument', what, {
      state: `a node would be lost after ${after.lostAfterMs} ms, and heard of every ${after.heartbeatMs} ms`,
      hint: `lost-after has to be ${beatsMin} heartbeats or more`,
    });
  }
  return after;
}
