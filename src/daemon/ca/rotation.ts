/**
 * The root of the cluster is replaced while everything runs: the new one signs from the first moment, is trusted beside the old
 * one, and when the last node says that it has a certificate of it, the old one goes.
 *
 *     people                     leader                                  nodes
 *     RotateRoot           ──►   new root, its key signed by the old
 *                                one: one transaction
 *                                trust: both roots, the new one signs ──► new certificate, in use; hello says so
 *                                all nodes have one: one transaction
 *                                trust: the new root                  ──► the old one is forgotten
 *
 * Keeps true: all of it lies in the store, so that an election or a kill in between changes nothing; no node that could come back
 * loses its way in, unless people end the rotation without it; an open connection stays open.
 *
 * `planRotation` is the rule, `openRotation` the leader's loop. Not here: who signs meanwhile (authority.ts), the node's half
 * (renewal.ts), the request of people (root-control.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Cluster, Node } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { isCancellation, type Lifetime } from '../../lifetime.js';
import type { Store, View, Write } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { isUpToDate, trustOf } from './authority.js';

export type RotationPlan =
  | { readonly kind: 'none' }
  | { readonly kind: 'wait'; readonly missing: readonly Node[] }
  | { readonly kind: 'finish'; readonly writes: readonly Write[]; readonly without: readonly Node[] };

const retiredMax = 3;
const retryMs = 1_000;

export function planRotation(view: View): RotationPlan {
  for (const cluster of view.list('cluster')) {
    const rotation = cluster.authority?.rotation;
    if (rotation === undefined) return { kind: 'none' };
    const behind = nodesBehind(view, cluster);
    const missing = rotation.withoutAbsent ? behind.filter(({ status }) => status.state === 'ready') : behind;
    if (missing.length > 0) return { kind: 'wait', missing };
    return {
      kind: 'finish',
      writes: [{ kind: 'put', table: 'cluster', object: afterRotation(cluster) }],
      without: behind,
    };
  }
  return { kind: 'none' };
}

/** Nodes that have not said yet that they have what they should. */
export function nodesBehind(view: View, cluster: Cluster): readonly Node[] {
  const trust = trustOf(cluster);
  return [...view.list('node')].filter(
    ({ description, status }) => status.state !== 'left' && !isUpToDate(description.certificate, trust),
  );
}

function afterRotation(cluster: Cluster): Cluster {
  const { rotation, retired = [] } = cluster.authority ?? {};
  if (rotation === undefined) return cluster;
  const { rootCertificate, rootKey, crossCertificate } = rotation;
  const old = { rootCertificate: cluster.rootCertificate, crossCertificate };
  return { ...cluster, rootCertificate, rootKey, authority: { retired: [old, ...retired].slice(0, retiredMax) } };
}

export function openRotation(options: {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends with the leadership. */
  readonly lifetime: Lifetime;
}): void {
  const { store, clock, log, lifetime } = options;
  let wake: (() => void) | undefined;
  let isDue = true;
  const look = (): void => {
    isDue = true;
    wake?.();
  };
  const watch = store.watch(events => {
    if (events.some(({ table }) => table === 'cluster' || table === 'node')) look();
  });
  lifetime.defer('rotation/watch', () => watch[Symbol.dispose]());
  lifetime.run('rotation', async signal => {
    signal.addEventListener('abort', () => wake?.(), { once: true });
    while (!signal.aborted) {
      isDue = false;
      try {
        await finishIfDone(store, log, signal);
      } catch (error) {
        if (signal.aborted && isCancellation(error)) return;
        log.warn('replacement of the root not ended', { error, retryInMs: retryMs });
        await clock.sleep(retryMs, signal);
        continue;
      }
      if (isDue || signal.aborted) continue;
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
  });
}

async function finishIfDone(store: Store, log: Logger, signal: AbortSignal): Promise<void> {
  const plan = planRotation(store.view());
  if (plan.kind !== 'finish') return;
  await store.update(
    view => {
      const now = planRotation(view);
      return now.kind === 'finish' ? now.writes : [];
    },
    { principal: 'system', signal },
  );
  log.info('the root certificate was replaced', { without: plan.without.map(({ spec }) => spec.name).join(' ') });
}

/** The cluster with a rotation begun. One that is under way is ended without those that are away, if that is asked for. */
export function withRotation(
  cluster: Cluster,
  asked: {
    readonly root: { readonly certificate: Uint8Array; readonly key: Uint8Array; readonly cross: Uint8Array };
    readonly certificateDays?: number | undefined;
    readonly withoutAbsent: boolean;
    readonly nowMs: number;
  },
): Cluster {
  const rotation = cluster.authority?.rotation;
  if (rotation !== undefined) {
    const { authority } = cluster;
    return {
      ...cluster,
      authority: { retired: authority?.retired ?? [], rotation: { ...rotation, withoutAbsent: true } },
    };
  }
  const { certificate, key, cross } = asked.root;
  return {
    ...cluster,
    spec: { ...cluster.spec, certificateDays: asked.certificateDays ?? cluster.spec.certificateDays },
    authority: {
      retired: cluster.authority?.retired ?? [],
      rotation: {
        rootCertificate: certificate,
        rootKey: key,
        crossCertificate: cross,
        startedAtMs: asked.nowMs,
        withoutAbsent: asked.withoutAbsent,
      },
    },
  };
}

export function rotationPending(): CoveyError {
  return new CoveyError('change-pending', 'Cannot begin to replace the root certificate', {
    state: 'another replacement is under way',
    hint: 'covey cluster ca show; covey cluster ca rotate waits for it, --force ends it without nodes that are away',
  });
}
