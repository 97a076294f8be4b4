/**
 * The node's half of a bulk stream: opened when a manager asks (OpenBulk), carries one exec or one log to its end.
 *
 *     manager                     node
 *     OpenBulk(ticket)       ->   opens Bulk on the second connection
 *                            <-   Ticket
 *     Exec or Logs           ->   runs it
 *     data (stdin), resize  <->   data (stdout, stderr, lines)
 *                            <-   End(exit code or problem), then half-close
 *     ends the call
 *
 * Keeps true: the stream's end means that the caller is gone, and ends the program (the end of standard input is a frame);
 * both directions wait for their reader.
 *
 * Not here: running programs and reading logs (tasks/), the manager's half (relay.ts).
 */
import { abortable } from '../../abortable.js';
import { type Channel, openChannel } from '../../channel.js';
import { CoveyError, toProblem } from '../../errors.js';
import type { BulkFrame } from '../../gen/types.js';
import type { Duplex } from '../../grpc.js';
import type { BulkAgent, BulkLink } from '../session/types.js';

/** Frames that wait for the program; each has at most 64 KiB. */
export const framesMax = 16;

export async function serveBulk(options: {
  readonly ticket: string;
  readonly open: (options: { readonly signal: AbortSignal }) => Promise<BulkLink>;
  readonly agent: BulkAgent;
  readonly term: () => number;
  readonly signal: AbortSignal;
}): Promise<void> {
  const controller = new AbortController();
  const abort = (): void => controller.abort(options.signal.reason);
  options.signal.addEventListener('abort', abort, { once: true });
  if (options.signal.aborted) abort();
  await using stream = await options.open({ signal: controller.signal });
  try {
    await stream.send({ body: { kind: 'ticket', ticket: options.ticket } });
    const frames = stream[Symbol.asyncIterator]();
    const first = await frames.next();
    if (first.done === true) return; // the caller has gone already
    const input = openChannel<BulkFrame>(framesMax);
    controller.signal.addEventListener('abort', () => input.close(), { once: true });
    const reading = readAll(frames, input).finally(() => controller.abort(callerGone()));
    await sendAll(
      stream,
      carryOut(options.agent, first.value, { input, term: options.term(), signal: controller.signal }),
      controller.signal,
    );
    stream.end();
    await reading;
  } finally {
    options.signal.removeEventListener('abort', abort);
    controller.abort(callerGone());
  }
}

function callerGone(): CoveyError {
  return new CoveyError('cancelled', 'Cannot go on: the caller has gone');
}

async function readAll(frames: AsyncIterator<BulkFrame>, input: Channel<BulkFrame>): Promise<void> {
  try {
    for (let next = await frames.next(); next.done !== true; next = await frames.next())
      await pushTo(input, next.value);
    input.close();
  } catch (error) {
    input.fail(error);
  }
}

/** Pushes when there is room; nothing when the reader has ended. */
export async function pushTo<Item>(channel: Channel<Item>, item: Item): Promise<void> {
  while (!channel.push(item)) {
    if (channel.ended()) return;
    await channel.room();
  }
}

interface BulkRun {
  readonly input: AsyncIterable<BulkFrame>;
  /** Of the newest leader that this node has heard of. */
  readonly term: number;
  readonly signal: AbortSignal;
}

/** A stream outlives the session in which it was asked for: an old leader may still hold one. */
function refuseStale(asked: number, known: number): void {
  if (asked >= known) return;
  throw new CoveyError('command-stale', 'Cannot carry out the command: another manager leads by now', {
    state: `asked in term ${asked}, the node has heard of term ${known}`,
    hint: 'ask again',
  });
}

/** What the first frame asks for; also for tasks of the manager's own node. */
export async function* carryOut(agent: BulkAgent, first: BulkFrame, run: BulkRun): AsyncGenerator<BulkFrame> {
  const { body } = first;
  if (body.kind === 'exec') yield* agent.exec(run.input, body, run.signal);
  else if (body.kind === 'attach') yield* agent.attach(run.input, body, run.signal);
  else if (body.kind === 'copy') yield* agent.copy(run.input, body, run.signal);
  else if (body.kind === 'logs') yield* agent.logs(body, run.signal);
  else if (body.kind === 'stats') yield* agent.stats(body, run.signal);
  else if (body.kind === 'capture') yield* agent.capture(body, run.signal);
  else if (body.kind === 'volumes') {
    if (body.remove) refuseStale(body.term, run.term);
    yield* agent.volumes(body, run.signal);
  } else if (body.kind === 'verb') {
    refuseStale(body.term, run.term);
    yield { body: { kind: 'answer', ...(await agent.verb(body, run.signal)) } };
  } else throw new CoveyError('bad-argument', `Cannot begin a bulk stream with a frame of kind "${body.kind}"`);
}

/** An error becomes the last frame. */
async function sendAll(
  stream: Duplex<BulkFrame, BulkFrame>,
  frames: AsyncIterable<BulkFrame>,
  signal: AbortSignal,
): Promise<void> {
  let ended = false;
  try {
    for await (const frame of frames) {
      ended ||= frame.body.kind === 'end';
      await abortable(stream.send(frame), signal);
    }
    if (!ended) await abortable(stream.send({ body: { kind: 'end' } }), signal);
  } catch (error) {
    if (signal.aborted) return; // nobody is there to be told
    await abortable(stream.send({ body: { kind: 'end', problem: toProblem(error) } }), signal);
  }
}
