/**
 * The leader's loop over the encryption of tunnels: takes the next step as soon as every node has confirmed the last one, and
 * begins to replace keys when their time is over.
 *
 * Keeps true: all that decides lies in the store, so that an election in between changes nothing.
 *
 * Opened by leader-parts.ts. Not here: which step is next (plan.ts).
 */
import type { Clock, Timer } from '../../host.js';
import { isCancellation, type Lifetime } from '../../lifetime.js';
import type { Store, View, Write } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { type EncryptionPlan, planEncryption } from './plan.js';

const retryMs = 1_000;
/** Timers of Node hold some 24 days. */
const restMaxMs = 86_400_000;

export function openEncryption(options: {
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
  lifetime.defer('encryption/watch', () => watch[Symbol.dispose]());
  lifetime.run('encryption', async signal => {
    signal.addEventListener('abort', () => wake?.(), { once: true });
    while (!signal.aborted) {
      isDue = false;
      let plan: EncryptionPlan;
      try {
        plan = await takeStep(options, signal);
      } catch (error) {
        if (signal.aborted && isCancellation(error)) return;
        log.warn('encryption of tunnels not changed', { error, retryInMs: retryMs });
        await clock.sleep(retryMs, signal);
        continue;
      }
      if (isDue || signal.aborted) continue;
      let timer: Timer | undefined;
      if (plan.kind === 'rest')
        timer = clock.after(Math.min(restMaxMs, Math.max(0, plan.untilMs - clock.wallMs())), look);
      await new Promise<void>(resolve => {
        wake = resolve;
      });
      timer?.cancel();
    }
  });
}

async function takeStep(
  { store, clock, log }: { readonly store: Store; readonly clock: Clock; readonly log: Logger },
  signal: AbortSignal,
): Promise<EncryptionPlan> {
  const plan = planOf(store.view(), clock.wallMs());
  if (plan.kind !== 'step') return plan;
  await store.update(
    view => {
      const [cluster] = view.list('cluster');
      const now = planOf(view, clock.wallMs());
      if (cluster === undefined || now.kind !== 'step') return [];
      const write: Write = { kind: 'put', table: 'cluster', object: { ...cluster, encryption: now.encryption } };
      return [write];
    },
    { principal: 'system', signal },
  );
  const { step, active, epochs } = plan.encryption;
  log.info('encryption of tunnels', { step, active, epochs: epochs.join(' ') });
  return plan;
}

function planOf(view: View, nowMs: number): EncryptionPlan {
  const [cluster] = view.list('cluster');
  return cluster === undefined ? { kind: 'none' } : planEncryption(cluster, view.list('node'), nowMs);
}
