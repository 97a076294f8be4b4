/**
 * One session as the manager serves it: hello, welcome, then two directions side by side. The chart is in dispatcher.ts.
 *
 * Keeps true: a session that ended for any reason has an error that says which; nothing waits on a stream that has ended.
 *
 * Not here: what is said (node-session.ts), what reports and silence lead to (reports.ts, presence.ts).
 */
import { abortable } from '../../abortable.js';
import { CoveyError } from '../../errors.js';
import type { AgentMessage, Cluster, Hello, ManagerAddress, ManagerMessage, Trust } from '../../gen/types.js';
import type { CallContext } from '../../grpc.js';
import type { Clock, Timer } from '../../host.js';
import { asId, type NodeId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import type { Store } from '../../raft/store.js';
import type { Logger } from '../../telemetry.js';
import { sessionProtocols } from '../../version.js';
import { trustOf } from '../ca/authority.js';
import { getCluster } from '../ca/issue.js';
import { removedError } from '../ca/removal.js';
import { judgeTunnel } from '../encryption/judge.js';
import { chooseProtocol } from '../session/protocol.js';
import { skewMaxMs } from '../session/skew.js';
import { orphanAbsent } from './absent.js';
import {
  acknowledge,
  endSession,
  makeNodeSession,
  type NodeSession,
  nextMessage,
  pushUrgent,
  type Sending,
  type Sessions,
} from './node-session.js';
import { patienceOf } from './patience.js';
import type { Presence } from './presence.js';
import type { Reports } from './reports.js';

export interface Serving {
  readonly store: Store;
  readonly term: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly managers: () => readonly ManagerAddress[];
  readonly sessions: Sessions;
  readonly presence: Presence;
  readonly reports: Reports;
  readonly sending: () => Sending;
  /** Something may be shown now: after each acknowledgement, each end of a session, and when a node has nothing to learn. */
  readonly shown: () => void;
}

const helloWithinMs = 5_000;
const answerEvery = 5;

/** One session from hello to its end. */
export async function* serveSession(
  serving: Serving,
  requests: AsyncIterable<AgentMessage>,
  context: CallContext,
): AsyncGenerator<ManagerMessage> {
  const nodeId = nodeOf(context);
  const messages = requests[Symbol.asyncIterator]();
  const session = makeNodeSession(nodeId, context.caller.kind === 'node' ? context.caller.peer : undefined);
  const gone = (): void => endSession(session, new CoveyError('cancelled', 'Cannot go on: the node has hung up'));
  context.signal.addEventListener('abort', gone, { once: true });
  const log = serving.log.with({ node: nodeId });
  try {
    const hello = await firstHello(serving, messages);
    const { welcome, nodeName } = welcomeFor(serving, nodeId, hello);
    const older = serving.sessions.get(nodeId);
    if (older !== undefined) {
      endSession(
        older,
        new CoveyError('session-replaced', `Cannot go on as node "${nodeName}": a newer session is open`),
      );
    }
    serving.sessions.set(nodeId, session);
    log.info('session opened', { name: nodeName, term: serving.term });
    greet(serving, session, hello);
    serving.lifetime.run(`session of ${nodeId}`, () => listen(serving, session, messages));
    yield welcome;
    yield* speak(serving, session);
  } finally {
    endSession(session, new CoveyError('cancelled', 'Cannot go on: the session has ended'));
    context.signal.removeEventListener('abort', gone);
    if (serving.sessions.get(nodeId) === session) serving.sessions.delete(nodeId);
    log.info('session closed', { error: session.ended?.error });
    serving.shown();
  }
}

function nodeOf(context: CallContext): NodeId {
  if (context.caller.kind === 'node') return asId(context.caller.nodeId);
  throw new CoveyError('no-certificate', 'Cannot open a session without the certificate of a node');
}

async function firstHello(serving: Serving, messages: AsyncIterator<AgentMessage>): Promise<Hello> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = serving.clock.after(helloWithinMs, () =>
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
  serving: Serving,
  nodeId: NodeId,
  hello: Hello,
): { readonly welcome: ManagerMessage; readonly nodeName: string } {
  const protocol = chooseProtocol({ min: hello.protocolMin, max: hello.protocolMax }, sessionProtocols);
  const view = serving.store.view();
  const node = view.find('node', nodeId);
  if (node === undefined) throw removedError(nodeId);
  if (serving.lifetime.signal.aborted)
    throw new CoveyError('not-leader', 'Cannot open a session: this manager does not lead');
  const cluster = getCluster(view);
  const nodeName = node.spec.name;
  const welcome: ManagerMessage = {
    body: {
      kind: 'welcome',
      protocol,
      term: serving.term,
      clusterId: cluster.id,
      heartbeatMs: patienceOf(view, cluster.spec)(node).heartbeatMs,
      managers: serving.managers(),
      nodeName,
      role: node.role,
      raftId: node.raftId,
      trust: trustFor(cluster),
      wallMs: serving.clock.wallMs(),
    },
  };
  return { welcome, nodeName };
}

/** How far the node's clock is ahead, in whole seconds, when that is worth telling. */
function skewOf({ wallMs }: Hello, heardMs: number): number | undefined {
  if (wallMs === undefined || Math.abs(wallMs - heardMs) <= skewMaxMs) return undefined;
  return Math.round((wallMs - heardMs) / 1000) * 1000;
}

/** Undefined for a cluster without a root: one of a test. */
export function trustFor(cluster: Cluster): Trust | undefined {
  return cluster.rootCertificate.length === 0 ? undefined : trustOf(cluster);
}

/** Statuses said while the stream was down, facts, and the way into the store; assignments follow once it is there. */
function greet(serving: Serving, session: NodeSession, hello: Hello): void {
  const heardMs = serving.clock.wallMs();
  serving.reports.add(session.nodeId, hello.tasks);
  serving.lifetime.run(`greet ${session.nodeId}`, async signal => {
    // What became of its tasks is known before they count again, so that nobody goes for one that has ended.
    await serving.reports.settled(hello.tasks.map(report => report.taskId));
    // A leadership that ended meanwhile writes nothing any more, and the next one waits for its end.
    if (signal.aborted) return;
    await orphanAbsent(serving, session.nodeId, hello);
    const description = judgeTunnel(hello.description, session.peer, serving.store.view());
    await abortable(serving.presence.ready(session.nodeId, description, skewOf(hello, heardMs)), signal);
    session.admitted = true;
    session.wake?.();
  });
}

async function* speak(serving: Serving, session: NodeSession): AsyncGenerator<ManagerMessage> {
  for (;;) {
    if (session.ended !== undefined) throw session.ended.error;
    const message = nextMessage(session, serving.sending());
    if (message !== undefined) {
      yield message;
      continue;
    }
    serving.shown();
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
function listen(serving: Serving, session: NodeSession, messages: AsyncIterator<AgentMessage>): Promise<void> {
  const step = (): void => {
    messages.next().then(
      next => {
        if (session.ended !== undefined) return;
        if (next.done === true) {
          endSession(session, new CoveyError('cancelled', 'Cannot go on: the node has ended the session'));
          return;
        }
        serving.presence.heard(session.nodeId);
        hear(serving, session, next.value);
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

function hear(serving: Serving, session: NodeSession, message: AgentMessage): void {
  const { body } = message;
  switch (body.kind) {
    case 'hello':
      greet(serving, session, body);
      return;
    case 'heartbeat':
      if (body.sequence % answerEvery === 0)
        pushUrgent(session, { body: { kind: 'heartbeat', sequence: body.sequence } });
      return;
    case 'status':
      serving.reports.add(session.nodeId, body.tasks);
      return;
    case 'acknowledgement':
      acknowledge(session, body);
      serving.shown();
      return;
  }
}
