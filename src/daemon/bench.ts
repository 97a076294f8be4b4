/**
 * The Bench service: puts that go the way of every change, with nothing around it, and how long changes of the network take. Off unless the daemon was started with
 * `--bench yes`; whoever may open the socket may change the cluster anyway.
 *
 * Called by node.ts. Not here: what is measured, and how (scripts/bench).
 */
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { Handlers } from '../grpc.js';
import type { Store } from '../raft/store.js';
import type { Dispatcher } from './dispatcher/index.js';
import { principalOf } from './rpc/roles.js';

interface BenchCluster {
  readonly store: Store;
  /** undefined when this daemon does not lead. */
  readonly findDispatcher: () => Dispatcher | undefined;
}

/** `find` gives nothing when this daemon is no manager. */
export function benchHandlers(find: () => BenchCluster | undefined): Handlers<Services['Bench']> {
  return {
    acknowledged: async () => {
      const dispatcher = find()?.findDispatcher();
      if (dispatcher === undefined) throw new CoveyError('not-leader', 'Cannot tell: this daemon does not lead');
      return dispatcher.acknowledged();
    },
    put: async ({ key, value }, { caller, signal }) => {
      const store = find()?.store;
      if (store === undefined) throw new CoveyError('not-manager', 'Cannot put: this daemon is no manager');
      const object = { id: key, spec: { name: key, labels: {}, stack: '' }, data: value, digest: noDigest };
      const write = { kind: 'put', table: 'config', object } as const;
      return { version: await store.update(() => [write], { principal: principalOf(caller), signal }) };
    },
  };
}

const noDigest: Uint8Array = new Uint8Array();
