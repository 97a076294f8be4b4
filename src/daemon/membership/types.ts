/**
 * What a machine keeps about being a node (`node.json`), and what the flows of init, join and leave need of the daemon.
 *
 * Not here: the files (files.ts), the flows (init.ts, join.ts, leave.ts).
 */

import type { NodeDescription, NodeRole } from '../../gen/types.js';
import type { Host } from '../../host.js';
import type { ClusterId, NodeId } from '../../ids.js';
import type { Write } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import type { Wire } from '../../wire.js';
import type { NodeIdentity } from '../ca/identity.js';
import type { KeyKeeper, Lock } from '../keys/index.js';

/** The content of node.json. The node is a member from the moment that this file is on disk. */
export interface Membership {
  readonly clusterId: ClusterId;
  readonly nodeId: NodeId;
  readonly nodeName: string;
  readonly role: NodeRole;
  /** This node's member of the managers' Raft group; 0 on a worker. */
  readonly raftId: number;
  /** As given at init or join; empty: found from the machine. */
  readonly advertiseAddress: string;
  readonly dataPathAddress: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly joinedAtMs: number;
}

export interface Member {
  readonly membership: Membership;
  readonly identity: NodeIdentity;
  /** A manager that waits for its unlock key: its log is closed, and its identity has no private key. */
  readonly lock?: Lock | undefined;
}

export interface MembershipOptions {
  readonly host: Pick<Host, 'clock' | 'random' | 'files'>;
  readonly dataDir: string;
  readonly keys: KeyKeeper;
  readonly wire: Wire;
  readonly log: Logger;
}

/** How the daemon becomes a node with the identity; used by init and join. */
export interface Establish {
  /** The facts of this machine under the addresses that were asked for. */
  readonly describe: (addresses: {
    readonly advertiseAddress: string;
    readonly dataPathAddress: string;
  }) => Promise<NodeDescription> | NodeDescription;
  /**
   * Starts what a node of that role runs and resolves when the node is ready. For init, `bootstrap` is the first
   * transaction of the new store. Rejecting means: nothing runs any more.
   */
  readonly start: (
    member: Member,
    options: { readonly bootstrap: readonly Write[]; readonly signal: AbortSignal },
  ) => Promise<void>;
}

/** How the daemon stops being one. */
export interface Dismantle {
  /** Stops all containers of this node; how many there were. */
  readonly stopTasks: (signal: AbortSignal) => Promise<number>;
  /** Ends sessions, agent, store and network, and undoes what was changed on the host; a line for each thing undone. */
  readonly stop: () => Promise<readonly string[]>;
}
