/**
 * Keeps this node's certificate young, and what it trusts as the managers say: renewed at a random point between 50 and 80 % of
 * its life, with a new key, over the running connection. Streams that are open go on; connections made later use the new one.
 *
 *     half of its life is over, or another root signs now   ──►  Renew, by the present certificate; a new key
 *     it has expired, or a manager does not accept it       ──►  Recover, by proof of the key; the same key
 *     the roots are others                                  ──►  written, in use
 *
 * Nodes differ in the point, so that a cluster made in one minute does not renew in one minute. The wait is cut into hours:
 * timers end at 24 days, and the wall clock may jump. While the clock is plainly wrong nothing is judged by it.
 *
 * Called by member-node.ts. Not here: issuing (issue.ts), which manager is asked (renewal-route.ts), keeping it on disk
 * (membership/files.ts).
 */
import { CoveyError, codeOf } from '../../errors.js';
import type { RecoverRequest, RenewRequest, RenewResponse, Trust } from '../../gen/types.js';
import type { Clock, Random } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import type { Logger } from '../../telemetry.js';
import { certificateFactsOf, rootsText } from './authority.js';
import type { IdentityHolder, NodeIdentity } from './identity.js';
import { findPems, identityOf, toDer, toPem } from './pem.js';
import { equalBytes } from './token.js';

export interface RenewalOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly identity: IdentityHolder;
  /** Asks a manager; rejects when none answers. */
  readonly renew: (request: RenewRequest, signal: AbortSignal) => Promise<RenewResponse>;
  /** The same without the present certificate, which has expired. */
  readonly recover: (request: RecoverRequest, signal: AbortSignal) => Promise<RenewResponse>;
  /** Writes the identity durably. */
  readonly save: (identity: NodeIdentity) => Promise<void>;
  /** False while the clock cannot be right. */
  readonly isClockSane?: () => boolean;
  /** Why the certificate is not renewed; undefined: it is. */
  readonly onProblem?: (problem: CoveyError | undefined) => void;
}

export interface Renewal {
  /** The managers say what to identify oneself with, and whom to believe. */
  readonly follow: (trust: Trust) => void;
}

const hourMs = 3_600_000;
const retryFirstMs = 5_000;
/** One that has expired is of no use to anybody. */
const retryExpiredMs = 15_000;
const clockLookMs = 5_000;
/** After a new root: not all nodes in one moment. */
const followWithinMs = 2_000;

interface Keeping {
  trust: Trust | undefined;
  wake: (() => void) | undefined;
}

