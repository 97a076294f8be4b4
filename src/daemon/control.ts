/**
 * The Control service: what people ask of the cluster, as functions over the store. Every request is validated, names are
 * resolved to ids, and each change is one transaction whose principal is the caller.
 *
 * Called by the local server and the cluster server (daemon/rpc). Not here: who may call (the role table of daemon/rpc),
 * join tokens (daemon/ca), the relay of exec and logs (daemon/bulk).
 */
import type { Services } from '../gen/services.js';
import type { Handlers } from '../grpc.js';
import type { Clock, Random } from '../host.js';
import type { NodeId } from '../ids.js';
import type { Store } from '../raft/store.js';

type ControlHandlers = Handlers<Services['Control']>;

export interface ControlParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  /** Made by daemon/ca. */
  readonly tokens: Pick<ControlHandlers, 'createJoinToken' | 'listJoinTokens' | 'removeJoinToken'>;
  /** Made by daemon/bulk. */
  readonly bulk: Pick<ControlHandlers, 'exec' | 'logs'>;
  readonly leaderId: () => NodeId | undefined;
}

export type MakeControl = (parts: ControlParts) => ControlHandlers;
