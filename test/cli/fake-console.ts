/**
 * A console for tests: a terminal or a pipe of any width that remembers what was written, and an input that was typed before.
 */
import type { Console, Input, Output } from '../../src/console.js';
import { CoveyError } from '../../src/errors.js';
import type { Clock } from '../../src/host.js';

export interface FakeConsole extends Console {
  readonly out: () => string;
  readonly err: () => string;
  readonly interrupt: (signalName?: string) => void;
  readonly isRaw: () => boolean;
  readonly resize: (columns: number) => void;
}

export interface FakeConsoleOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly terminal?: { readonly rows: number; readonly columns: number } | undefined;
  readonly input?: readonly string[];
  readonly files?: Readonly<Record<string, string>>;
  readonly clock?: Clock;
  /** The errno with which nothing answers on a socket. */
  readonly connectFails?: (path: string) => string;
  /** Files, clock and sockets of the machine. */
  readonly machine?: Pick<Console, 'findFile' | 'findKind' | 'openFile' | 'createFile' | 'connectSocket' | 'clock'>;
}

const stillClock: Clock = {
  monotonicMs: () => 0,
  wallMs: () => 1_800_000_000_000,
  sleep: async () => undefined,
  after: () => ({ cancel: () => undefined }),
};

export function fakeConsole(options: FakeConsoleOptions = {}): FakeConsole {
  const written = { out: '', err: '' };
  const listeners = new Set<(name: string) => void>();
  const resizers = new Set<() => void>();
  let size = options.terminal ?? { rows: 24, columns: 80 };
  let raw = false;
  const output = (key: 'out' | 'err'): Output => ({
    isTerminal: options.terminal !== undefined,
    size: () => size,
    write: async content => {
      written[key] += typeof content === 'string' ? content : new TextDecoder().decode(content);
    },
    onResize: call => {
      resizers.add(call);
      return { [Symbol.dispose]: () => void resizers.delete(call) };
    },
    gone: new AbortController().signal,
  });
  const stdin: Input = {
    isTerminal: options.terminal !== undefined,
    read: async function* () {
      for (const text of options.input ?? []) yield new TextEncoder().encode(text);
    },
    setRaw: on => {
      raw = on;
    },
  };
  const find = (path: string): Uint8Array | undefined => {
    const text = options.files?.[path];
    return text === undefined ? undefined : new TextEncoder().encode(text);
  };
  return {
    args: options.args ?? [],
    env: options.env ?? {},
    directory: '/site',
    homeDirectory: '/home/me',
    clock: options.clock ?? stillClock,
    stdin,
    stdout: output('out'),
    stderr: output('err'),
    findFile: find,
    findKind: path => (find(path) === undefined ? undefined : 'file'),
    openFile: async path => {
      const data = find(path);
      if (data === undefined) throw new CoveyError('not-found', `Cannot read "${path}": there is no such file`);
      return { sizeBytes: data.length, chunks: oneChunk(data) };
    },
    createFile: async () => ({
      write: async () => undefined,
      keep: async () => undefined,
      [Symbol.asyncDispose]: async () => undefined,
    }),
    connectSocket: async path => {
      const code = options.connectFails?.(path) ?? 'ENOENT';
      throw Object.assign(new Error(code), { code });
    },
    ...options.machine,
    onInterrupt: call => {
      listeners.add(call);
      return { [Symbol.dispose]: () => void listeners.delete(call) };
    },
    out: () => written.out,
    err: () => written.err,
    interrupt: (name = 'SIGINT') => {
      for (const listener of listeners) listener(name);
    },
    isRaw: () => raw,
    resize: columns => {
      size = { ...size, columns };
      for (const call of resizers) call();
    },
  };
}

async function* oneChunk(data: Uint8Array): AsyncGenerator<Uint8Array> {
  yield data;
}
