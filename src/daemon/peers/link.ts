/**
 * One lane to one member: messages go in, a stream carries them, and there is always one as long as anybody sends.
 *
 *     queue ──► stream ──► the other side says which frame has come
 *                 │ silent for two beats (and the time that what is under way needs on a thin line), or suspected because
 *                 │ the other lane was silent: a fresh one is dialled beside it
 *                 │    the old one spoke meanwhile: it stays       │ it did not: the fresh one takes its place
 *                 │ broken, or no fresh one within a second: what waits is dropped, the owner is told, dialled anew
 *
 * Keeps true: nothing waits for longer than the link takes to die; the queue is bounded; every stream is a connection of its
 * own, because a kept channel needs up to 22 s after a cut of 30 s, and a fresh one needs 1 s.
 *
 * Called by transport.ts. Not here: what the messages are, where the member lives (`connect`).
 */
import { abortable } from '../../abortable.js';
import type { RaftFrame, RaftReceipt } from '../../gen/types.js';
import type { Clock, Random, Timer } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';

export interface LinkStream extends AsyncDisposable {
  readonly send: (frame: Omit<RaftFrame, 'hello'>) => Promise<void>;
  /** Ends, or throws, with the stream. */
  readonly receipts: AsyncIterable<RaftReceipt>;
}

export interface LinkOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  /** The link ends with it at the latest. */
  readonly lifetime: Lifetime;
  /** Opens a fresh connection; rejects within about a second. */
  readonly connect: (signal: AbortSignal) => Promise<LinkStream>;
  /** What was under way is lost. */
  readonly onBroken: (error: unknown) => void;
}

export interface Link extends AsyncDisposable {
  /** False when the queue is full: the message was dropped. */
  readonly send: (message: Uint8Array) => boolean;
  /** Another lane to the same member broke: unless this one says something now, it is replaced too. */
  readonly suspect: () => void;
}

const beatMs = 100;
const silentBeats = 2;
/** The thinnest line that entries are sent over without being taken for lost. */
const lineBytesPerMs = 128;
/** A timer that is later than this says that this process stood still: what the other side said may wait behind it. */
const lateMs = 50;
const queueMessagesMax = 4_096;
const queueBytesMax = 32 * 2 ** 20;
const frameBytesMax = 2 ** 20;
const retryMinMs = 50;
const retryMaxMs = 300;

interface Queue {
  messages: Uint8Array[];
  bytes: number;
  wake: (() => void) | undefined;
}

/** An open stream and what is known of the other side. */
interface Running extends AsyncDisposable {
  /** Resolves when it is silent, rejects when it has ended. */
  readonly trouble: (signal: AbortSignal) => Promise<void>;
  readonly isSilent: () => boolean;
  readonly suspect: () => void;
}

/** The stream that carries at the moment. */
interface Carrying {
  running: Running | undefined;
}

export function openLink(options: LinkOptions): Link {
  const { clock, random } = options;
  const lifetime = options.lifetime.child(options.name);
  const queue: Queue = { messages: [], bytes: 0, wake: undefined };
  const carrying: Carrying = { running: undefined };
  lifetime.run('carry', async signal => {
    for (let failures = 0; !signal.aborted; ) {
      await untilFilled(queue, signal);
      const beganMs = clock.monotonicMs();
      try {
        await carry({ ...options, lifetime }, { queue, carrying }, signal);
      } catch (error) {
        signal.throwIfAborted();
        empty(queue);
        options.onBroken(error);
      }
      failures = clock.monotonicMs() - beganMs > 2_000 ? 0 : failures + 1;
      await clock.sleep(Math.min(retryMaxMs, retryMinMs * failures) * (0.5 + random.fraction()), signal);
    }
  });
  return {
    send: message => {
      if (queue.messages.length >= queueMessagesMax || queue.bytes + message.length > queueBytesMax) return false;
      queue.messages.push(message);
      queue.bytes += message.length;
      queue.wake?.();
      return true;
    },
    suspect: () => carrying.running?.suspect(),
    [Symbol.asyncDispose]: () => lifetime[Symbol.asyncDispose](),
  };
}

/** Carries messages over one stream after the other; throws when the member cannot be reached. */
async function carry(
  options: LinkOptions,
  { queue, carrying }: { readonly queue: Queue; readonly carrying: Carrying },
  signal: AbortSignal,
): Promise<void> {
  let running = start(options, queue, await options.connect(signal));
  try {
    for (;;) {
      carrying.running = running;
      await running.trouble(signal);
      const fresh = await dialBeside(options, running, signal);
      if (fresh === undefined) continue;
      options.onBroken(new Error('silent for two beats: what was under way may be lost'));
      await running[Symbol.asyncDispose]();
      running = start(options, queue, fresh);
    }
  } finally {
    carrying.running = undefined;
    await running[Symbol.asyncDispose]();
  }
}

