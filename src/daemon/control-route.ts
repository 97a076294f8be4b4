/**
 * Control on any manager: what is only looked at is answered here, once everything that was committed before is applied here;
 * what changes something, or needs the sessions of the nodes, goes to the manager that leads, wherever the caller is.
 *
 *     list, watch          ──►  ReadIndex ──► this manager's own store; without a leader: the same, with its age (sight.ts)
 *     change               ──►  this manager leads: its own handlers; else the leader's, over mutual TLS
 *                               leader lost on the way: again with the next one, under the same name (control-once.ts)
 *     logs, exec           ──►  as a change, but not again
 *
 * Keeps true: a command is answered within `leaderWithinMs` of having no leader, with what is known; a change happens once.
 *
 * Called by cluster-parts.ts. Not here: the handlers (control.ts).
 */
import { CoveyError, codeOf, type ErrorCode } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { AsOf } from '../gen/types.js';
import { type AnyHandler, type AnyMethod, type CallContext, type Handlers, mapHandlers, remoteOf } from '../grpc.js';
import type { Clock, Random } from '../host.js';
import { deadline } from '../lifetime.js';
import type { NodeReadOutcome } from '../raft/node/types.js';
import type { Wire } from '../wire.js';
import { makeNumbering, travelling } from './control-once.js';
import type { LeaderLink } from './group/leader-link.js';
import { notLeading } from './group/leadership.js';
import { readWhileSeeing, type Sight, wishOf, withSight } from './sight.js';

type ControlHandlers = Handlers<Services['Control']>;

/** Where each call is answered. What does something to a container is not asked for a second time when its outcome is not known. */
const places: { readonly [Name in keyof ControlHandlers]: 'here' | 'leader' | 'leader-once' } = {
  getCluster: 'here',
  updateCluster: 'leader',
  getUnlockKey: 'here',
  createJoinToken: 'leader',
  listJoinTokens: 'here',
  removeJoinToken: 'leader',
  getRootStatus: 'here',
  rotateRoot: 'leader',
  listNodes: 'here',
  updateNode: 'leader',
  setNodeRole: 'leader',
  removeNode: 'leader',
  listServices: 'here',
  createService: 'leader',
  updateService: 'leader',
  removeService: 'leader',
  rollbackService: 'leader',
  holdUpdate: 'leader',
  listRevisions: 'here',
  listTasks: 'here',
  listNetworks: 'here',
  createNetwork: 'leader',
  setNetworkPolicy: 'leader',
  updateNetwork: 'leader',
  removeNetwork: 'leader',
  listAddresses: 'here',
  addAddress: 'leader',
  removeAddress: 'leader',
  listSecrets: 'here',
  listConfigs: 'here',
  deployStack: 'leader',
  removeStack: 'leader',
  watch: 'here',
  exec: 'leader',
  logs: 'leader',
  capture: 'leader',
  stats: 'leader',
  askVolumes: 'leader',
  attach: 'leader',
  copy: 'leader',
  runTaskVerb: 'leader-once',
  restartTasks: 'leader-once',
  rebalance: 'leader-once',
};

export interface RouteOptions {
  readonly wire: Wire;
  readonly clock: Clock;
  readonly random: Random;
  /** The handlers over this manager's store. */
  readonly local: ControlHandlers;
  readonly isLeading: () => boolean;
  readonly read: () => Promise<NodeReadOutcome>;
  readonly sight: Sight;
  readonly leader: LeaderLink;
  /** What is known of the managers, for whoever waits in vain. */
  readonly managersNow: () => string;
}

const leaderWithinMs = 5_000;
const againMs = 25;
const attemptMs = 40_000;

/** Nothing was done. */
const unasked: ReadonlySet<ErrorCode> = new Set(['not-leader', 'no-leader']);
/** Nobody here knows what was done; the next leader will. */
const unknown: ReadonlySet<ErrorCode> = new Set(['unknown-outcome', 'no-connection']);

function mayAskAgain({ name }: Method, code: ErrorCode): boolean {
  return unasked.has(code) || (places[name] === 'leader' && unknown.has(code));
}

/** The Control service of this manager. */
export function routeControl(options: RouteOptions): ControlHandlers {
  const numbering = makeNumbering(options.random);
  return mapHandlers({ name: 'Control', wire: options.wire, handlers: options.local }, method => {
    if (places[method.name] === 'here')
      return method.getsStream ? streamHere(options, method) : callHere(options, method);
    if (method.getsStream) return (request, context) => streamAtLeader(options, method, { request, context });
    return async (request, context) => {
      const { once, done } = numbering.begin();
      try {
        return await callAtLeader(options, method, { request, context: { ...context, once } });
      } finally {
        done();
      }
    };
  });
}

/** The handlers for other managers: answered by the leader only. */
export function leaderOnly(
  wire: Wire,
  handlers: ControlHandlers,
  { isLeading, read }: Pick<RouteOptions, 'isLeading' | 'read'>,
): ControlHandlers {
  return mapHandlers({ name: 'Control', wire, handlers }, method => (request, context) => {
    if (!isLeading()) throw notLeading('Cannot answer another manager');
    return method.getsStream ? method.handler(request, context) : answerHere({ read }, method, { request, context });
  });
}

/** These say nothing about what is stored, or come after a wait. */
const unstored: ReadonlySet<ErrorCode> = new Set([
  ...unasked,
  ...unknown,
  'cancelled',
  'timeout',
  'internal',
  'bug',
  'would-lose-quorum',
]);

