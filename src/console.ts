/**
 * What a command line program has around it: arguments, environment, the three streams, signals, and the few files it reads.
 * A program gets it as an argument, so that a test can be a terminal of any width, or a pipe.
 *
 * Not here: the real one (host-linux/console.ts), the machine as the daemon sees it (host.ts).
 */
import type { Duplex } from 'node:stream';
import type { Clock } from './host.js';

interface ScreenSize {
  readonly rows: number;
  readonly columns: number;
}

export interface Output {
  readonly isTerminal: boolean;
  /** Of the terminal; 24 by 80 when it does not say. */
  readonly size: () => ScreenSize;
  /** Resolves when the bytes were taken. What is written after the reader has gone is dropped. */
  readonly write: (content: string | Uint8Array) => Promise<void>;
  readonly onResize: (call: () => void) => Disposable;
  /** Aborted when the reader of the pipe has gone. */
  readonly gone: AbortSignal;
}

export interface Input {
  readonly isTerminal: boolean;
  /** The bytes that come, until the end of the input or of the iteration. Once only. */
  readonly read: () => AsyncIterable<Uint8Array>;
  /** Every key at once and unechoed, the interrupt key included. Nothing when it is no terminal. */
  readonly setRaw: (raw: boolean) => void;
}

interface OpenedFile {
  readonly sizeBytes: number;
  readonly chunks: AsyncIterable<Uint8Array>;
}

export interface CreatedFile extends AsyncDisposable {
  readonly write: (content: Uint8Array) => Promise<void>;
  readonly keep: () => Promise<void>;
}

export interface Console {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly directory: string;
  readonly homeDirectory: string | undefined;
  readonly clock: Clock;
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  /** The whole file; undefined when there is none. Small files only. */
  readonly findFile: (path: string) => Uint8Array | undefined;
  readonly findKind: (path: string) => 'file' | 'directory' | 'other' | undefined;
  readonly openFile: (path: string) => Promise<OpenedFile>;
  /** A file that is there, whole, once it is kept, and not at all before. Mode 0644 when none is given. */
  readonly createFile: (path: string, options?: { readonly mode?: number }) => Promise<CreatedFile>;
  /** A connection to a unix socket; rejects with the errno when nothing accepts. */
  readonly connectSocket: (path: string) => Promise<Duplex>;
  /** SIGINT, SIGTERM and SIGHUP. While somebody listens they do not end the process. */
  readonly onInterrupt: (call: (signalName: string) => void) => Disposable;
}