export function openRenewal(options: RenewalOptions): Renewal {
  const keeping: Keeping = { trust: undefined, wake: undefined };
  options.lifetime.run('renew certificate', signal => keepRenewed(options, keeping, signal));
  return {
    follow: trust => {
      keeping.trust = trust;
      keeping.wake?.();
    },
  };
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

/** What the node has to do to be as the managers say. */
function planFollowing(identity: NodeIdentity, trust: Trust | undefined): 'nothing' | 'renew' | 'trust other roots' {
  if (trust === undefined || trust.roots.length === 0) return 'nothing';
  const facts = certificateFactsOf(identity);
  if (!equalBytes(facts.signer, trust.signer)) return 'renew';
  return rootsText(trust.roots) === identity.root ? 'nothing' : 'trust other roots';
}

async function keepRenewed(options: RenewalOptions, keeping: Keeping, signal: AbortSignal): Promise<void> {
  const { clock, identity } = options;
  signal.addEventListener('abort', () => keeping.wake?.(), { once: true });
  for (;;) {
    const { validFromMs, validUntilMs } = identity.current();
    const dueMs = planRenewal({ validFromMs, validUntilMs, fraction: options.random.fraction() });
    const before = identity.current();
    while (identity.current() === before) {
      const step = planFollowing(identity.current(), keeping.trust);
      if (step === 'trust other roots') await trustOthers(options, keeping, signal);
      else if (step === 'renew') {
        await clock.sleep(Math.round(options.random.fraction() * followWithinMs), signal);
        await renewWithRetries(options, keeping, signal);
      } else if (options.isClockSane?.() === false) await rest(options, keeping, clockLookMs, signal);
      else if (dueMs <= clock.wallMs()) await renewWithRetries(options, keeping, signal);
      else await rest(options, keeping, Math.min(dueMs - clock.wallMs(), hourMs), signal);
    }
  }
}

/** Waits, but no longer than until the managers say something new. */
async function rest({ clock }: RenewalOptions, keeping: Keeping, ms: number, signal: AbortSignal): Promise<void> {
  const woken = new AbortController();
  keeping.wake = () => woken.abort();
  try {
    await clock.sleep(ms, woken.signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!woken.signal.aborted) throw error;
  } finally {
    keeping.wake = undefined;
  }
}

async function trustOthers(options: RenewalOptions, { trust }: Keeping, signal: AbortSignal): Promise<void> {
  if (trust === undefined) return;
  const next = identityOf({ ...options.identity.current(), root: rootsText(trust.roots) });
  await options.save(next);
  signal.throwIfAborted();
  options.identity.replace(next);
  options.log.info('trusts other roots', { roots: trust.roots.length });
}

/** Tried again after a while, and at once when a manager speaks. */
async function renewWithRetries(options: RenewalOptions, keeping: Keeping, signal: AbortSignal): Promise<void> {
  for (let waitMs = retryFirstMs; ; ) {
    try {
      await renewOnce(options, signal);
      options.onProblem?.(undefined);
      return;
    } catch (error) {
      signal.throwIfAborted();
      const validForMs = options.identity.current().validUntilMs - options.clock.wallMs();
      waitMs = Math.min(waitMs, validForMs > 0 ? hourMs : retryExpiredMs);
      options.log.warn('certificate not renewed', { error, retryInMs: waitMs, validForMs });
      if (error instanceof CoveyError) options.onProblem?.(error);
    }
    await rest(options, keeping, waitMs, signal);
    waitMs *= 2;
  }
}

type RenewOnce = Pick<RenewalOptions, 'identity' | 'renew' | 'recover' | 'save' | 'log' | 'clock'>;

/** One renewal: new key, new certificate, on disk, in use. With one that is over the key stays. */
export async function renewOnce(options: RenewOnce, signal: AbortSignal): Promise<NodeIdentity> {
  const present = options.identity.current();
  const { answer, key } = await ask(options, signal);
  const next = identityOf({
    certificate: [answer.certificate, ...answer.intermediates].map(one => toPem(one, 'CERTIFICATE')).join(''),
    key: toPem(key, 'PRIVATE KEY'),
    root: answer.roots.length === 0 ? present.root : rootsText(answer.roots),
  });
  if (next.nodeId !== present.nodeId || next.clusterId !== present.clusterId) {
    throw new CoveyError('wrong-ca', 'Cannot use the new certificate', { state: `it is that of node ${next.nodeId}` });
  }
  await options.save(next);
  options.identity.replace(next);
  options.log.info('certificate renewed', { validUntil: next.validUntilMs });
  return next;
}

interface Answered {
  readonly answer: RenewResponse;
  readonly key: Uint8Array;
}

async function ask(options: RenewOnce, signal: AbortSignal): Promise<Answered> {
  if (options.clock.wallMs() >= options.identity.current().validUntilMs) return await askWithOldKey(options, signal);
  const { makeRequest } = await import('./x509.js');
  const { request, key } = await makeRequest();
  try {
    return { answer: await options.renew({ certificateRequest: request }, signal), key };
  } catch (error) {
    // By the manager's clock it is over.
    if (codeOf(error) !== 'no-certificate') throw error;
    return await askWithOldKey(options, signal);
  }
}

async function askWithOldKey(options: RenewOnce, signal: AbortSignal): Promise<Answered> {
  const { makeRequestFor } = await import('./x509.js');
  const present = options.identity.current();
  const key = toDer(present.key);
  const [certificate = ''] = findPems(present.certificate, 'CERTIFICATE');
  const certificateRequest = await makeRequestFor(key);
  return { answer: await options.recover({ certificate: toDer(certificate), certificateRequest }, signal), key };
}
