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
 * Not here: the node's half (session/), bulk streams (bulk/), which task goes where (orchestrate/, schedule/).
 */
import { CoveyError } from '../../errors.js';
import type { AgentMessage, Hello, ManagerAddress, ManagerMessage } from '../../gen/types.js';
import type { CallContext } from '../../grpc.js';
import type { Clock, Timer } from '../../host.js';
import { asId, type NodeId, type TaskId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import type { Store, StoreEvent } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { getCluster, removedError } from '../ca/issue.js';
import { chooseProtocol, sessionProtocols } from '../session/protocol.js';
import { planAssignments } from './assignments.js';
import { endedHolds, findStopping, type Holds, holdMs, holdsFor } from './drain.js';
import {
  acknowledge,
  endSession,
  makeNodeSession,
  type NodeSession,
  nextMessage,
  type Sending,
  shows,
  urgentMax,
} from './node-session.js';
import { openPresence, type Presence } from './presence.js';
import { openReports, type Reports } from './reports.js';
import { concernsTables, makeTableItemCache, planTables } from './tables.js';
import type { Dispatcher } from './types.js';

export interface DispatcherOptions {
  readonly store: Store;
  /** Of this leadership. */
  readonly term: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends with the leadership. */
  readonly lifetime: Lifetime;
  readonly managers: () => readonly ManagerAddress[];
  readonly count: (name: string, by?: number) => void;
}

interface Inside extends DispatcherOptions {
  readonly sessions: Map<NodeId, NodeSession>;
  readonly holds: Holds;
  readonly presence: Presence;
  readonly reports: Reports;
  readonly sending: () => Sending;
  /** Something may be shown now: after each acknowledgement, each end of a session, and when a node has nothing to learn. */
  readonly shown: () => void;
}

const coalesceMs = 5;
const helloWithinMs = 5_000;
const answerEvery = 5;

export function openDispatcher(options: DispatcherOptions): Dispatcher {
  const { store, clock, lifetime } = options;
  const sessions = new Map<NodeId, NodeSession>();
  const cache = makeTableItemCache();
  const holds: Holds = new Map();
  const settling = new Set<() => void>();
  const timers = makeTimers(lifetime);
  let epoch = 1;
  let sequence = 0;

  const isHeld = (taskId: TaskId): boolean => holds.has(taskId);
  const sending = (): Sending => ({
    view: store.view(),
    term: options.term,
    epoch,
    planTables: nodeId => planTables(store.view(), nodeId, cache),
    planAssignments: nodeId => planAssignments(store.view(), nodeId, isHeld),
    nextSequence: () => {
      sequence += 1;
      return sequence;
    },
  });
  const flush = makeFlush(clock, lifetime, () => {
    for (const session of sessions.values()) if (session.tablesDirty || session.assignmentsDirty) session.wake?.();
  });
  const release = (): void => {
    const isShown = (hold: { epoch: number; taskId: string }): boolean =>
      [...sessions.values()].every(session => shows(session, hold.epoch, `endpoint/${hold.taskId}`));
    for (const hold of endedHolds(holds, { view: store.view(), nowMs: clock.monotonicMs(), isShown })) {
      holds.delete(hold.taskId);
      const session = sessions.get(hold.nodeId);
      if (session !== undefined) session.assignmentsDirty = true;
      flush();
    }
    for (const check of settling) check();
  };
  const hold = (tasks: Parameters<typeof holdsFor>[0]): void => {
    const begun = holdsFor(tasks, { epoch, nowMs: clock.monotonicMs() });
    for (const one of begun) holds.set(one.taskId, one);
    if (begun.length > 0) timers.set(clock.after(holdMs, release));
  };
  const onEvents = (events: readonly StoreEvent[]): void => {
    if (events.some(concernsTables)) {
      epoch += 1;
      for (const session of sessions.values()) session.tablesDirty = true;
    }
    hold(events.flatMap(event => findStopping(event) ?? []));
    markAssignments(sessions, events);
    if (holds.size > 0 || settling.size > 0) release();
    flush();
  };

  const presence = openPresence({
    ...options,
    lostAfterMs: () => getCluster(store.view()).spec.lostAfterMs,
    onLost: nodeId => {
      const session = sessions.get(nodeId);
      if (session !== undefined)
        endSession(session, new CoveyError('timeout', 'Cannot go on: nothing was heard of the node'));
    },
  });
  const inside: Inside = {
    ...options,
    sessions,
    holds,
    presence,
    reports: openReports(options),
    sending,
    shown: release,
  };
  hold(store.view().list('task'));
  const watch = store.watch(onEvents);
  lifetime.defer('dispatcher/watch', () => watch[Symbol.dispose]());
  const stop = (): void => {
    const error = new CoveyError('not-leader', 'Cannot go on: this manager does not lead any more');
    for (const session of sessions.values()) endSession(session, error);
  };
  lifetime.signal.addEventListener('abort', stop, { once: true });

  return {
    session: (requests, context) => serve(inside, requests, context),
    isConnected: nodeId => sessions.has(nodeId),
    openBulk: (nodeId, ticket) => pushUrgent(sessions.get(nodeId), { body: { kind: 'openBulk', ticket } }),
    managersChanged: () => {
      for (const session of sessions.values())
        pushUrgent(session, { body: { kind: 'managers', managers: options.managers() } });
    },
    settled: ({ timeoutMs, signal }) =>
      new Promise(resolve => {
        const target = epoch;
        const finish = (): void => {
          settling.delete(check);
          timer.cancel();
          signal.removeEventListener('abort', finish);
          resolve();
        };
        const check = (): void => {
          if ([...sessions.values()].every(session => shows(session, target))) finish();
        };
        const timer = clock.after(timeoutMs, finish);
        signal.addEventListener('abort', finish, { once: true });
        settling.add(check);
        check();
      }),
  };
}

/** The latest few timers of holds; all are cancelled when the leadership ends. */
function makeTimers(lifetime: Lifetime): { readonly set: (timer: Timer) => void } {
  const kept: Timer[] = [];
  lifetime.defer('dispatcher/timers', () => {
    for (const timer of kept) timer.cancel();
  });
  return {
    set: timer => {
      kept.push(timer);
      // Older ones have long called: a hold lasts a second.
      if (kept.length > 4_096) kept.splice(0, 2_048);
    },
  };
}

/** Calls back once for all calls within coalesceMs; at once when the last time is longer ago. */
function makeFlush(clock: Clock, lifetime: Lifetime, call: () => void): () => void {
  let timer: Timer | undefined;
  let lastMs = Number.NEGATIVE_INFINITY;
  lifetime.defer('dispatcher/flush', () => timer?.cancel());
  return () => {
    if (timer !== undefined) return;
    timer = clock.after(Math.max(0, lastMs + coalesceMs - clock.monotonicMs()), () => {
      timer = undefined;
      lastMs = clock.monotonicMs();
      call();
    });
  };
}

function markAssignments(sessions: ReadonlyMap<NodeId, NodeSession>, events: readonly StoreEvent[]): void {
  for (const event of events) {
    if (event.table === 'task') {
      const after = event.kind === 'put' ? sessions.get(event.object.nodeId) : undefined;
      const before = event.old === undefined ? undefined : sessions.get(event.old.nodeId);
      if (after !== undefined) after.assignmentsDirty = true;
      if (before !== undefined) before.assignmentsDirty = true;
    } else if (event.table === 'secret' || event.table === 'config') {
      for (const session of sessions.values()) session.assignmentsDirty = true;
    } else if (event.table === 'node' && event.old !== undefined) {
      const session = sessions.get(event.old.id);
      if (session === undefined) continue;
      if (event.kind === 'delete') endSession(session, removedError(event.old.id));
      else if (event.object.role !== event.old.role) {
        endSession(session, new CoveyError('role-refused', `Cannot go on: the node is a ${event.object.role} now`));
      }
    }
  }
}

function pushUrgent(session: NodeSession | undefined, message: ManagerMessage): boolean {
  if (session === undefined || session.ended !== undefined || session.urgent.length >= urgentMax) return false;
  session.urgent.push(message);
  session.wake?.();
  return true;
}

/** One session from hello to its end. */
async function* serve(
  inside: Inside,
  requests: AsyncIterable<AgentMessage>,
  context: CallContext,
): AsyncGenerator<ManagerMessage> {
  const nodeId = nodeOf(context);
  const messages = requests[Symbol.asyncIterator]();
  const session = makeNodeSession(nodeId);
  const gone = (): void => endSession(session, new CoveyError('cancelled', 'Cannot go on: the node has hung up'));
  context.signal.addEventListener('abort', gone, { once: true });
  const log = inside.log.with({ node: nodeId });
  try {
    const hello = await firstHello(inside, messages);
    const { welcome, nodeName } = welcomeFor(inside, nodeId, hello);
    const older = inside.sessions.get(nodeId);
    if (older !== undefined) {
      endSession(
        older,
        new CoveyError('session-replaced', `Cannot go on as node "${nodeName}": a newer session is open`),
      );
    }
    inside.sessions.set(nodeId, session);
    log.info('session opened', { name: nodeName, term: inside.term });
    greet(inside, session, hello);
    inside.lifetime.run(`session of ${nodeId}`, () => listen(inside, session, messages));
    yield welcome;
    yield* speak(inside, session);
  } finally {
    endSession(session, new CoveyError('cancelled', 'Cannot go on: the session has ended'));
    context.signal.removeEventListener('abort', gone);
    if (inside.sessions.get(nodeId) === session) inside.sessions.delete(nodeId);
    log.info('session closed', { error: session.ended?.error });
    inside.shown();
  }
}

function nodeOf(context: CallContext): NodeId {
  if (context.caller.kind === 'node') return asId(context.caller.nodeId);
  throw new CoveyError('no-certificate', 'Cannot open a session without the certificate of a node');
}

async function firstHello(inside: Inside, messages: AsyncIterator<AgentMessage>): Promise<Hello> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = inside.clock.after(helloWithinMs, () =>
      reject(new CoveyError('timeout', 'Cannot open a session', { state: `no hello within ${helloWithinMs} ms` })),
    );
  });
  try {
    const first = await Promise.race([messages.next(), late]);
    if (first.done !== true && first.value.body.kind === 'hello') return first.value.body;
    throw new CoveyError('bad-argument', 'Cannot open a session that does not begin with hello');
  } finally {
    timer?.cancel();
  }
}

