/**
 * The facts that doctor judges a node by, gathered from its parts; and when it last heard a manager.
 *
 * Called by member-node.ts. Not here: judging (node-findings.ts).
 */
import type { Host } from '../../host.js';
import type { Agent } from '../../tasks/index.js';
import type { IdentityHolder } from '../ca/index.js';
import type { ClusterParts } from '../cluster-parts.js';
import type { Membership } from '../membership/index.js';
import type { SessionMemory } from '../session/memory.js';
import type { Reach } from '../session/reach.js';
import type { Session } from '../session/types.js';
import type { NodeFacts } from './node-findings.js';

export interface NodeParts {
  readonly host: Host;
  readonly membership: Membership;
  readonly identity: IdentityHolder;
  readonly agent: Agent;
  readonly cluster: ClusterParts | undefined;
  readonly session: Session;
  readonly memory: SessionMemory;
  readonly reach: Reach;
}

/** Before the first session of this daemon, when what is remembered was written. */
export function heardMsOf({ host, session, memory }: NodeParts): number {
  const state = session.state();
  if (state.kind === 'connected') return host.clock.wallMs();
  return state.isLost ? state.sinceMs : memory.writtenMs;
}

export function nodeFactsOf({ host, membership, identity, agent, cluster, session, reach }: NodeParts): NodeFacts {
  const known = new Set((cluster?.managers() ?? session.managers()).flatMap(({ addresses }) => addresses));
  return {
    nowMs: host.clock.wallMs(),
    role: membership.role,
    session: session.state(),
    unreached: reach.unreached().filter(({ address }) => known.has(address)),
    leaderless: cluster?.leaderless(),
    certificate: identity.current(),
    tasks: agent.tasks(),
  };
}