/**
 * A leader's answer. What it stores needs a majority, and so does what it refuses: one that stood still while another was
 * elected refuses by what it knew then ("not found"), a moment before it notices. So it asks whether it leads, and looks again.
 */
async function answerHere(
  { read }: Pick<RouteOptions, 'read'>,
  { name, handler }: Method,
  { request, context }: Asked,
): Promise<unknown> {
  try {
    return await handler(request, context);
  } catch (error) {
    if (places[name] !== 'leader' || unstored.has(codeOf(error))) throw error;
    if ((await read()).kind !== 'ready') throw notLeading('Cannot say so for the managers');
    return await handler(request, context);
  }
}

type Method = AnyMethod<'Control'>;

function callHere(options: RouteOptions, { handler }: Method): AnyHandler {
  return async (request, context) => {
    const asOf = await untilSeen(options, context);
    const answer = await handler(request, context);
    return asOf === undefined ? answer : Object.assign({}, answer, { asOf });
  };
}

function streamHere(options: RouteOptions, { handler }: Method): AnyHandler {
  const { sight } = options;
  return async function* (request, context) {
    const first = await untilSeen(options, context);
    yield* withSight(streamOf(handler(request, context)), { sight, first, why: () => noLeaderText(options) });
  };
}

/** What a handler with a stream of answers gives. */
function streamOf(answers: unknown): AsyncIterable<unknown> {
  if (typeof answers === 'object' && answers && isIterable(answers)) return answers;
  throw new CoveyError('bug', 'Cannot read the answers of a handler that gives none');
}

function isIterable(value: object): value is AsyncIterable<unknown> {
  return Symbol.asyncIterator in value;
}

/** Resolves when the store here holds all that was committed before the call, or, where that may be, with how old it is. */
async function untilSeen(options: RouteOptions, context: CallContext): Promise<AsOf | undefined> {
  const { sight, read } = options;
  const wish = wishOf(context);
  if (wish === 'stale') return sight.asOf('asked of this manager alone');
  const outcome = await (wish === 'consistent' ? read() : readWhileSeeing(sight, read));
  if (outcome.kind === 'ready') return undefined;
  if (wish === 'consistent' || outcome.kind === 'stopped') throw noLeader(options, 'not done');
  return sight.asOf(noLeaderText(options));
}

function noLeaderText({ managersNow }: RouteOptions): string {
  return `no leader: ${managersNow()}`;
}

interface Asked {
  readonly request: unknown;
  readonly context: CallContext;
}

async function callAtLeader(options: RouteOptions, method: Method, asked: Asked): Promise<unknown> {
  const { clock } = options;
  const { context } = asked;
  let endMs = clock.monotonicMs() + leaderWithinMs;
  let isInDoubt = false;
  for (;;) {
    const beganMs = clock.monotonicMs();
    try {
      return await callOnce(options, method, asked);
    } catch (error) {
      context.signal.throwIfAborted();
      if (!mayAskAgain(method, codeOf(error))) throw error;
      isInDoubt ||= unknown.has(codeOf(error));
      // Time that a leader took for its work is not time without one.
      if (clock.monotonicMs() - beganMs > leaderWithinMs) endMs = clock.monotonicMs() + leaderWithinMs;
      if (clock.monotonicMs() > endMs) throw noLeader(options, isInDoubt ? 'in doubt' : 'not done');
      await clock.sleep(againMs, context.signal);
    }
  }
}

async function callOnce(options: RouteOptions, method: Method, asked: Asked): Promise<unknown> {
  const { isLeading, leader } = options;
  const { request, context } = asked;
  if (isLeading()) return await answerHere(options, method, asked);
  const metadata = travelling(context);
  return await leader.call(
    'Control',
    (calls, signal) => remoteOf(calls, method).unary(request, { signal, timeoutMs: attemptMs, metadata }),
    context.signal,
  );
}

async function* streamAtLeader(options: RouteOptions, method: Method, asked: Asked): AsyncGenerator<unknown> {
  const { request, context } = asked;
  await untilSomebodyLeads(options, context.signal);
  if (options.isLeading()) {
    yield* streamOf(method.handler(request, context));
    return;
  }
  const metadata = travelling(context);
  yield* options.leader.stream(
    'Control',
    (calls, signal) => remoteOf(calls, method).stream(request, { signal, metadata }),
    context.signal,
  );
}

async function untilSomebodyLeads(options: RouteOptions, signal: AbortSignal): Promise<void> {
  using limit = deadline(options.clock, {
    ms: leaderWithinMs,
    parent: signal,
    reason: () => noLeader(options, 'not done'),
  });
  while (!options.isLeading() && !options.leader.isKnown()) await options.clock.sleep(againMs, limit.signal);
}

/** Once an attempt was in doubt, the command is: it may be stored, and known as soon as somebody leads again. */
function noLeader(options: RouteOptions, outcome: 'not done' | 'in doubt'): CoveyError {
  const [code, what] =
    outcome === 'in doubt'
      ? (['unknown-outcome', 'Cannot say whether it was done: no manager leads'] as const)
      : (['no-leader', 'Cannot do that now: no manager leads'] as const);
  return new CoveyError(code, what, {
    state: options.managersNow(),
    hint: 'running tasks go on; bring a majority of the managers back',
  });
}