function welcomeFor(
  inside: Inside,
  nodeId: NodeId,
  hello: Hello,
): { readonly welcome: ManagerMessage; readonly nodeName: string } {
  const protocol = chooseProtocol({ min: hello.protocolMin, max: hello.protocolMax }, sessionProtocols);
  const view = inside.store.view();
  const node = view.find('node', nodeId);
  if (node === undefined) throw removedError(nodeId);
  if (inside.lifetime.signal.aborted)
    throw new CoveyError('not-leader', 'Cannot open a session: this manager does not lead');
  const cluster = getCluster(view);
  const nodeName = node.spec.name;
  const welcome: ManagerMessage = {
    body: {
      kind: 'welcome',
      protocol,
      term: inside.term,
      clusterId: cluster.id,
      heartbeatMs: cluster.spec.heartbeatMs,
      managers: inside.managers(),
      nodeName,
    },
  };
  return { welcome, nodeName };
}

/** Statuses said while the stream was down, facts, and the way into the store; assignments follow once it is there. */
function greet(inside: Inside, session: NodeSession, hello: Hello): void {
  inside.reports.add(session.nodeId, hello.tasks);
  inside.lifetime.run(`greet ${session.nodeId}`, async () => {
    await inside.presence.ready(session.nodeId, hello.description);
    session.admitted = true;
    session.wake?.();
  });
}

