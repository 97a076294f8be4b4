/**
 * The manager's half of bulk streams: brings a caller of Exec or Logs together with the node of the task, and relays frames
 * with back-pressure from end to end. Tasks of this manager's own node are asked directly.
 *
 *     caller (Exec)          relay                            node
 *     frames           ->    ticket made, OpenBulk       ->   Bulk(ticket)
 *                      ->    frames down                 ->
 *                      <-    frames up                   <-   … End
 *     goes away        ->    CloseBulk                   ->   ends the program
 *
 * Keeps true: a ticket is good for one stream, for a few seconds, from the node that it was made for; either side going away
 * ends the other.
 *
 * Not here: the node's half (node.ts), merging logs (logs.ts).
 */
import { randomBytes } from 'node:crypto';
import { abortable } from '../../abortable.js';
import { type Channel, openChannel } from '../../channel.js';
import { CoveyError } from '../../errors.js';
import type { BulkFrame, Node, Task } from '../../gen/types.js';
import type { Clock, Timer } from '../../host.js';
import type { NodeId } from '../../ids.js';
import { deadline } from '../../lifetime.js';
import type { Store, View } from '../../raft/store.js';
import type { BulkRelay, Dispatcher } from '../dispatcher/types.js';
import type { BulkAgent } from '../session/types.js';
import { relayCapture } from './capture.js';
import { mergeLogs, tasksOfStore } from './logs.js';
import { carryOut, framesMax, pushTo } from './node.js';
import { gatherStats } from './stats.js';
import { taskFor } from './target.js';
import { runTaskVerb } from './verbs.js';
import { gatherVolumes } from './volumes.js';

export interface RelayOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** Reaches the nodes; undefined while this manager does not lead. */
  readonly dispatcher: () => Pick<Dispatcher, 'openBulk' | 'closeBulk'> | undefined;
  /** The term in which this manager leads. */
  readonly term: () => number;
  readonly own: { readonly nodeId: NodeId; readonly agent: BulkAgent };
}

interface Ticket {
  readonly nodeId: NodeId;
  readonly down: Channel<BulkFrame>;
  readonly finished: Promise<void>;
  readonly arrive: (up: AsyncIterator<BulkFrame>) => void;
  /** The node's side is gone: the caller is told. */
  readonly breakOff: (error: CoveyError) => void;
}

/** Where a stream goes: a task stands for its node. */
export type StreamPlace = Pick<Task, 'nodeId'> & { readonly id?: Task['id'] };

/** Opens one stream to the node of a task. `down` is what the caller sends. */
export type OpenTaskStream = (
  place: StreamPlace,
  start: BulkFrame,
  options: { readonly down: Channel<BulkFrame>; readonly signal: AbortSignal },
) => AsyncIterable<BulkFrame>;

const ticketMs = 5_000;
/** So long a member that is ready may be without a session: it looks for a new leader, or was too busy for a while. */
const sessionWaitMs = 5_000;
const sessionLookMs = 100;
const ticketWaitMs = 5_000;
const streamsMax = 512;
/** So long after the loss of a node its streams are waited for. */
const lostMs = 30_000;

export function openBulkRelay(options: RelayOptions): BulkRelay {
  const tickets = new Map<string, Ticket>();
  const open = openTaskStream(options, tickets);
  let streams = 0;
  const counted: OpenTaskStream = async function* (place, start, stream) {
    if (streams >= streamsMax)
      throw new CoveyError('too-many', 'Cannot open another stream', { state: `${streams} are open` });
    streams += 1;
    try {
      yield* open(place, start, stream);
    } finally {
      streams -= 1;
    }
  };
  return {
    exec: streamOf(options, counted, 'exec'),
    attach: streamOf(options, counted, 'attach'),
    copy: streamOf(options, counted, 'copy'),
    runTaskVerb: (request, context) => runTaskVerb({ ...options, open: counted }, request, context.signal),
    logs: (request, context) => {
      const tasks = tasksOfStore(options.store);
      return mergeLogs({ ...options, tasks, open: counted, request, signal: context.signal });
    },
    askVolumes: (request, context) => gatherVolumes({ ...options, open: counted, request, signal: context.signal }),
    capture: (request, context) => relayCapture({ ...options, open: counted, request, signal: context.signal }),
    stats: (request, context) => gatherStats({ ...options, open: counted, request, signal: context.signal }),
    bulk: async function* (requests, context) {
      const up = requests[Symbol.asyncIterator]();
      const ticket = await takeTicket(options, { tickets, up, caller: context.caller });
      ticket.arrive(up);
      const gone = (): void => {
        ticket.breakOff(new CoveyError('node-unreachable', 'Cannot go on: the connection of the node is gone'));
        ticket.down.close();
      };
      context.signal.addEventListener('abort', gone, { once: true });
      using _watch = endWithNode(options, ticket.nodeId, gone);
      yield* ticket.down;
      await abortable(ticket.finished, context.signal);
    },
  };
}

/** A stream that the caller begins by saying what for. */
function streamOf(options: RelayOptions, open: OpenTaskStream, kind: 'exec' | 'attach' | 'copy'): BulkRelay['exec'] {
  return async function* (frames, context) {
    const input = frames[Symbol.asyncIterator]();
    const first = await input.next();
    const body = first.done === true ? undefined : first.value.body;
    if (body?.kind !== kind) {
      throw new CoveyError('bad-argument', `Cannot begin: the first frame has to be of kind "${kind}"`);
    }
    const task = taskFor(options.store.view(), kind, body.taskId);
    const down = openChannel<BulkFrame>(framesMax);
    // Not waited for: it ends with the caller's stream, or with the next frame after `down` has ended.
    void pump(input, down);
    try {
      yield* open(task, { body: { ...body, taskId: task.id } }, { down, signal: context.signal });
    } finally {
      down.close();
    }
  };
}

