/**
 * A program's streams joined to those of this terminal: keys and resizes up, output down, until the program ends, or the
 * detach keys are pressed.
 *
 * Keeps true: the terminal is as it was when this ends, however it ends.
 *
 * Called by exec and attach. Not here: what the first frame asks for (commands/).
 */
import type { Console } from '../console.js';
import { CoveyError, fromProblem } from '../errors.js';
import type { BulkFrame, TerminalSize } from '../gen/types.js';
import type { Duplex } from '../grpc.js';
import { openKeyScanner } from './detach-keys.js';

export type StreamCall = Duplex<BulkFrame, BulkFrame>;

export interface TerminalCall {
  readonly call: StreamCall;
  readonly start: BulkFrame;
  readonly console: Console;
  readonly stdin: boolean;
  /** The program has a terminal. */
  readonly tty: boolean;
  readonly detachKeys: Uint8Array;
  /** A line about the stream, for people. */
  readonly note: (line: string) => Promise<void>;
}

export type StreamEnd =
  | { readonly kind: 'ended'; readonly exitCode: number | undefined; readonly problem: unknown }
  | { readonly kind: 'detached' };

/** At most so many bytes in a frame. */
const frameBytes = 32 * 1024;

export async function joinStreams(joined: TerminalCall): Promise<StreamEnd> {
  const { call, console, stdin, tty } = joined;
  const raw = tty && stdin;
  const state = { detached: false };
  if (raw) console.stdin.setRaw(true);
  try {
    await call.send(joined.start);
    using _resize = tty
      ? console.stdout.onResize(() => void sendQuietly(call, { kind: 'resize', ...sizeOf(console) }))
      : noResize();
    if (stdin) void sendInput(joined, state).catch(() => undefined); // the call itself tells why it ended
    return await receive(joined, state);
  } finally {
    if (raw) console.stdin.setRaw(false);
  }
}

function noResize(): Disposable {
  return { [Symbol.dispose]: () => undefined };
}

export function sizeOf(console: Console): TerminalSize {
  const { rows, columns } = console.stdout.size();
  return { rows, columns };
}

async function sendQuietly(call: StreamCall, body: BulkFrame['body']): Promise<void> {
  try {
    await call.send({ body });
  } catch {
    // The call has ended; whoever reads its answers is told why.
  }
}

async function sendInput(joined: TerminalCall, state: { detached: boolean }): Promise<void> {
  const { call, console } = joined;
  const scanner = joined.tty ? openKeyScanner(joined.detachKeys) : undefined;
  for await (const chunk of console.stdin.read()) {
    const keys = scanner === undefined ? chunk : scanner.scan(chunk);
    if (keys === undefined) {
      state.detached = true;
      await call.send({ body: { kind: 'detach' } });
      return;
    }
    for (let at = 0; at < keys.length; at += frameBytes) {
      const data = keys.subarray(at, at + frameBytes);
      await call.send({ body: { kind: 'data', stream: 'stdin', data, eof: false, atMs: 0 } });
    }
  }
  // The end of the input is a frame: ending the call would end the program.
  await call.send({ body: { kind: 'data', stream: 'stdin', data: new Uint8Array(0), eof: true, atMs: 0 } });
}

async function receive({ call, console, note }: TerminalCall, state: { detached: boolean }): Promise<StreamEnd> {
  for await (const { body } of call) {
    if (body.kind === 'data' && body.data.length > 0) {
      await (body.stream === 'stderr' ? console.stderr : console.stdout).write(body.data);
    } else if (body.kind === 'lost') {
      await note('covey: some of the output is missing here: it was rotated away before this terminal took it');
    } else if (body.kind === 'end') {
      if (state.detached) return { kind: 'detached' };
      const problem = body.problem === undefined ? undefined : fromProblem(body.problem);
      return { kind: 'ended', exitCode: body.exitCode, problem };
    }
  }
  throw new CoveyError('exec-failed', 'Cannot tell how the program ended: the stream ended before it');
}
