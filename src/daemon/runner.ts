/**
 * The node that this machine is at the moment: started, ended, and begun anew when its role or its group of managers changes.
 *
 * Keeps true: at most one runs; a node that cannot be begun anew ends the daemon, which starts from what is on disk.
 *
 * Called by node.ts. Not here: the parts of a node (member-node.ts), what is written before a change (membership/).
 */
import { asCoveyError, type CoveyError } from '../errors.js';
import type { Clock } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import type { Write } from '../raft/store.js';
import type { Logger } from '../telemetry.js';
import type { MemberNode } from './member-node.js';
import { followRole, type Member, type MembershipFlows, type RoleNews } from './membership/index.js';

export interface Running {
  readonly node: MemberNode;
  /** The scope of its parts. */
  readonly lifetime: Lifetime;
}

export interface Opening {
  readonly member: Member;
  readonly bootstrap: readonly Write[];
  /** Its group of managers is over: it runs without its member, and learns from the new managers what it is. */
  readonly isSuperseded: boolean;
  readonly onRole: (news: RoleNews) => void;
  readonly onSuperseded: (error: CoveyError) => void;
  readonly signal: AbortSignal;
}

export interface Runner {
  readonly find: () => MemberNode | undefined;
  readonly start: (
    member: Member,
    options: { readonly bootstrap: readonly Write[]; readonly signal: AbortSignal },
  ) => Promise<MemberNode>;
  /** Containers run on. */
  readonly stop: () => Promise<void>;
  /** Ends it and begins it anew; that it can't be begun ends the daemon. */
  readonly restart: (member: Member) => Promise<MemberNode>;
}

export function openRunner(options: {
  readonly clock: Clock;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly open: (opening: Opening) => Promise<Running>;
  readonly changeRole: MembershipFlows['changeRole'];
  readonly onBroken: (error: Error) => void;
}): Runner {
  const { lifetime, log } = options;
  let running: Running | undefined;
  const find = (): MemberNode | undefined => running?.node;
  const stop = async (): Promise<void> => {
    const ending = running;
    running = undefined;
    await ending?.lifetime[Symbol.asyncDispose]();
  };
  const onRole = (news: RoleNews): void =>
    followRole(options, news, {
      find,
      change: options.changeRole,
      restart: async member => void (await restart(member)),
    });
  const onSuperseded = (error: CoveyError): void => {
    const present = running?.node;
    if (present === undefined || present.isSuperseded) return;
    log.warn('the managers were made a new group without this node: it goes on as a worker', { error });
    lifetime.run('leave a group that is over', async () => {
      if (running?.node !== present) return;
      const member = { membership: present.membership, identity: present.identity() };
      await restart(member, { isSuperseded: true });
    });
  };
  const open = async (
    opening: Pick<Opening, 'member' | 'bootstrap' | 'signal' | 'isSuperseded'>,
  ): Promise<MemberNode> => {
    running = await options.open({ ...opening, onRole, onSuperseded });
    return running.node;
  };
  const restart = async (member: Member, { isSuperseded } = { isSuperseded: false }): Promise<MemberNode> => {
    await stop();
    try {
      return await open({ member, bootstrap: [], signal: lifetime.signal, isSuperseded });
    } catch (error) {
      options.onBroken(asCoveyError(error));
      throw error;
    }
  };
  return {
    find,
    start: (member, starting) => open({ member, ...starting, isSuperseded: false }),
    stop,
    restart: member => restart(member),
  };
}