/** A stream to take the place of a silent one; undefined when that one spoke meanwhile. */
async function dialBeside(
  options: LinkOptions,
  running: Running,
  signal: AbortSignal,
): Promise<LinkStream | undefined> {
  try {
    const fresh = await options.connect(signal);
    if (running.isSilent()) return fresh;
    await fresh[Symbol.asyncDispose]();
  } catch (error) {
    if (signal.aborted || running.isSilent()) throw error;
  }
  return undefined;
}

interface Pulse {
  sent: number;
  heard: number;
  /** When the oldest frame that nothing was heard of was sent; undefined: all were heard of. */
  askedMs: number | undefined;
  /** Sent since then. */
  askedBytes: number;
  suspected: boolean;
  /** How long answers usually take: a long way is not silence. */
  usualMs: number;
  timer: Timer | undefined;
}

function start(options: LinkOptions, queue: Queue, stream: LinkStream): Running {
  const { clock } = options;
  const scope = options.lifetime.child('stream');
  const pulse: Pulse = {
    sent: 0,
    heard: 0,
    askedMs: undefined,
    askedBytes: 0,
    suspected: false,
    usualMs: 0,
    timer: undefined,
  };
  let wake: (() => void) | undefined;
  let failure: { readonly error: unknown } | undefined;
  const end = (error: unknown): void => {
    failure ??= { error };
    wake?.();
  };
  const isSilent = (): boolean => failure !== undefined || isQuiet(pulse, clock.monotonicMs());
  const watch = (): void => watchPulse(clock, pulse, () => wake?.());
  scope.defer('watch', () => pulse.timer?.cancel());
  scope.run('send', async signal => {
    try {
      for (;;) {
        await untilFilled(queue, signal);
        const messages = takeFrame(queue);
        for (const message of messages) pulse.askedBytes += message.length;
        pulse.sent += 1;
        pulse.askedMs ??= clock.monotonicMs();
        if (pulse.timer === undefined) watch();
        await abortable(stream.send({ sequence: pulse.sent, messages }), signal);
      }
    } catch (error) {
      end(error);
    }
  });
  scope.run('hear', async () => {
    try {
      for await (const receipt of stream.receipts) hear(pulse, receipt, clock.monotonicMs());
      end(new Error('the other side has ended the stream'));
    } catch (error) {
      end(error);
    }
  });
  return {
    isSilent,
    suspect: () => {
      if (pulse.askedMs === undefined) return;
      pulse.suspected = true;
      wake?.();
    },
    trouble: signal =>
      abortable(
        new Promise((resolve, reject) => {
          wake = () => (failure === undefined ? resolve() : reject(failure.error));
          if (failure !== undefined) reject(failure.error);
        }),
        signal,
      ),
    [Symbol.asyncDispose]: async () => {
      // The stream first: whoever reads from it ends with it.
      await stream[Symbol.asyncDispose]();
      await scope[Symbol.asyncDispose]();
    },
  };
}

/** How long nothing may be heard: on a thin line what is under way needs its time. */
function limitOf(pulse: Pulse): number {
  return silentBeats * beatMs + 2 * pulse.usualMs + pulse.askedBytes / lineBytesPerMs;
}

function isQuiet(pulse: Pulse, nowMs: number): boolean {
  return pulse.suspected || (pulse.askedMs !== undefined && nowMs - pulse.askedMs >= limitOf(pulse));
}

/** Calls back for as long as something was asked and nothing is heard. */
function watchPulse(clock: Clock, pulse: Pulse, quiet: () => void): void {
  const limitMs = limitOf(pulse);
  const dueMs = clock.monotonicMs() + limitMs;
  pulse.timer = clock.after(limitMs, () => {
    pulse.timer = undefined;
    const nowMs = clock.monotonicMs();
    if (nowMs - dueMs <= lateMs && isQuiet(pulse, nowMs)) quiet();
    if (pulse.askedMs !== undefined) watchPulse(clock, pulse, quiet);
  });
}

function hear(pulse: Pulse, receipt: RaftReceipt, nowMs: number): void {
  if (pulse.askedMs !== undefined) pulse.usualMs += (nowMs - pulse.askedMs - pulse.usualMs) / 8;
  pulse.heard = receipt.sequence;
  pulse.suspected = false;
  pulse.askedMs = pulse.sent > pulse.heard ? nowMs : undefined;
  if (pulse.askedMs === undefined) pulse.askedBytes = 0;
}

function takeFrame(queue: Queue): readonly Uint8Array[] {
  let bytes = 0;
  let count = 0;
  for (const message of queue.messages) {
    if (count > 0 && bytes + message.length > frameBytesMax) break;
    bytes += message.length;
    count += 1;
  }
  queue.bytes -= bytes;
  return queue.messages.splice(0, count);
}

function empty(queue: Queue): void {
  queue.messages = [];
  queue.bytes = 0;
}

function untilFilled(queue: Queue, signal: AbortSignal): Promise<void> {
  if (queue.messages.length > 0) return Promise.resolve();
  return abortable(
    new Promise(resolve => {
      queue.wake = resolve;
    }),
    signal,
  );
}
