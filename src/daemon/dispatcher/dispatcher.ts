/**
 * The manager's half of all sessions, while this manager leads.
 *
 *     node                                  manager
 *     Hello(facts, statuses, versions)  ->
 *                                       <-  Welcome(term, heartbeat period, managers)
 *                                       <-  Tables(full), once the store says ready: Assignments(full)
 *     Acknowledgement(versions)         ->
 *     Heartbeat(n)                      ->  (answered every fifth time, or by whatever else there is to say)
 *     Status(reports)                   ->  collected, written (reports.ts)
 *                                       <-  Tables, Assignments: changes, coalesced for about 5 ms
 *                                       <-  OpenBulk(ticket), Managers
 *
 * Keeps true: one session a node, the newer ends the older; commands carry (term, sequence) and sequences only grow; a stop
 * reaches the agent only after the endpoint was taken away (drain.ts); nobody else's secrets are sent.
 *
 * Not here: one stream (serve.ts), the node's half (session/), bulk streams (bulk/), which task goes where (schedule/).
 */
import { CoveyError } from '../../errors.js';
import type { ManagerAddress, ManagerMessage } from '../../gen/types.js';
import type { Clock, Timer } from '../../host.js';
import type { NodeId, TaskId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import type { Store, StoreEvent, View } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import type { Wire } from '../../wire.js';
import { getCluster } from '../ca/issue.js';
import { removedError } from '../ca/removal.js';
import { isNamedOn, planAssignments } from './assignments.js';
import { findStopping, openHolding } from './drain.js';
import { endSession, lookAtTables, pushUrgent, type Sending, type Sessions, shows } from './node-session.js';
import { patienceOf } from './patience.js';
import { openPresence, type Presence } from './presence.js';
import { openReports } from './reports.js';
import { openRetiring } from './retiring.js';
import { type Serving, serveSession, trustFor } from './serve.js';
import { openTablePlans } from './table-plans.js';
import { concernsTables, isUrgentForTables } from './tables.js';
import type { Dispatcher } from './types.js';

export interface DispatcherOptions {
  readonly store: Store;
  /** Of this leadership. */
  readonly term: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends with the leadership. */
  readonly lifetime: Lifetime;
  /** The node of this manager. */
  readonly ownNodeId?: NodeId;
  readonly managers: () => readonly ManagerAddress[];
  readonly count: (name: string, by?: number) => void;
  /** What many nodes are told is encoded once for all; undefined: by each stream for itself. */
  readonly wire?: Wire | undefined;
}

const coalesceMs = 5;
/** News of nodes that nobody talks to yet: one message a second for 1,000 nodes. */
const idleNewsMsPerSession = 1;
const idleNewsMaxMs = 2_000;

export function openDispatcher(options: DispatcherOptions): Dispatcher {
  const { store, clock, lifetime } = options;
  const sessions: Sessions = new Map();
  const settling = new Set<() => void>();
  let epoch = 1;
  const sending = makeSending(options, { epoch: () => epoch, isHeld: taskId => holding.isHeld(taskId) });
  const flush = makeFlush(clock, lifetime, () => {
    const now = sending();
    for (const session of sessions.values()) {
      lookAtTables(session, now);
      if (session.tablesDirty || session.assignmentsDirty) session.wake?.();
    }
    shown();
  });
  const holding = openHolding({
    ...options,
    view: store.view,
    sessions,
    released: hold => {
      const session = sessions.get(hold.nodeId);
      if (session !== undefined) session.assignmentsDirty = true;
      flush();
    },
  });
  const retiring = openRetiring({ sessions, view: store.view, clock, firstEpoch: epoch });
  const shown = (): void => {
    holding.release();
    retiring.look();
    for (const check of settling) check();
  };
  const onEvents = (events: readonly StoreEvent[], view: View): void => {
    if (events.some(concernsTables)) {
      epoch += 1;
      retiring.changed(events, epoch);
      for (const session of sessions.values()) session.tablesDirty = true;
    }
    holding.hold(
      events.flatMap(event => findStopping(event) ?? []),
      epoch,
    );
    markAssignments(sessions, events, view);
    shown();
    const soon = events.some(event => isUrgentForTables(event, view));
    flush(soon ? 0 : Math.min(idleNewsMaxMs, sessions.size * idleNewsMsPerSession));
  };
  const serving: Serving = {
    ...options,
    sessions,
    presence: presenceFor(options, sessions),
    reports: openReports(options),
    sending,
    shown,
  };
  holding.hold(store.view().list('task'), epoch);
  const watch = store.watch(onEvents);
  lifetime.defer('dispatcher/watch', () => watch[Symbol.dispose]());
  endAllWith(lifetime, sessions);
  return {
    session: (requests, context) => serveSession(serving, requests, context),
    isConnected: nodeId => sessions.has(nodeId),
    silentMs: serving.presence.silentMs,
    ...tellers(sessions, options.managers),
    waitsFor: retiring.waitsFor,
    acknowledged: retiring.times,
    settled: limits => untilSettled({ clock, settling, isSettled: at => isShownByAll(sessions, at) }, epoch, limits),
  };
}

function presenceFor(options: DispatcherOptions, sessions: Sessions): Presence {
  return openPresence({
    ...options,
    ownNodeId: options.ownNodeId,
    patience: view => patienceOf(view, getCluster(view).spec),
    onPeriod: (id, heartbeatMs) => pushUrgent(sessions.get(id), periodMessage(heartbeatMs)),
    onLost: nodeId => {
      const lost = new CoveyError('timeout', 'Cannot go on: nothing was heard of the node');
      const session = sessions.get(nodeId);
      if (session !== undefined) endSession(session, lost);
    },
  });
}

/** What is told to nodes whatever the store says. */
function tellers(
  sessions: Sessions,
  managers: () => readonly ManagerAddress[],
): Pick<Dispatcher, 'openBulk' | 'closeBulk' | 'managersChanged'> {
  return {
    openBulk: (nodeId, ticket) => pushUrgent(sessions.get(nodeId), { body: { kind: 'openBulk', ticket } }),
    closeBulk: (nodeId, ticket) => void pushUrgent(sessions.get(nodeId), { body: { kind: 'closeBulk', ticket } }),
    managersChanged: () => {
      const message: ManagerMessage = { body: { kind: 'managers', managers: managers() } };
      for (const session of sessions.values()) pushUrgent(session, message);
    },
  };
}

function periodMessage(heartbeatMs: number): ManagerMessage {
  return { body: { kind: 'heartbeat', sequence: 0, heartbeatMs } };
}

/** What messages are computed from; sequences grow over all sessions of the leadership. */
function makeSending(
  options: DispatcherOptions,
  state: { readonly epoch: () => number; readonly isHeld: (taskId: TaskId) => boolean },
): () => Sending {
  const { store, term } = options;
  const tables = openTablePlans({ view: store.view, wire: options.wire });
  let sequence = 0;
  return () => ({
    view: store.view(),
    term,
    epoch: state.epoch(),
    tables,
    planAssignments: nodeId => planAssignments(store.view(), nodeId, state.isHeld),
    nextSequence: () => {
      sequence += 1;
      return sequence;
    },
  });
}

function isShownByAll(sessions: Sessions, epoch: number): boolean {
  for (const session of sessions.values()) if (!shows(session, epoch)) return false;
  return true;
}

function endAllWith(lifetime: Lifetime, sessions: Sessions): void {
  const end = (): void => {
    const error = new CoveyError('not-leader', 'Cannot go on: this manager does not lead any more');
    for (const session of sessions.values()) endSession(session, error);
  };
  lifetime.signal.addEventListener('abort', end, { once: true });
}

function untilSettled(
  state: { readonly clock: Clock; readonly settling: Set<() => void>; readonly isSettled: (epoch: number) => boolean },
  epoch: number,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  return new Promise(resolve => {
    const finish = (): void => {
      state.settling.delete(check);
      timer.cancel();
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const check = (): void => {
      if (state.isSettled(epoch)) finish();
    };
    const timer = state.clock.after(timeoutMs, finish);
    signal.addEventListener('abort', finish, { once: true });
    state.settling.add(check);
    check();
  });
}

/**
 * Calls back once for all calls within coalesceMs, or within three times what the last call took; at once when that is longer
 * ago. What can wait longer says how long.
 */
function makeFlush(clock: Clock, lifetime: Lifetime, call: () => void): (withinMs?: number) => void {
  let timer: Timer | undefined;
  let timerAtMs = Number.POSITIVE_INFINITY;
  let dueMs = Number.NEGATIVE_INFINITY;
  lifetime.defer('dispatcher/flush', () => timer?.cancel());
  return (withinMs = 0) => {
    const nowMs = clock.monotonicMs();
    const atMs = Math.max(dueMs, nowMs + withinMs);
    if (timer !== undefined && timerAtMs <= atMs) return;
    timer?.cancel();
    timerAtMs = atMs;
    timer = clock.after(Math.max(0, atMs - nowMs), () => {
      timer = undefined;
      const startedAtMs = clock.monotonicMs();
      call();
      const tookMs = clock.monotonicMs() - startedAtMs;
      dueMs = startedAtMs + Math.max(coalesceMs, tookMs * 3);
    });
  };
}

/** A root is being replaced, or was. */
function tellTrust(sessions: Sessions, events: readonly StoreEvent[]): void {
  for (const event of events) {
    if (event.table !== 'cluster' || event.kind !== 'put' || event.old === undefined) continue;
    const { rootCertificate, authority } = event.object;
    if (rootCertificate === event.old.rootCertificate && authority === event.old.authority) continue;
    const trust = trustFor(event.object);
    if (trust === undefined) continue;
    for (const session of sessions.values()) pushUrgent(session, { body: { kind: 'trust', ...trust } });
  }
}

function markAssignments(sessions: Sessions, events: readonly StoreEvent[], view: View): void {
  tellTrust(sessions, events);
  const data = new Set<string>();
  for (const event of events) {
    if (event.table === 'task') {
      const after = event.kind === 'put' ? sessions.get(event.object.nodeId) : undefined;
      const before = event.old === undefined ? undefined : sessions.get(event.old.nodeId);
      if (after !== undefined) after.assignmentsDirty = true;
      if (before !== undefined) before.assignmentsDirty = true;
    } else if (event.table === 'secret' || event.table === 'config') {
      data.add((event.kind === 'put' ? event.object : event.old).id);
    } else if (event.table === 'node' && event.old !== undefined) {
      const session = sessions.get(event.old.id);
      if (session === undefined) continue;
      if (event.kind === 'delete') endSession(session, removedError(event.old.id));
      else if (event.object.role !== event.old.role) {
        endSession(session, new CoveyError('role-refused', `Cannot go on: the node is a ${event.object.role} now`));
      }
    }
  }
  if (data.size === 0) return;
  for (const session of sessions.values()) {
    if (isNamedOn(view, session.nodeId, data)) session.assignmentsDirty = true;
  }
}
