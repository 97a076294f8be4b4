/**
 * The node's half of the session: always one open stream to a manager that leads, whatever happens to managers and network.
 *
 * Keeps true: tasks and network go on as they are while no manager answers; commands that are older, by (term, sequence), than
 * what was seen are ignored; an acknowledgement is sent only for what is on disk (assignments) or in effect (tables); every
 * attempt is a fresh connection.
 *
 * The chart of the exchange is in dispatcher/dispatcher.ts. Opened by daemon/node.ts.
 *
 * Not here: connecting (dial.ts), tables (table-keeper.ts), when to call again (redial.ts), bulk streams (bulk/node.ts).
 */
import { abortable } from '../../abortable.js';
import { type Channel, openChannel } from '../../channel.js';
import { asCoveyError, CoveyError, codeOf } from '../../errors.js';
import type {
  AgentMessage,
  Assignments,
  ManagerAddress,
  ManagerMessage,
  NodeDescription,
  Trust,
  Welcome,
} from '../../gen/types.js';
import type { Duplex } from '../../grpc.js';
import type { Clock, Random } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import type { Logger } from '../../telemetry.js';
import { serveBulk } from '../bulk/node.js';
import { type SessionMemory, withReached } from './memory.js';
import { helloMessage, helloOf, makeOutbox, type Outbox } from './outbox.js';
import { isAnswered, isDead, planRedial } from './redial.js';
import { followSkew, type SkewNews } from './skew.js';
import { openTableKeeper, type TableKeeper } from './table-keeper.js';
import type {
  BulkAgent,
  DialManager,
  ManagerConnection,
  Session,
  SessionAgent,
  SessionState,
  SessionTables,
} from './types.js';

export interface SessionOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly lifetime: Lifetime;
  readonly dial: DialManager;
  readonly agent: SessionAgent & BulkAgent;
  readonly tables: SessionTables;
  readonly memory: SessionMemory;
  /** The facts of this node as they are now. */
  readonly describe: () => Promise<NodeDescription>;
  readonly bootId: string;
  /** What the managers say that this node is. */
  readonly onWelcome: (welcome: Pick<Welcome, 'role' | 'raftId'>) => void;
  /** How far the clock is from the manager's. Not told of a manager in this very process. */
  readonly onSkew?: (news: SkewNews) => void;
  /** What the managers say that nodes identify themselves with, and believe. */
  readonly onTrust?: (trust: Trust) => void;
}

interface Seen {
  term: number;
  sequence: number;
}

interface Inside extends SessionOptions {
  readonly keeper: TableKeeper;
  readonly seen: { readonly assignments: Seen; readonly tables: Seen };
  readonly progress: { assigned: boolean; shown: boolean };
  readonly waiting: Set<() => void>;
  state: SessionState;
  outbox: Outbox | undefined;
  readonly bulkStreams: Map<string, AbortController>;
}

/** One connection from welcome to its end. */
interface Link {
  readonly inside: Inside;
  readonly connection: ManagerConnection;
  readonly stream: Duplex<AgentMessage, ManagerMessage>;
  readonly outbox: Outbox;
  readonly assignments: Channel<Assignments>;
  readonly scope: Lifetime;
  /** As the manager says. */
  heartbeatMs: number;
  /** The period has changed: ends the rest between two heartbeats. */
  hasten: (() => void) | undefined;
  heardMs: number;
  askedMs: number | undefined;
  /** Why we ended the stream, when we did. */
  failure: CoveyError | undefined;
}

const welcomeWithinMs = 5_000;
const assignmentsQueueMax = 1_024;
const bulkStreamsMax = 64;

export function openSession(options: SessionOptions): Session {
  const { lifetime, log } = options;
  const inside: Inside = {
    ...options,
    keeper: openTableKeeper(options),
    seen: {
      assignments: { term: options.memory.term(), sequence: 0 },
      tables: { term: options.memory.term(), sequence: 0 },
    },
    progress: { assigned: false, shown: false },
    waiting: new Set(),
    state: { kind: 'connecting', problem: undefined, sinceMs: options.clock.wallMs(), isLost: false },
    outbox: undefined,
    bulkStreams: new Map(),
  };
  const reports = options.agent.onReport(latest => inside.outbox?.reports(latest));
  lifetime.defer('reports', () => reports[Symbol.dispose]());
  lifetime.run('session', async signal => {
    for (;;) {
      const beganMs = options.clock.monotonicMs();
      let problem: unknown;
      try {
        await connectOnce(inside, signal);
        problem = new CoveyError('no-connection', 'Cannot go on: the manager has ended the session');
      } catch (error) {
        signal.throwIfAborted();
        problem = error;
      }
      const waitedMs = inside.state.kind === 'connected' ? 0 : options.clock.monotonicMs() - beganMs;
      note(inside, asCoveyError(problem));
      const retryInMs = planRedial(problem, options.random.fraction(), waitedMs);
      log.debug('session not open', { error: problem, retryInMs });
      await options.clock.sleep(retryInMs, signal);
    }
  });
  return {
    state: () => inside.state,
    managers: () => options.memory.managers(),
    tables: inside.keeper.wanted,
    ready: signal => untilReady(inside, signal),
    describe: description => inside.outbox?.hello(helloOf(inside, description, [])),
  };
}

