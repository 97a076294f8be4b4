/**
 * Who may call what: one table beside the services (src/gen/services.ts), a row for every RPC. A server refuses to start
 * when a method that it serves has no row; the compiler says so earlier.
 *
 * Checked before any handler runs, by interceptors of the two servers (cluster-server.ts, local-server.ts).
 *
 * Not here: who the caller is (callers.ts), whether a node is still a member (the store, asked by the cluster server).
 */
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import { type Caller, pathsOf } from '../../grpc.js';
import { removedError } from '../ca/removal.js';

/**
 * `local`: whoever may open the unix socket. `worker`, `manager`: nodes with a certificate of that role. `anyone`: no
 * certificate needed. `peer`: nodes whose certificate says manager and that were not removed; what else the store here knows is for
 * the handler to judge (peers/serve.ts), which tells a member of a group that is over more than "refused".
 */
type Role = 'local' | 'worker' | 'manager' | 'peer' | 'anyone';

type RoleTable = { readonly [S in keyof Services]: { readonly [M in keyof Services[S]]: readonly Role[] } };

const local: readonly Role[] = ['local'];
/** Managers pass on what people ask of them to the one that leads. */
const people: readonly Role[] = ['local', 'manager'];
const nodes: readonly Role[] = ['worker', 'manager'];

export const roleTable: RoleTable = {
  // A joiner has no certificate yet, one that was off for long has none that counts: token and proof are checked by the handler.
  Ca: { join: ['anyone'], recover: ['anyone'], renew: nodes, leave: nodes },
  Dispatcher: { session: nodes, bulk: nodes },
  Raft: { link: ['peer'], snapshot: ['peer'] },
  Local: {
    init: local,
    joinCluster: local,
    leaveCluster: local,
    planRecovery: local,
    recoverCluster: local,
    backupCluster: local,
    restoreCluster: local,
    info: local,
    doctor: local,
    importImage: local,
    listImages: local,
    inspectImage: local,
    removeImage: local,
    pullImage: local,
    tagImage: local,
    pruneImages: local,
    exportImages: local,
    checkImages: local,
    pickCredentials: local,
    loginRegistry: local,
    logoutRegistry: local,
    createVolume: local,
    listVolumes: local,
    removeVolume: local,
    listTasks: local,
    exec: local,
    logs: local,
    runTaskVerb: local,
    unlock: local,
    setNodeAddress: local,
    setLogLevel: local,
  },
  Bench: { put: local, acknowledged: local },
  Control: {
    getCluster: people,
    updateCluster: people,
    getUnlockKey: people,
    createJoinToken: people,
    listJoinTokens: people,
    removeJoinToken: people,
    getRootStatus: people,
    rotateRoot: people,
    listNodes: people,
    updateNode: people,
    setNodeRole: people,
    removeNode: people,
    listServices: people,
    createService: people,
    updateService: people,
    removeService: people,
    rollbackService: people,
    holdUpdate: people,
    listRevisions: people,
    listTasks: people,
    listNetworks: people,
    createNetwork: people,
    setNetworkPolicy: people,
    updateNetwork: people,
    removeNetwork: people,
    listAddresses: people,
    addAddress: people,
    removeAddress: people,
    listSecrets: people,
    listConfigs: people,
    deployStack: people,
    removeStack: people,
    watch: people,
    exec: people,
    logs: people,
    capture: people,
    stats: people,
    askVolumes: people,
    attach: people,
    copy: people,
    runTaskVerb: people,
    restartTasks: people,
    rebalance: people,
  },
};

export type RolesByPath = ReadonlyMap<string, readonly Role[]>;

/** The rows of the named services by path ("/covey.v1.Ca/Join"). Throws when a method has no row. */
export function rolesOf(services: readonly (keyof Services)[], table: RoleTable = roleTable): RolesByPath {
  const rows = new Map<string, readonly Role[]>();
  for (const service of services) {
    for (const path of pathsOf(service)) {
      const method = path.slice(path.lastIndexOf('/') + 1);
      const roles = (table[service] as Readonly<Record<string, readonly Role[]>>)[lowerFirst(method)];
      if (roles === undefined) throw new CoveyError('bug', `Cannot serve "${path}": the role table has no row for it`);
      rows.set(path, roles);
    }
  }
  return rows;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** The refusal of a call, or undefined when the caller may make it. */
export function refusalOf(caller: Caller, path: string, rows: RolesByPath): CoveyError | undefined {
  const roles = rows.get(path);
  if (roles === undefined) return new CoveyError('unknown-value', `Cannot call "${path}": it is not served here`);
  if (caller.kind === 'node' && caller.role === 'removed') return removedError(caller.nodeId);
  if (roles.includes('peer') && isPeer(caller)) return undefined;
  if (caller.kind === 'node' && caller.role === '') return removedError(caller.nodeId);
  if (roles.includes('anyone')) return undefined;
  const role = callerRole(caller);
  if (role !== undefined && roles.includes(role)) return undefined;
  if (caller.kind === 'anonymous') {
    return new CoveyError('no-certificate', `Cannot call "${path}" without a certificate of this cluster`, {
      state: `caller at ${caller.address}`,
      hint: 'join the cluster first: covey join',
    });
  }
  return new CoveyError('role-refused', `Cannot call "${path}" as ${nameOf(caller)}`, {
    state: `allowed: ${roles.join(', ')}`,
  });
}

/** By its certificate. */
function isPeer(caller: Caller): boolean {
  return caller.kind === 'node' && caller.certified === 'manager';
}

function callerRole(caller: Caller): Role | undefined {
  if (caller.kind === 'uid') return 'local';
  if (caller.kind === 'node' && (caller.role === 'worker' || caller.role === 'manager')) return caller.role;
  return undefined;
}

function nameOf(caller: Exclude<Caller, { readonly kind: 'anonymous' }>): string {
  return caller.kind === 'uid' ? `uid ${caller.uid}` : `${caller.role} ${caller.nodeId}`;
}

/** Who asked, as the store notes it. */
export function principalOf(caller: Caller): string {
  switch (caller.kind) {
    case 'uid':
      return `uid:${caller.uid}`;
    case 'node':
      return `node:${caller.nodeId}`;
    case 'anonymous':
      return 'anonymous';
  }
}
