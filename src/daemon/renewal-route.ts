/**
 * Where a node gets its next certificate: from this very process while it leads, else from the first manager that answers. A
 * manager whose own certificate is over and that reaches no leader signs for itself: it holds the root's key, and without that
 * managers that were all off for too long could never talk to each other again.
 *
 * Called by member-node.ts. Not here: when (ca/renewal.ts), what a leader does (ca/issue.ts).
 */
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { ManagerAddress, RenewRequest, RenewResponse } from '../gen/types.js';
import type { Calls } from '../grpc.js';
import type { Host } from '../host.js';
import type { Store } from '../raft/store.js';
import type { Wire } from '../wire.js';
import { grantCertificate, requestedKey } from './ca/grant.js';
import type { IdentityHolder, RenewalOptions } from './ca/index.js';
import { getCluster } from './ca/issue.js';
import { removedError } from './ca/removal.js';
import { connectToManager } from './rpc/index.js';
import { targetsOf } from './session/dial.js';

export interface RenewalRouteOptions {
  readonly host: Pick<Host, 'clock' | 'random'>;
  readonly wire: Wire;
  readonly identity: IdentityHolder;
  readonly managers: () => readonly ManagerAddress[];
  /** Undefined on a worker. */
  readonly manager:
    | {
        readonly store: Pick<Store, 'view'>;
        /** Undefined: this manager does not lead. */
        readonly renewHere: (request: RenewRequest, signal: AbortSignal) => Promise<RenewResponse> | undefined;
      }
    | undefined;
}

const connectMs = 2_000;
const callMs = 10_000;

export function routeRenewal(options: RenewalRouteOptions): Pick<RenewalOptions, 'renew' | 'recover'> {
  const { manager } = options;
  return {
    renew: async (request, signal) =>
      await (manager?.renewHere(request, signal) ??
        atManagers(options, { shows: true, ask: (ca, limits) => ca.renew(request, limits) }, signal)),
    recover: async (request, signal) => {
      const here = manager?.renewHere(request, signal);
      if (here !== undefined) return await here;
      try {
        return await atManagers(options, { shows: false, ask: (ca, limits) => ca.recover(request, limits) }, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (manager === undefined) throw error;
        return await signForOneself(options, manager.store, request.certificateRequest);
      }
    },
  };
}

async function signForOneself(
  { host, identity }: RenewalRouteOptions,
  store: Pick<Store, 'view'>,
  request: Uint8Array,
): Promise<RenewResponse> {
  const view = store.view();
  const { nodeId } = identity.current();
  const node = view.find('node', nodeId);
  if (node === undefined) throw removedError(nodeId);
  if (node.role !== 'manager') {
    throw new CoveyError('role-refused', 'Cannot sign for oneself', { state: 'this node is no manager any more' });
  }
  await requestedKey(request);
  return await grantCertificate(host, { cluster: getCluster(view), node, request });
}

/** The first manager that answers. */
async function atManagers(
  options: RenewalRouteOptions,
  asking: {
    /** Whether the present certificate is shown. */
    readonly shows: boolean;
    readonly ask: (
      ca: Calls<Services['Ca']>,
      limits: { readonly signal: AbortSignal; readonly timeoutMs: number },
    ) => Promise<RenewResponse>;
  },
  signal: AbortSignal,
): Promise<RenewResponse> {
  const { clusterId, nodeId, root, certificate, key } = options.identity.current();
  const others = options.managers().filter(manager => manager.nodeId !== nodeId);
  let failure: unknown = new CoveyError('no-connection', 'Cannot find a manager', {
    state: 'no address of one is known',
  });
  for (const target of targetsOf(others, options.host.random.fraction)) {
    try {
      await using manager = await connectToManager({
        ...target,
        clusterId,
        root,
        client: asking.shows ? { certificate, key } : undefined,
        wire: options.wire,
        clock: options.host.clock,
        timeoutMs: connectMs,
        signal,
      });
      return await asking.ask(manager.calls('Ca'), { signal, timeoutMs: callMs });
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