/** Logs what changed: the end of a session, and each new reason why there is none. */
function note(inside: Inside, problem: CoveyError): void {
  const before = inside.state;
  const isLost = before.kind === 'connected' || before.isLost;
  const sinceMs = before.kind === 'connected' ? inside.clock.wallMs() : before.sinceMs;
  inside.state = { kind: 'connecting', problem, sinceMs, isLost };
  inside.agent.connected(false);
  if (before.kind === 'connected') inside.log.warn('session lost; tasks go on', { error: problem });
  else if (before.problem === undefined || codeOf(before.problem) !== codeOf(problem)) {
    inside.log.warn('no session with a manager; tasks go on', { error: problem });
  }
}

/** One attempt: connect, say hello, then serve until the stream ends. */
async function connectOnce(inside: Inside, signal: AbortSignal): Promise<void> {
  await using connection = await inside.dial(inside.memory.managers(), signal);
  await using scope = inside.lifetime.child('link');
  const stream = connection.session({ signal: scope.signal });
  const { clock } = inside;
  const link: Link = {
    inside,
    connection,
    stream,
    outbox: makeOutbox(),
    assignments: openChannel(assignmentsQueueMax),
    scope,
    heartbeatMs: 0,
    hasten: undefined,
    heardMs: clock.monotonicMs(),
    askedMs: undefined,
    failure: undefined,
  };
  const description = await inside.describe();
  inside.outbox = link.outbox;
  try {
    const late = clock.after(welcomeWithinMs, () =>
      hangUp(
        link,
        new CoveyError('timeout', 'Cannot open a session', { state: `no welcome within ${welcomeWithinMs} ms` }),
      ),
    );
    scope.defer('welcome', () => late.cancel());
    await stream.send(helloMessage(helloOf(inside, description, inside.agent.reports())));
    for await (const message of stream) {
      late.cancel();
      link.heardMs = clock.monotonicMs();
      link.askedMs = undefined;
      inside.tables.heard?.();
      hear(link, message);
    }
  } catch (error) {
    throw link.failure ?? error;
  } finally {
    inside.outbox = undefined;
    link.assignments.close();
    stream.cancel();
  }
}

function hangUp(link: Link, failure: CoveyError): void {
  link.failure ??= failure;
  link.stream.cancel();
}

function hear(link: Link, message: ManagerMessage): void {
  const { inside, outbox, scope } = link;
  const { body } = message;
  switch (body.kind) {
    case 'welcome':
      if (body.term < inside.seen.assignments.term) {
        hangUp(link, oldLeader(body.term, inside.seen.assignments.term));
        return;
      }
      inside.log.info('session open', { node: body.nodeName, term: body.term, heartbeatMs: body.heartbeatMs });
      inside.agent.connected(true);
      inside.state = { kind: 'connected', term: body.term, sinceMs: inside.clock.wallMs() };
      learnManagers(link, body.managers);
      inside.onWelcome(body);
      if (body.trust !== undefined) inside.onTrust?.(body.trust);
      if (body.wallMs !== undefined && link.connection.reached !== undefined) watchClock(link, body.wallMs);
      scope.run('write', signal => speak(link, signal));
      link.heartbeatMs = body.heartbeatMs;
      scope.run('heartbeat', signal => beat(link, signal));
      scope.run('assign', signal => carryOut(link, signal));
      return;
    case 'assignments':
      if (!isNewer(inside.seen.assignments, body.term, body.sequence)) return;
      if (!link.assignments.push(body))
        throw new CoveyError('too-many', 'Cannot take more assignments: the disk is too slow');
      return;
    case 'tables':
      if (!isNewer(inside.seen.tables, body.term, body.version)) return;
      inside.keeper.take(body, version => {
        // The outbox of this very session: another one counts anew.
        outbox.tablesShown(version);
        progress(inside, 'shown');
      });
      return;
    case 'managers':
      learnManagers(link, body.managers);
      return;
    case 'trust':
      inside.onTrust?.(body);
      return;
    case 'openBulk':
      openBulk(link, body.ticket);
      return;
    case 'closeBulk':
      inside.bulkStreams.get(body.ticket)?.abort(new CoveyError('cancelled', 'Cannot go on: the caller has gone'));
      return;
    case 'heartbeat':
      if (body.heartbeatMs === undefined) return;
      link.heartbeatMs = body.heartbeatMs;
      link.hasten?.();
      return;
  }
}

function watchClock({ inside, outbox, scope }: Link, managerMs: number): void {
  const onNews = (news: SkewNews): void => inside.onSkew?.(news);
  const sayHello = async (): Promise<void> => outbox.hello(helloOf(inside, await inside.describe(), []));
  const onJump = (): void => scope.run('hello', sayHello);
  scope.run('clock', signal => followSkew(inside.clock, { managerMs, onNews, onJump }, signal));
}

