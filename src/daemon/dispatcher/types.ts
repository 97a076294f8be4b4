/**
 * What the dispatcher offers to the daemon, and the bulk relay to it.
 *
 * Not here: the work (dispatcher.ts, bulk/relay.ts).
 */
import type { Services } from '../../gen/services.js';
import type { Handlers } from '../../grpc.js';
import type { NodeId } from '../../ids.js';
import type { AcknowledgedTimes } from './retiring.js';

/** The manager's half of all sessions. Lives as long as this manager leads. */
export interface Dispatcher {
  readonly session: Handlers<Services['Dispatcher']>['session'];
  readonly isConnected: (nodeId: NodeId) => boolean;
  /** Since the node was last heard; undefined: not since this manager leads. */
  readonly silentMs: (nodeId: NodeId) => number | undefined;
  /** Asks the node to open a bulk stream; false when it has no session. */
  readonly openBulk: (nodeId: NodeId, ticket: string) => boolean;
  /** Tells the node that the caller of that stream has gone. */
  readonly closeBulk: (nodeId: NodeId, ticket: string) => void;
  /**
   * Resolves when all connected nodes show the tables as they are in the store now, after at most timeoutMs.
   * A node that leaves waits for this before it stops its containers.
   */
  readonly settled: (options: { readonly timeoutMs: number; readonly signal: AbortSignal }) => Promise<void>;
  /** Nodes that may still lead to what had the address before; undefined: none. */
  readonly waitsFor: (address: string) => readonly NodeId[] | undefined;
  /** How long changes of the tables take until every node shows them. */
  readonly acknowledged: () => AcknowledgedTimes;
  /** The list of managers changed: every node is told. */
  readonly managersChanged: () => void;
}

/** Exec, Logs and verbs of Control, and Bulk of Dispatcher. */
export interface BulkRelay {
  readonly exec: Handlers<Services['Control']>['exec'];
  readonly attach: Handlers<Services['Control']>['attach'];
  readonly copy: Handlers<Services['Control']>['copy'];
  readonly logs: Handlers<Services['Control']>['logs'];
  readonly capture: Handlers<Services['Control']>['capture'];
  readonly stats: Handlers<Services['Control']>['stats'];
  readonly askVolumes: Handlers<Services['Control']>['askVolumes'];
  readonly runTaskVerb: Handlers<Services['Control']>['runTaskVerb'];
  readonly bulk: Handlers<Services['Dispatcher']>['bulk'];
}
