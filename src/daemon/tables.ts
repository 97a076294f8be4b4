/**
 * What every cluster begins with: its settings, and the networks that are always there.
 *
 * The pool is 10.208.0.0/12 in pieces of /20: 256 networks of 4,093 addresses each. Nothing common lives there (Docker takes
 * 172.17.0.0/16 and on, Kubernetes 10.96, 10.42 and 10.244, home routers 192.168, tunnels of others 100.64.0.0/10), and a
 * host route into it does no harm between containers, because overlay routes lie in a namespace of their own.
 *
 * Called by daemon/membership (init), manager.ts, control/ and allocate/. Not here: tokens and keys (ca/).
 */
import type { ClusterSpec, NetworkDriver, NetworkSpec } from '../gen/types.js';
import type { Random } from '../host.js';
import { newId } from '../ids.js';
import type { View, Write } from '../raft/store.js';

export const defaultClusterSpec: ClusterSpec = {
  pool: '10.208.0.0/12',
  poolPieceBits: 20,
  taskHistoryMax: 5,
  certificateDays: 90,
  heartbeatMs: 1_000,
  lostAfterMs: 10_000,
  dataPort: 7_378,
};

/** Networks that are there from the beginning and can't be removed: for services that name none, and the two special ones. */
export const fixedNetworks: Readonly<Record<string, NetworkDriver>> = {
  default: 'overlay',
  host: 'host',
  none: 'none',
};

export function fixedNetworkSpec(name: string): NetworkSpec {
  const driver = fixedNetworks[name] ?? 'overlay';
  return { name, labels: {}, stack: '', driver, subnets: [], internal: false, attachable: false };
}

/** Makes what is missing. */
export function planDefaults(view: View, random: Pick<Random, 'bytes'>): readonly Write[] {
  return Object.keys(fixedNetworks)
    .filter(name => view.findByName('network', name) === undefined)
    .map(name => ({
      kind: 'put',
      table: 'network',
      object: { id: newId(random.bytes), spec: fixedNetworkSpec(name), subnets: [] },
    }));
}

/** Settings of the cluster; those of a new one before its object is stored. */
export function clusterSpecOf(view: View): ClusterSpec {
  for (const cluster of view.list('cluster')) return cluster.spec;
  return defaultClusterSpec;
}