async function* speak(inside: Inside, session: NodeSession): AsyncGenerator<ManagerMessage> {
  for (;;) {
    if (session.ended !== undefined) throw session.ended.error;
    const message = nextMessage(session, inside.sending());
    if (message !== undefined) {
      yield message;
      continue;
    }
    inside.shown();
    await new Promise<void>(resolve => {
      session.wake = resolve;
      if (session.ended !== undefined || session.urgent.length > 0) resolve();
    });
    session.wake = undefined;
  }
}

/**
 * Hears what the node says, until the session ends. The iterator is not told: ending it would destroy the stream before its
 * status is sent.
 */
function listen(inside: Inside, session: NodeSession, messages: AsyncIterator<AgentMessage>): Promise<void> {
  const step = (): void => {
    messages.next().then(
      next => {
        if (session.ended !== undefined) return;
        if (next.done === true) {
          endSession(session, new CoveyError('cancelled', 'Cannot go on: the node has ended the session'));
          return;
        }
        inside.presence.heard(session.nodeId);
        hear(inside, session, next.value);
        step();
      },
      error => endSession(session, error),
    );
  };
  return new Promise(resolve => {
    session.onEnd = resolve;
    if (session.ended === undefined) step();
    else resolve();
  });
}

function hear(inside: Inside, session: NodeSession, message: AgentMessage): void {
  const { body } = message;
  switch (body.kind) {
    case 'hello':
      greet(inside, session, body);
      return;
    case 'heartbeat':
      if (body.sequence % answerEvery === 0)
        pushUrgent(session, { body: { kind: 'heartbeat', sequence: body.sequence } });
      return;
    case 'status':
      inside.reports.add(session.nodeId, body.tasks);
      return;
    case 'acknowledgement':
      acknowledge(session, body);
      inside.shown();
      return;
  }
}
