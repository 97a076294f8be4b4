/**
 * The C library through koffi: loaded once per process on first use, each call turned into a typed function that throws a
 * CoveyError with the name of the call, the object and the errno.
 *
 * Only files of host-linux import this. Calls are synchronous and act on the calling thread.
 *
 * Not here: what the calls are for (mounts.ts, namespaces.ts, netlink.ts, sockets.ts, terminal.ts).
 */
import { getSystemErrorMap } from 'node:util';
import koffi from 'koffi';
import { CoveyError, type ErrorCode } from '../errors.js';

export interface SystemCallFailure {
  readonly call: string;
  readonly object: string;
  readonly errno: number;
}

const codeByErrno: Readonly<Record<string, ErrorCode>> = {
  EPERM: 'no-permission',
  EACCES: 'no-permission',
  ENOENT: 'not-found',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
};

/** "ENOENT" for 2; the number itself when libuv knows no name. */
export function errnoName(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[0] ?? `errno ${errno}`;
}

/** The error of a failed call; `code` says what it means there, else it follows from the errno. */
export function systemCallError(failure: SystemCallFailure, code?: ErrorCode): CoveyError {
  const name = errnoName(failure.errno);
  const text = getSystemErrorMap().get(-failure.errno)?.[1] ?? 'unknown error';
  return new CoveyError(
    code ?? codeByErrno[name] ?? 'internal',
    `Cannot ${failure.call} ${failure.object}: ${name}, ${text}`,
  );
}

/** The errno of the call before this one, on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

/** A function of libc by its C prototype, bound on first use. */
export function libcFunction<Args extends readonly unknown[], Result>(prototype: string): (...args: Args) => Result {
  let bound: ((...args: Args) => Result) | undefined;
  return (...args) => {
    bound ??= koffi.load('libc.so.6').func(prototype) as unknown as (...args: Args) => Result;
    return bound(...args);
  };
}