function oldLeader(term: number, obeyed: number): CoveyError {
  const state = `its term is ${term}, and this node has obeyed term ${obeyed}`;
  return new CoveyError('not-leader', 'Cannot obey a manager that does not lead any more', { state });
}

/** Whether (term, sequence) is later than all seen; then it is noted. */
function isNewer(seen: Seen, term: number, sequence: number): boolean {
  if (term < seen.term || (term === seen.term && sequence <= seen.sequence)) return false;
  seen.term = term;
  seen.sequence = sequence;
  return true;
}

function learnManagers({ inside, connection }: Link, managers: readonly ManagerAddress[]): void {
  if (managers.length === 0) return;
  const { reached } = connection;
  inside.memory.rememberManagers(reached === undefined ? managers : withReached(managers, reached));
}

async function speak(link: Link, signal: AbortSignal): Promise<void> {
  try {
    while (!signal.aborted) {
      const message = link.outbox.take();
      if (message === undefined) await link.outbox.filled(signal);
      else await abortable(link.stream.send(message), signal);
    }
  } catch {
    // The stream has ended; its reader has the reason.
    link.stream.cancel();
  }
}

async function beat(link: Link, signal: AbortSignal): Promise<void> {
  const { clock } = link.inside;
  // Not all nodes of a cluster in the same moment.
  await rest(link, link.heartbeatMs * link.inside.random.fraction(), signal);
  for (let sequence = 1; ; sequence += 1) {
    const nowMs = clock.monotonicMs();
    const { heartbeatMs } = link;
    if (isDead(link, nowMs, heartbeatMs)) {
      const state = `no answer to a heartbeat for ${Math.round(nowMs - (link.askedMs ?? nowMs))} ms`;
      hangUp(link, new CoveyError('timeout', 'Cannot go on with a manager that is silent', { state }));
      return;
    }
    link.outbox.heartbeat(sequence);
    if (isAnswered(sequence)) link.askedMs ??= nowMs;
    await rest(link, heartbeatMs, signal);
    // Woken late: the answer may wait behind us in the event loop.
    if (clock.monotonicMs() - nowMs > 2 * heartbeatMs) link.askedMs = undefined;
  }
}

/** Until the next heartbeat; a shorter period counts at once. */
async function rest(link: Link, ms: number, signal: AbortSignal): Promise<void> {
  const changed = new AbortController();
  link.hasten = () => changed.abort();
  try {
    await link.inside.clock.sleep(ms, AbortSignal.any([signal, changed.signal]));
  } catch (error) {
    if (!changed.signal.aborted) throw error;
    signal.throwIfAborted();
  }
}

/** Hands assignments to the agent in order, and acknowledges what is on disk. */
async function carryOut(link: Link, signal: AbortSignal): Promise<void> {
  const { inside, outbox } = link;
  for await (const update of link.assignments) {
    if (signal.aborted) return;
    try {
      await inside.memory.rememberTerm(update.term);
      await inside.agent.assign(update);
    } catch (error) {
      const state = `${update.tasks.length} tasks; the manager will send all of them again`;
      hangUp(link, new CoveyError('internal', 'Cannot take assignments', { state, cause: error }));
      return;
    }
    outbox.assignmentsDone(update.sequence);
    progress(inside, 'assigned');
  }
}

function openBulk({ inside, connection }: Link, ticket: string): void {
  const { bulkStreams } = inside;
  if (bulkStreams.size >= bulkStreamsMax) {
    inside.log.warn('bulk stream refused', { open: bulkStreams.size });
    return;
  }
  const controller = new AbortController();
  bulkStreams.set(ticket, controller);
  // Of the daemon, not of this session: an exec survives that its session is opened anew.
  inside.lifetime.run('bulk', async stopping => {
    const stop = (): void => controller.abort(stopping.reason);
    stopping.addEventListener('abort', stop, { once: true });
    try {
      const term = (): number => inside.seen.assignments.term;
      await serveBulk({ ticket, open: connection.bulk, agent: inside.agent, term, signal: controller.signal });
    } catch (error) {
      // Whoever asked is told by the manager.
      inside.log.debug('bulk stream ended', { error });
    } finally {
      stopping.removeEventListener('abort', stop);
      bulkStreams.delete(ticket);
    }
  });
}

function progress(inside: Inside, part: 'assigned' | 'shown'): void {
  inside.progress[part] = true;
  if (!inside.progress.assigned || !inside.progress.shown) return;
  for (const resolve of inside.waiting) resolve();
  inside.waiting.clear();
}

function untilReady(inside: Inside, signal: AbortSignal): Promise<void> {
  if (inside.progress.assigned && inside.progress.shown) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const done = (): void => {
      signal.removeEventListener('abort', abort);
      resolve();
    };
    const abort = (): void => {
      inside.waiting.delete(done);
      const problem = inside.state.kind === 'connecting' ? inside.state.problem : undefined;
      reject(problem ?? asCoveyError(signal.reason));
    };
    inside.waiting.add(done);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
}
