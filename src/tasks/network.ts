/**
 * What the task engine needs of the network of this node. The network part offers it; the composition root hands it over.
 *
 * Not here: links, rules, names (netns/).
 */
import type { Task } from '../gen/types.js';
import type { TaskId } from '../ids.js';

/** What a task got: where its containers go, and whom they ask for names. */
export interface NetworkAttached {
  /** Path of the pinned network namespace; undefined: that of the host. */
  readonly namespacePath: string | undefined;
  readonly nameservers: readonly string[];
  readonly searchDomains: readonly string[];
  /** The name servers know the resolvers that the task asks for (its main container's), and ask them for names outside. */
  readonly takesUpstreams: boolean;
}

export interface TaskNetwork {
  /** Namespace pinned, link, addresses, routes, resolver reachable. Idempotent; drivers host and none included. */
  attach(task: Task, signal: AbortSignal): Promise<NetworkAttached>;
  /** Idempotent. */
  detach(taskId: TaskId): Promise<void>;
  /** Tasks of which something exists in the kernel, for the sweep. */
  attached(): readonly TaskId[];
}