async function pump(input: AsyncIterator<BulkFrame>, down: Channel<BulkFrame>): Promise<void> {
  try {
    for (let next = await input.next(); next.done !== true && !down.ended(); next = await input.next()) {
      await pushTo(down, next.value);
    }
  } catch {
    // The caller has gone; its call says so itself.
    down.close();
  }
}

function openTaskStream(options: RelayOptions, tickets: Map<string, Ticket>): OpenTaskStream {
  return async function* (place, start, stream) {
    if (place.nodeId === options.own.nodeId) {
      yield* carryOut(options.own.agent, start, { input: stream.down, term: 0, signal: stream.signal });
      return;
    }
    const id = randomBytes(16).toString('hex');
    const finished = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<AsyncIterator<BulkFrame>>();
    await pushTo(stream.down, start);
    const broken = new AbortController();
    const signal = AbortSignal.any([stream.signal, broken.signal]);
    tickets.set(id, {
      nodeId: place.nodeId,
      down: stream.down,
      finished: finished.promise,
      arrive: arrived.resolve,
      breakOff: error => broken.abort(error),
    });
    let ended = false;
    try {
      await openAt(options, place, { ticket: id, signal });
      yield* framesUp(await arrivalOf(options, { place, arrived: arrived.promise, signal }), signal);
      ended = true;
    } finally {
      if (!ended) options.dispatcher()?.closeBulk(place.nodeId, id);
      tickets.delete(id);
      finished.resolve();
      stream.down.close();
    }
  };
}

/** Asks the node to come; of one whose session is away for a moment that is waited for. */
async function openAt(
  options: RelayOptions,
  place: StreamPlace,
  { ticket, signal }: { readonly ticket: string; readonly signal: AbortSignal },
): Promise<void> {
  const { clock, store } = options;
  const untilMs = clock.monotonicMs() + sessionWaitMs;
  while (options.dispatcher()?.openBulk(place.nodeId, ticket) !== true) {
    const isReady = store.view().find('node', place.nodeId)?.status.state === 'ready';
    // What looks at all nodes shows what it has and does not wait.
    if (!isReady || place.id === undefined || clock.monotonicMs() > untilMs) throw unreachableNode(store.view(), place);
    await clock.sleep(sessionLookMs, signal);
  }
}

async function arrivalOf(
  options: RelayOptions,
  waiting: {
    readonly place: StreamPlace;
    readonly arrived: Promise<AsyncIterator<BulkFrame>>;
    readonly signal: AbortSignal;
  },
): Promise<AsyncIterator<BulkFrame>> {
  using limit = deadline(options.clock, {
    ms: ticketMs,
    parent: waiting.signal,
    reason: () => unreachableNode(options.store.view(), waiting.place),
  });
  return await abortable(waiting.arrived, limit.signal);
}

/** Frames of the node up to and with the end. A stream that breaks off without one is an error. */
async function* framesUp(up: AsyncIterator<BulkFrame>, signal: AbortSignal): AsyncGenerator<BulkFrame> {
  for (;;) {
    const next = await abortable(up.next(), signal);
    if (next.done === true) throw new CoveyError('node-unreachable', 'Cannot go on: the node has ended the stream');
    yield next.value;
    if (next.value.body.kind === 'end') return;
  }
}

/**
 * What a node may do ends with its membership, also on streams that are open. One that is lost, and stays so, has left its
 * streams without a word; those of one that comes back go on.
 */
function endWithNode({ store, clock }: RelayOptions, nodeId: NodeId, gone: () => void): Disposable {
  let timer: Timer | undefined;
  const watch = store.watch(events => {
    for (const event of events) {
      if (event.table !== 'node' || event.old?.id !== nodeId) continue;
      timer?.cancel();
      if (event.kind === 'delete') gone();
      else if (event.object.status.state === 'lost') timer = clock.after(lostMs, gone);
    }
  });
  return {
    [Symbol.dispose]: () => {
      timer?.cancel();
      watch[Symbol.dispose]();
    },
  };
}

async function takeTicket(
  options: RelayOptions,
  asked: {
    readonly tickets: Map<string, Ticket>;
    readonly up: AsyncIterator<BulkFrame>;
    readonly caller: { readonly kind: string; readonly nodeId?: string };
  },
): Promise<Ticket> {
  using limit = deadline(options.clock, {
    ms: ticketWaitMs,
    parent: new AbortController().signal,
    reason: () =>
      new CoveyError('timeout', 'Cannot open a bulk stream', { state: `no ticket within ${ticketWaitMs} ms` }),
  });
  const first = await abortable(asked.up.next(), limit.signal);
  const id = first.done !== true && first.value.body.kind === 'ticket' ? first.value.body.ticket : undefined;
  const ticket = id === undefined ? undefined : asked.tickets.get(id);
  if (id === undefined || ticket === undefined || ticket.nodeId !== asked.caller.nodeId) {
    throw new CoveyError('not-found', 'Cannot open a bulk stream with this ticket', { state: 'nobody waits for it' });
  }
  asked.tickets.delete(id);
  return ticket;
}

function unreachableNode(view: View, { nodeId, id }: StreamPlace): CoveyError {
  const node: Node | undefined = view.find('node', nodeId);
  const what = id === undefined ? `node "${node?.spec.name ?? nodeId}"` : `the node of task "${id}"`;
  return new CoveyError('node-unreachable', `Cannot reach ${what}`, {
    state:
      node === undefined
        ? 'the node is no member'
        : `node ${node.spec.name} is ${node.status.state} and has no session with the leader`,
    hint: 'covey node ls',
  });
}
