/**
 * The leader's half of a manager: the loops that turn services into placed tasks. Opened when this node becomes the leader,
 * and gone (awaited, not merely told) before it acts as a follower again.
 *
 * Called by daemon/node.ts. Not here: what one pass over a service decides (orchestrate/, allocate/, schedule/), what people
 * ask for (control.ts), what agents say (dispatcher/).
 */
import type { Clock, Random } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import type { Store } from '../raft/store.js';
import type { Logger } from '../telemetry.js';

export interface ManagerParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** The loops end with it at the latest. */
  readonly lifetime: Lifetime;
}

/** Disposing ends all loops and resolves when the last of them has stopped writing. */
export interface Manager extends AsyncDisposable {
  /** Resolves when no loop has anything to do right now (keys that wait for a time do not count). */
  readonly idle: () => Promise<void>;
}

export type OpenManager = (parts: ManagerParts) => Manager;
