/**
 * Which nodes are there: ready from their hello on, silent and then lost after silences that patience.ts gives.
 *
 * Keeps true: a manager that begins to lead gives everybody twice the time to come to it; one whose own timers were late (it was
 * paused, or its event loop was blocked: the heartbeats are waiting in its sockets) gives everybody a full period; a manager
 * never takes its own node for lost. Changes go to the store in batches, as "system".
 *
 * `planSilence` is the rule; `openPresence` the shell with the timer. Not here: what a loss means for tasks (orchestrate/).
 */

import type { Node, NodeDescription, NodeState } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import type { NodeId } from '../../ids.js';
import { isCancellation, type Lifetime } from '../../lifetime.js';
import type { Store, View, Write } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { sameContent } from './diff.js';
import type { Patience } from './patience.js';

export interface Presence {
  /** Something came from the node. */
  readonly heard: (nodeId: NodeId) => void;
  /** The node said hello. Resolves when the store says ready. */
  readonly ready: (nodeId: NodeId, description: NodeDescription, clockSkewMs?: number) => Promise<void>;
  /** Since it was last heard; undefined: not since this manager leads. */
  readonly silentMs: (nodeId: NodeId) => number | undefined;
}

export interface PresenceOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly patience: (view: View) => (node: Node) => Patience;
  /** The node of this manager. */
  readonly ownNodeId: NodeId | undefined;
  /** The heartbeats of the node are to come so often. */
  readonly onPeriod: (nodeId: NodeId, heartbeatMs: number) => void;
  /** Called when a node is declared lost: its session, if any, is dead. */
  readonly onLost: (nodeId: NodeId) => void;
}

interface Wanted {
  readonly state: NodeState;
  readonly message: string;
  readonly silentSinceMs: number | undefined;
  readonly description: NodeDescription | undefined;
  /** Told with the description. */
  readonly clockSkewMs?: number | undefined;
  readonly done: (() => void)[];
}

const writesMax = 150;
const retryMs = 1_000;
const lookLeastMs = 20;

/** A manager that has just been elected waits for nobody less than so long. */
const graceMs = 10_000;

export interface Silence {
  readonly nodeId: NodeId;
  readonly kind: 'silent' | 'lost';
  readonly silentMs: number;
  /** How long was waited for it. */
  readonly waitedMs: number;
}

export interface Silent {
  readonly nodes: Iterable<Node>;
  readonly heardMs: ReadonlyMap<string, number>;
  /** Those that have been heard of by this manager since it leads; of the others it knows since when it waits. */
  readonly met: ReadonlySet<string>;
  readonly nowMs: number;
  readonly patience: (node: Node) => Pick<Patience, 'silentMs' | 'lostMs'>;
  readonly ownNodeId?: NodeId | undefined;
}

/** Nodes that have been silent too long, and of which that is not known yet. */
export function planSilence(options: Silent): readonly Silence[] {
  const found: Silence[] = [];
  for (const { node, silentMs, lostMs, noteMs } of watchedNodes(options)) {
    const silence = { nodeId: node.id, silentMs };
    if (silentMs > lostMs) found.push({ ...silence, kind: 'lost', waitedMs: lostMs });
    else if (node.status.silentSinceMs === undefined && silentMs > noteMs) {
      found.push({ ...silence, kind: 'silent', waitedMs: noteMs });
    }
  }
  return found;
}

/** Time until the next silence will have been too long, if nobody says anything. */
export function nextSilenceMs(options: Silent): number {
  let next = Number.POSITIVE_INFINITY;
  for (const { node, silentMs, lostMs, noteMs } of watchedNodes(options)) {
    const isNoted = node.status.silentSinceMs !== undefined || silentMs > noteMs;
    const leftMs = (isNoted ? lostMs : noteMs) - silentMs;
    // One that is over is being written down.
    if (leftMs >= 0) next = Math.min(next, leftMs);
  }
  return next;
}

