/**
 * Renews this node's certificate at a random point between 50 and 80 % of its life, with a new key, over the running
 * connection. Streams that are open go on; connections made later use the new one.
 *
 * Nodes differ in the point, so that a cluster made in one minute does not renew in one minute. The wait is cut into hours:
 * timers end at 24 days, and the wall clock may jump.
 *
 * Not here: issuing (issue.ts), keeping it on disk (membership/files.ts).
 */
import { CoveyError } from '../../errors.js';
import type { RenewRequest, RenewResponse } from '../../gen/types.js';
import type { Clock, Random } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import type { Logger } from '../../telemetry.js';
import type { IdentityHolder, NodeIdentity } from './identity.js';
import { identityOf, toPem } from './pem.js';

export interface RenewalOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly identity: IdentityHolder;
  /** Asks a manager; rejects when none answers. */
  readonly renew: (request: RenewRequest, signal: AbortSignal) => Promise<RenewResponse>;
  /** Writes the identity durably. */
  readonly save: (identity: NodeIdentity) => Promise<void>;
}

const hourMs = 3_600_000;
const retryFirstMs = 5_000;
const retryMaxMs = hourMs;

export function openRenewal(options: RenewalOptions): void {
  options.lifetime.run('renew certificate', signal => keepRenewed(options, signal));
}

/** When to renew, on the wall clock: `fraction` (0 to 1) picks the point between 50 and 80 % of the certificate's life. */
export function planRenewal(validity: {
  readonly validFromMs: number;
  readonly validUntilMs: number;
  readonly fraction: number;
}): number {
  const lifeMs = validity.validUntilMs - validity.validFromMs;
  return validity.validFromMs + Math.round(lifeMs * (0.5 + 0.3 * validity.fraction));
}

async function keepRenewed(options: RenewalOptions, signal: AbortSignal): Promise<void> {
  const { clock } = options;
  for (;;) {
    const { validFromMs, validUntilMs } = options.identity.current();
    const dueMs = planRenewal({ validFromMs, validUntilMs, fraction: options.random.fraction() });
    for (let leftMs = dueMs - clock.wallMs(); leftMs > 0; leftMs = dueMs - clock.wallMs()) {
      await clock.sleep(Math.min(leftMs, hourMs), signal);
    }
    await renewWithRetries(options, signal);
  }
}

async function renewWithRetries(options: RenewalOptions, signal: AbortSignal): Promise<void> {
  for (let waitMs = retryFirstMs; ; waitMs = Math.min(waitMs * 2, retryMaxMs)) {
    try {
      await renewOnce(options, signal);
      return;
    } catch (error) {
      signal.throwIfAborted();
      options.log.warn('certificate not renewed', {
        error,
        retryInMs: waitMs,
        validForMs: options.identity.current().validUntilMs - options.clock.wallMs(),
      });
    }
    await options.clock.sleep(waitMs, signal);
  }
}

/** One renewal: new key, new certificate, on disk, in use. */
export async function renewOnce(
  options: Pick<RenewalOptions, 'identity' | 'renew' | 'save' | 'log'>,
  signal: AbortSignal,
): Promise<NodeIdentity> {
  const { makeRequest } = await import('./x509.js');
  const present = options.identity.current();
  const { request, key } = await makeRequest();
  const answer = await options.renew({ certificateRequest: request }, signal);
  const next = identityOf({
    certificate: toPem(answer.certificate, 'CERTIFICATE'),
    key: toPem(key, 'PRIVATE KEY'),
    root: present.root,
  });
  if (next.nodeId !== present.nodeId || next.clusterId !== present.clusterId) {
    throw new CoveyError('wrong-ca', 'Cannot use the new certificate', { state: `it is that of node ${next.nodeId}` });
  }
  await options.save(next);
  options.identity.replace(next);
  options.log.info('certificate renewed', { validUntil: next.validUntilMs });
  return next;
}
