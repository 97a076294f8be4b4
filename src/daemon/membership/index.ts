/**
 * How this machine becomes a node, and stops being one: the flows behind Local.Init, JoinCluster and LeaveCluster.
 *
 * Keeps true: node.json is the commit point; one flow at a time; a failed flow leaves what was there before.
 *
 * How it goes: `init.ts`, `join.ts`, `reintroduce.ts`, `leave.ts`, `recover.ts` are the flows -> `files.ts` is what lies on disk -> `../ca` makes and checks
 * certificates and tokens -> `../rpc` connects. What a node runs is handed in (`Establish`, `Dismantle`) by daemon/node.ts.
 *
 * Try it: `npm run test -- membership` (sockets on 127.0.0.1, temporary directories).
 */
import { CoveyError } from '../../errors.js';
import type {
  InitRequest,
  InitResponse,
  JoinClusterRequest,
  JoinClusterResponse,
  LeaveClusterRequest,
  LeaveClusterResponse,
} from '../../gen/types.js';
import { parseToken } from '../ca/token.js';
import { lockedError } from '../keys/index.js';
import { findMember } from './files.js';
import { type InitOptions, initCluster } from './init.js';
import { type JoinOptions, joinCluster } from './join.js';
import { type LeaveOptions, leaveCluster } from './leave.js';
import { type RecoverOptions, type RecoverParts, recoverCluster } from './recover.js';
import { type Reintroduction, reintroduce } from './reintroduce.js';
import { type RestoreParts, restoreCluster } from './restore.js';
import { changeRole, type RoleChange } from './role.js';
import type { Member } from './types.js';

export { alignIdentity, saveIdentity } from './files.js';
export type { RecoveredNode } from './new-group.js';
export { planRecovery, type Survivor } from './recover.js';
export type { KnownAnew } from './reintroduce.js';
export { backupBytesMax, type RestoreParts } from './restore.js';
export { followRole, type RoleNews } from './role.js';
export type { Member, Membership } from './types.js';

export type LeaveParts = Pick<LeaveOptions, 'identity' | 'otherManagers' | 'handOver' | 'stopTasks' | 'stop'>;

export interface MembershipFlows {
  /** What this node is, as on disk. */
  readonly find: () => Promise<Member | undefined>;
  readonly init: (request: InitRequest, signal: AbortSignal) => Promise<InitResponse>;
  readonly join: (request: JoinClusterRequest, signal: AbortSignal) => Promise<JoinClusterResponse>;
  /** The managers made this node a worker or a manager. */
  readonly changeRole: (change: RoleChange, signal: AbortSignal) => Promise<void>;
  /** Makes the group of managers anew from what this one has. */
  readonly recover: (
    parts: RecoverParts,
    request: { readonly force: boolean; readonly signal: AbortSignal },
  ) => Promise<void>;
  /** Makes this machine the only manager of the cluster that a backup holds. */
  readonly restore: (
    parts: Omit<RestoreParts, 'present' | 'leave'> & { readonly findLeaving: () => LeaveParts | undefined },
    signal: AbortSignal,
  ) => Promise<void>;
  /** `parts` of the node as it runs now. */
  readonly leave: (
    parts: LeaveParts,
    request: LeaveClusterRequest,
    signal: AbortSignal,
  ) => Promise<LeaveClusterResponse>;
}

export function openMembership(options: InitOptions & JoinOptions & Reintroduction & RecoverOptions): MembershipFlows {
  const place = { files: options.host.files, dataDir: options.dataDir, keys: options.keys };
  let busy: string | undefined;
  const alone = async <Result>(flow: string, work: () => Promise<Result>): Promise<Result> => {
    if (busy !== undefined) throw new CoveyError('too-many', `Cannot ${flow} now`, { state: `${busy} is under way` });
    busy = flow;
    try {
      return await work();
    } finally {
      busy = undefined;
    }
  };
  const refuseMember = async (verb: string): Promise<void> => {
    const member = await findMember(place);
    if (member === undefined) return;
    throw new CoveyError('already-in-cluster', `Cannot ${verb}`, {
      state: `this daemon is node "${member.membership.nodeName}" of cluster ${member.membership.clusterId}`,
      hint: 'covey leave',
    });
  };
  return {
    find: () => findMember(place),
    init: (request, signal) =>
      alone('init', async () => {
        await refuseMember('make a cluster');
        return await initCluster(options, request, signal);
      }),
    join: (request, signal) =>
      alone('join', async () => {
        const member = await findMember(place);
        if (member?.lock !== undefined)
          throw lockedError(member.lock, 'Cannot join with a token: this manager is locked');
        if (member !== undefined && parseToken(request.token).returns === true)
          return await reintroduce(options, { member, request }, signal);
        await refuseMember('join a cluster');
        return await joinCluster(options, request, signal);
      }),
    changeRole: (change, signal) => alone('change role', () => changeRole(options, change, signal)),
    recover: (parts, request) => alone('recover', () => recoverCluster(options, parts, request)),
    restore: (parts, signal) =>
      alone('restore', async () => {
        const present = await findMember(place);
        if (present?.lock !== undefined)
          throw lockedError(present.lock, 'Cannot restore a cluster: this manager is locked');
        const leave = async (leaving: AbortSignal): Promise<void> => {
          const found = parts.findLeaving();
          if (found !== undefined) await leaveCluster({ ...options, ...found }, { force: true }, leaving);
        };
        await restoreCluster(options, { ...parts, present, leave }, signal);
      }),
    leave: (parts, request, signal) => alone('leave', () => leaveCluster({ ...options, ...parts }, request, signal)),
  };
}
