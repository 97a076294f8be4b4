/**
 * The state of the cluster: tables of immutable objects, changed by transactions that go through the log, watched by the
 * loops.
 *
 * Keeps true: all managers come to the same state, because what a transaction does depends on nothing but the log; states of
 * tasks only rise, and each edge has one owner (store/edges.ts).
 *
 * The front page of store/. Not here: the log (log.ts, group-log.ts), what is decided (daemon/).
 */
import type {
  Cluster,
  Config,
  JoinToken,
  Network,
  Node,
  RemovedNode,
  Revision,
  Secret,
  Service,
  Task,
} from '../gen/types.js';
import type { ProposeOutcome } from './log.js';
import type { Once } from './store/clients.js';

export type { Once } from './store/clients.js';
export {
  type Actor,
  actorsOf,
  hasPath,
  isEnded,
  refuseTaskDeletion,
  refuseTaskWrite,
  stateRank,
  taskEdges,
} from './store/edges.js';
export type { StoreMachine } from './store/machine.js';
export { type OpenStore, openStore } from './store/open.js';
export { updateInPieces } from './store/pieces.js';
export { firstSnapshot, openRebuild } from './store/rebuild.js';
export { refuseOlderManager, schemaOfState } from './store/schema.js';

/** Every table with the type of its objects. */
export interface Tables {
  readonly cluster: Cluster;
  readonly joinToken: JoinToken;
  readonly node: Node;
  readonly service: Service;
  readonly task: Task;
  readonly network: Network;
  readonly secret: Secret;
  readonly config: Config;
  readonly revision: Revision;
  readonly removedNode: RemovedNode;
}

export type TableName = keyof Tables;

/** Consistent while no await lies between two reads. Objects are frozen ideas: copy to change. */
export interface View {
  /** Index of the last entry in it. */
  readonly version: number;
  readonly find: <Name extends TableName>(table: Name, id: string) => Tables[Name] | undefined;
  readonly list: <Name extends TableName>(table: Name) => Iterable<Tables[Name]>;
  readonly count: (table: TableName) => number;
  /** By unique name: node, service, network, secret, config. */
  readonly findByName: <Name extends 'node' | 'service' | 'network' | 'secret' | 'config'>(
    table: Name,
    name: string,
  ) => Tables[Name] | undefined;
  readonly tasksOfService: (serviceId: string) => Iterable<Task>;
  /** Tasks assigned to the node. */
  readonly tasksOfNode: (nodeId: string) => Iterable<Task>;
}

/** `meta` of a put is filled in by the store (version, times; owner kept or set to the principal). */
export type Write =
  | {
      readonly [Name in TableName]: {
        readonly kind: 'put';
        readonly table: Name;
        readonly object: Omit<Tables[Name], 'meta'>;
      };
    }[TableName]
  | { readonly kind: 'delete'; readonly table: TableName; readonly id: string };

export type StoreEvent =
  | {
      readonly [Name in TableName]: {
        readonly kind: 'put';
        readonly table: Name;
        readonly object: Tables[Name];
        readonly old: Tables[Name] | undefined;
      };
    }[TableName]
  | {
      readonly [Name in TableName]: { readonly kind: 'delete'; readonly table: Name; readonly old: Tables[Name] };
    }[TableName];

export interface UpdateOptions {
  /** "uid:0", "node:<id>", "system", or "system:<actor>+<actor>" where tasks are written (store/edges.ts). */
  readonly principal: string;
  readonly signal: AbortSignal;
  /**
   * Names this change, so that asking again does it once: an update under a name that was done resolves with its version, and
   * `decide` is not called. For what is not harmless to repeat when its outcome was not known.
   */
  readonly once?: Once | undefined;
}

export interface Store {
  /** The present state, as applied here. */
  readonly view: () => View;
  /**
   * `decide` reads the state (all earlier decisions included) and says what to write; it may be called again when another
   * change came in between, and refuses by throwing. No writes: nothing is proposed. Resolves when applied, with the version;
   * rejects with not-leader, unknown-outcome, stale-version, no-space, too-large, illegal-transition, already-exists or what decide threw.
   */
  readonly update: (decide: (view: View) => readonly Write[], options: UpdateOptions) => Promise<number>;
  /** Called after every applied transaction, in order, synchronously; must be quick and not throw. */
  readonly watch: (onEvents: (events: readonly StoreEvent[], view: View) => void) => Disposable;
}

/** The error that an outcome other than committed stands for is made by store code; exported for the callers of logs. */
export type FailedOutcome = Exclude<ProposeOutcome, { readonly kind: 'committed' }>;