function* watchedNodes(options: Silent): Generator<{
  readonly node: Node;
  readonly silentMs: number;
  readonly lostMs: number;
  readonly noteMs: number;
}> {
  for (const node of options.nodes) {
    const { state } = node.status;
    if (state === 'lost' || state === 'left' || node.id === options.ownNodeId) continue;
    const patience = options.patience(node);
    const allowed = (ms: number): number => (options.met.has(node.id) ? ms : Math.max(ms * 2, graceMs));
    const silentMs = options.nowMs - (options.heardMs.get(node.id) ?? options.nowMs);
    yield { node, silentMs, lostMs: allowed(patience.lostMs), noteMs: allowed(patience.silentMs) };
  }
}

/** How often to look at least: for nodes that come, and patience that changes. */
export function lookEveryMs(lostAfterMs: number): number {
  return Math.min(1_000, Math.max(lookLeastMs, Math.floor(lostAfterMs / 4)));
}

export function openPresence(options: PresenceOptions): Presence {
  const { store, clock, lifetime } = options;
  const heardMs = new Map<NodeId, number>();
  const met = new Set<NodeId>();
  const silent = new Set<NodeId>();
  const wanted = new Map<NodeId, Wanted>();
  let wake: (() => void) | undefined;

  const want = (nodeId: NodeId, change: Omit<Wanted, 'done'>): Promise<void> =>
    new Promise(resolve => {
      if (lifetime.signal.aborted) return resolve();
      const before = wanted.get(nodeId);
      wanted.set(nodeId, {
        ...change,
        description: change.description ?? before?.description,
        clockSkewMs: change.description === undefined ? before?.clockSkewMs : change.clockSkewMs,
        done: [...(before?.done ?? []), resolve],
      });
      wake?.();
    });
  followNodes(options, { heardMs, met });
  lifetime.run('presence/look', signal =>
    lookForLost(options, { heardMs, met, silent, periods: new Map(), want }, signal),
  );
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
    silentMs: nodeId => (met.has(nodeId) ? clock.monotonicMs() - (heardMs.get(nodeId) ?? 0) : undefined),
    heard: nodeId => {
      heardMs.set(nodeId, clock.monotonicMs());
      met.add(nodeId);
      // Its session was never interrupted: it was only slow.
      if (silent.delete(nodeId)) void want(nodeId, ready(undefined));
    },
    ready: async (nodeId, description, clockSkewMs) => {
      heardMs.set(nodeId, clock.monotonicMs());
      met.add(nodeId);
      silent.delete(nodeId);
      const node = store.view().find('node', nodeId);
      const settled =
        node?.status.state === 'ready' &&
        node.status.silentSinceMs === undefined &&
        !wanted.has(nodeId) &&
        node.status.clockSkewMs === clockSkewMs &&
        sameContent(node.description, description);
      if (!settled) await want(nodeId, { ...ready(description), clockSkewMs });
    },
  };
}

/** Who is new has its time from now on; who has gone is forgotten. */
function followNodes(
  { store, clock, lifetime }: PresenceOptions,
  { heardMs, met }: Pick<Looking, 'heardMs' | 'met'>,
): void {
  for (const node of store.view().list('node')) heardMs.set(node.id, clock.monotonicMs());
  const follow = store.watch(events => {
    for (const event of events) {
      if (event.table !== 'node') continue;
      if (event.kind === 'delete') {
        heardMs.delete(event.old.id);
        met.delete(event.old.id);
      } else if (event.old === undefined) heardMs.set(event.object.id, clock.monotonicMs());
    }
  });
  lifetime.defer('presence/watch', () => follow[Symbol.dispose]());
}

interface Looking {
  readonly heardMs: Map<NodeId, number>;
  readonly met: Set<NodeId>;
  readonly silent: Set<NodeId>;
  readonly periods: Map<NodeId, number>;
  readonly want: (nodeId: NodeId, change: Omit<Wanted, 'done'>) => Promise<void>;
}

