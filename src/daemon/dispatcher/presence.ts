/**
 * Which nodes are there: ready from their hello on, lost after a silence of lost_after.
 *
 * Keeps true: a manager that begins to lead gives everybody a full period; so does one whose own timers were late (it was
 * paused, or its event loop was blocked: the heartbeats are waiting in its sockets). Changes go to the store in batches, as
 * "system".
 *
 * `planLost` is the rule; `openPresence` the shell with the timer. Not here: what a loss means for tasks (orchestrate/).
 */

import type { Node, NodeDescription, NodeState } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import type { NodeId } from '../../ids.js';
import { isCancellation, type Lifetime } from '../../lifetime.js';
import type { Store, View, Write } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { sameContent } from './diff.js';

export interface Presence {
  /** Something came from the node. */
  readonly heard: (nodeId: NodeId) => void;
  /** The node said hello. Resolves when the store says ready. */
  readonly ready: (nodeId: NodeId, description: NodeDescription) => Promise<void>;
}

export interface PresenceOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly lostAfterMs: () => number;
  /** Called when a node is declared lost: its session, if any, is dead. */
  readonly onLost: (nodeId: NodeId) => void;
}

interface Wanted {
  readonly state: NodeState;
  readonly message: string;
  readonly description: NodeDescription | undefined;
  readonly done: (() => void)[];
}

const writesMax = 150;
const retryMs = 1_000;

/** Nodes that have been silent too long and are not lost yet. */
export function planLost(options: {
  readonly nodes: Iterable<Node>;
  readonly heardMs: ReadonlyMap<string, number>;
  readonly nowMs: number;
  readonly lostAfterMs: number;
}): readonly NodeId[] {
  const lost: NodeId[] = [];
  for (const node of options.nodes) {
    if (node.status.state === 'lost' || node.status.state === 'left') continue;
    const heardMs = options.heardMs.get(node.id) ?? options.nowMs;
    if (options.nowMs - heardMs > options.lostAfterMs) lost.push(node.id);
  }
  return lost;
}

/** How often to look: often enough that a loss is noticed within a quarter more than lost_after. */
export function lookEveryMs(lostAfterMs: number): number {
  return Math.min(1_000, Math.max(20, Math.floor(lostAfterMs / 4)));
}

export function openPresence(options: PresenceOptions): Presence {
  const { store, clock, lifetime } = options;
  const heardMs = new Map<NodeId, number>();
  const wanted = new Map<NodeId, Wanted>();
  const startMs = clock.monotonicMs();
  for (const node of store.view().list('node')) heardMs.set(node.id, startMs);
  let wake: (() => void) | undefined;

  const want = (nodeId: NodeId, change: Omit<Wanted, 'done'>): Promise<void> =>
    new Promise(resolve => {
      const before = wanted.get(nodeId);
      wanted.set(nodeId, {
        ...change,
        description: change.description ?? before?.description,
        done: [...(before?.done ?? []), resolve],
      });
      wake?.();
    });
  const follow = store.watch(events => {
    for (const event of events) {
      if (event.table !== 'node') continue;
      if (event.kind === 'delete') heardMs.delete(event.old.id);
      else if (event.old === undefined) heardMs.set(event.object.id, clock.monotonicMs());
    }
  });
  lifetime.defer('presence/watch', () => follow[Symbol.dispose]());
  lifetime.run('presence/look', signal => lookForLost(options, { heardMs, want }, signal));
  lifetime.run('presence/write', async signal => {
    const stopped = (): void => wake?.();
    signal.addEventListener('abort', stopped, { once: true });
    while (!signal.aborted) {
      if (wanted.size === 0) {
        await new Promise<void>(resolve => {
          wake = resolve;
        });
        continue;
      }
      await writeStates(options, wanted, signal);
    }
  });
  // Nobody waits for a leadership that is over.
  lifetime.signal.addEventListener('abort', () => {
    for (const { done } of wanted.values()) for (const resolve of done) resolve();
  });
  return {
    heard: nodeId => void heardMs.set(nodeId, clock.monotonicMs()),
    ready: async (nodeId, description) => {
      heardMs.set(nodeId, clock.monotonicMs());
      const node = store.view().find('node', nodeId);
      const settled =
        node?.status.state === 'ready' && !wanted.has(nodeId) && sameContent(node.description, description);
      if (!settled) await want(nodeId, { state: 'ready', message: '', description });
    },
  };
}

async function lookForLost(
  options: PresenceOptions,
  state: {
    readonly heardMs: Map<NodeId, number>;
    readonly want: (nodeId: NodeId, change: Omit<Wanted, 'done'>) => Promise<void>;
  },
  signal: AbortSignal,
): Promise<void> {
  const { clock, store, log } = options;
  for (;;) {
    const lostAfterMs = options.lostAfterMs();
    const everyMs = lookEveryMs(lostAfterMs);
    const beforeMs = clock.monotonicMs();
    await clock.sleep(everyMs, signal);
    const nowMs = clock.monotonicMs();
    if (nowMs - beforeMs > everyMs + lostAfterMs / 4) {
      log.warn('timers were late; every node gets a full period', { lateMs: nowMs - beforeMs - everyMs });
      for (const nodeId of state.heardMs.keys()) state.heardMs.set(nodeId, nowMs);
    }
    for (const nodeId of planLost({ nodes: store.view().list('node'), heardMs: state.heardMs, nowMs, lostAfterMs })) {
      log.warn('node lost', { node: nodeId, silentMs: nowMs - (state.heardMs.get(nodeId) ?? nowMs) });
      options.onLost(nodeId);
      const message = `nothing heard of it for ${Math.round(lostAfterMs / 1000)} s`;
      // Not waited for: several may be lost at once, and the writer takes them together.
      void state.want(nodeId, { state: 'lost', message, description: undefined });
    }
  }
}

/** Writes what is wanted, as many nodes at once as fit; on failure they are tried again later. */
async function writeStates(options: PresenceOptions, wanted: Map<NodeId, Wanted>, signal: AbortSignal): Promise<void> {
  const batch = [...wanted].slice(0, writesMax);
  for (const [nodeId] of batch) wanted.delete(nodeId);
  try {
    await options.store.update(view => planStates(view, batch, options.clock.wallMs()), {
      principal: 'system',
      signal,
    });
    for (const [, { done }] of batch) for (const resolve of done) resolve();
  } catch (error) {
    for (const [nodeId, change] of batch) {
      const newer = wanted.get(nodeId);
      wanted.set(nodeId, newer === undefined ? change : { ...newer, done: [...change.done, ...newer.done] });
    }
    if (signal.aborted && isCancellation(error)) return;
    options.log.warn('states of nodes not written', { error, nodes: batch.length, retryInMs: retryMs });
    await options.clock.sleep(retryMs, signal);
  }
}

function planStates(view: View, batch: readonly (readonly [NodeId, Wanted])[], nowMs: number): readonly Write[] {
  return batch.flatMap(([nodeId, change]): readonly Write[] => {
    const node = view.find('node', nodeId);
    if (node === undefined || node.status.state === 'left') return [];
    const description = change.description ?? node.description;
    const sameState = node.status.state === change.state;
    if (sameState && sameContent(node.description, description)) return [];
    const status = sameState ? node.status : { state: change.state, sinceMs: nowMs, message: change.message };
    return [{ kind: 'put', table: 'node', object: { ...node, description, status } }];
  });
}
