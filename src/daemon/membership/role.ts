/**
 * A node that the managers made a manager, or a worker, becomes one: a certificate of the new role, node.json, then its parts
 * are opened anew. Containers run on; the agent adopts them.
 *
 * Keeps true: any line may be the last one: as long as node.json says another role than the managers do, the next welcome of a
 * session begins this again.
 *
 * Called by daemon/node.ts. Not here: what is stored about it (group/roles.ts).
 */
import { CoveyError, codeOf } from '../../errors.js';
import type { NodeRole } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import type { Logger } from '../../telemetry.js';
import type { NodeIdentity } from '../ca/identity.js';
import { saveMembership } from './files.js';
import type { Member, Membership, MembershipOptions } from './types.js';

export interface RoleChange {
  readonly member: Member;
  readonly role: NodeRole;
  readonly raftId: number;
  /** Asks a manager for a certificate; it is on disk when this resolves. */
  readonly renew: (signal: AbortSignal) => Promise<NodeIdentity>;
  /** Ends the node's parts and opens them as what the member is now. */
  readonly restart: (member: Member) => Promise<void>;
}

export async function changeRole(
  options: Pick<MembershipOptions, 'host' | 'dataDir' | 'log'>,
  change: RoleChange,
  signal: AbortSignal,
): Promise<void> {
  const { role, raftId } = change;
  const identity = await change.renew(signal);
  if (identity.role !== role) {
    throw new CoveyError('stale-version', `Cannot become a ${role}`, {
      state: `the certificate says ${identity.role}: the managers have changed their mind`,
    });
  }
  const membership = { ...change.member.membership, role, raftId };
  await saveMembership({ files: options.host.files, dataDir: options.dataDir }, membership);
  options.log.info('role changed', { role });
  await change.restart({ identity, membership });
}

/** What the managers say that this node is. */
export interface RoleNews {
  readonly role: NodeRole;
  readonly raftId: number;
}

/** The node as it runs now. */
interface RunningNode {
  readonly membership: Membership;
  readonly identity: () => NodeIdentity;
  readonly renewIdentity: RoleChange['renew'];
}

const retryMs = 1_000;

/**
 * Becomes what the managers say. Tried until it is so, or they say something else, or the node has gone.
 */
export function followRole(
  options: { readonly clock: Clock; readonly log: Logger; readonly lifetime: Lifetime },
  { role, raftId }: RoleNews,
  node: {
    readonly find: () => RunningNode | undefined;
    readonly change: (change: RoleChange, signal: AbortSignal) => Promise<void>;
    readonly restart: (member: Member) => Promise<void>;
  },
): void {
  const present = node.find();
  if (present === undefined) return;
  options.lifetime.run('change role', async signal => {
    while (node.find() === present && !signal.aborted) {
      try {
        const member = { membership: present.membership, identity: present.identity() };
        await node.change({ member, role, raftId, renew: present.renewIdentity, restart: node.restart }, signal);
        return;
      } catch (error) {
        if (codeOf(error) === 'stale-version') return;
        options.log.warn('role not changed yet', { role, error, retryInMs: retryMs });
        await options.clock.sleep(retryMs, signal);
      }
    }
  });
}