function ready(description: NodeDescription | undefined): Omit<Wanted, 'done'> {
  return { state: 'ready', message: '', silentSinceMs: undefined, description };
}

async function lookForLost(options: PresenceOptions, state: Looking, signal: AbortSignal): Promise<void> {
  const { clock, store, log } = options;
  const silentAt = (nowMs: number): Silent => {
    const view = store.view();
    return { ...options, ...state, nodes: view.list('node'), nowMs, patience: options.patience(view) };
  };
  for (;;) {
    const shortestMs = tellPeriods(options, state);
    const beforeMs = clock.monotonicMs();
    const dueMs = Math.ceil(nextSilenceMs(silentAt(beforeMs))) + 1;
    const everyMs = Math.max(lookLeastMs, Math.min(lookEveryMs(shortestMs), dueMs));
    await clock.sleep(everyMs, signal);
    const nowMs = clock.monotonicMs();
    if (nowMs - beforeMs > everyMs + shortestMs / 4) {
      log.warn('timers were late; every node gets a full period', { lateMs: nowMs - beforeMs - everyMs });
      for (const nodeId of state.heardMs.keys()) state.heardMs.set(nodeId, nowMs);
    }
    const silences = planSilence(silentAt(nowMs));
    for (const silence of silences) note(options, state, silence);
  }
}

function note(options: PresenceOptions, state: Looking, { nodeId, kind, silentMs, waitedMs }: Silence): void {
  const status = options.store.view().find('node', nodeId)?.status;
  const silentSinceMs = status?.silentSinceMs ?? options.clock.wallMs() - Math.round(silentMs);
  options.log.warn(kind === 'lost' ? 'node lost' : 'node silent', { node: nodeId, silentMs });
  // Not waited for: several may be lost at once, and the writer takes them together.
  if (kind === 'silent') {
    state.silent.add(nodeId);
    void state.want(nodeId, {
      state: status?.state ?? 'unknown',
      message: status?.message ?? '',
      silentSinceMs,
      description: undefined,
    });
    return;
  }
  options.onLost(nodeId);
  const message = `nothing heard of it for ${Math.round(waitedMs / 1000)} s`;
  void state.want(nodeId, { state: 'lost', message, silentSinceMs, description: undefined });
}

/** Tells nodes of which the period has changed, and gives the shortest silence that counts for any node. */
function tellPeriods(options: PresenceOptions, { periods }: Looking): number {
  const view = options.store.view();
  const patience = options.patience(view);
  let shortestMs = Number.POSITIVE_INFINITY;
  for (const node of view.list('node')) {
    const { heartbeatMs, silentMs } = patience(node);
    shortestMs = Math.min(shortestMs, silentMs);
    const before = periods.get(node.id);
    periods.set(node.id, heartbeatMs);
    if (before !== undefined && before !== heartbeatMs) options.onPeriod(node.id, heartbeatMs);
  }
  return Number.isFinite(shortestMs) ? shortestMs : graceMs;
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
    const { state, silentSinceMs } = change;
    const isSame = node.status.state === state;
    const clockSkewMs = change.description === undefined ? node.status.clockSkewMs : change.clockSkewMs;
    const isKnown = silentSinceMs === node.status.silentSinceMs && clockSkewMs === node.status.clockSkewMs;
    if (isSame && isKnown && sameContent(node.description, description)) return [];
    const base = isSame ? node.status : { state, sinceMs: nowMs, message: change.message };
    const status = { ...base, silentSinceMs, clockSkewMs };
    // A node that has signed for itself, or lost an answer, knows better than the store.
    const certificateExpiresAtMs = description.certificate?.expiresAtMs ?? node.certificateExpiresAtMs;
    return [{ kind: 'put', table: 'node', object: { ...node, description, status, certificateExpiresAtMs } }];
  });
}
