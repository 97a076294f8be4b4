/**
 * The one error class, the table of its codes, and the way from an error to text and to the wire and back.
 *
 * Grammar: "Cannot verb thing", sentence case, no final stop, names in quotes; `state` says what is so now, with numbers;
 * `hint` is one thing to try. A wrapper never repeats its cause's text. Every code has a paragraph in explain.ts.
 *
 * Not here: exit codes of the CLI (cli/output/errors.ts).
 */
import type { ErrorCode } from './error-codes.js';
import type { Problem } from './gen/types.js';

export type { ErrorCode } from './error-codes.js';

export interface ErrorDetails {
  /** What is so now, with numbers. */
  readonly state?: string | undefined;
  /** One thing to try. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

export class CoveyError extends Error {
  readonly code: ErrorCode;
  readonly state: string | undefined;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'CoveyError';
    this.code = code;
    this.state = details.state;
    this.hint = details.hint;
  }
}

/** The error as a CoveyError: itself, or wrapped as internal. */
export function asCoveyError(error: unknown): CoveyError {
  if (error instanceof CoveyError) return error;
  if (error instanceof Error && error.name === 'AbortError')
    return new CoveyError('cancelled', 'Cannot go on: cancelled', { cause: error });
  return new CoveyError('internal', error instanceof Error ? error.message : String(error), { cause: error });
}

/** The chain of causes, outermost first; an AggregateError contributes its first error. */
export function causesOf(error: unknown): readonly Error[] {
  const chain: Error[] = [];
  let current: unknown = error;
  while (current instanceof Error && chain.length < 16) {
    chain.push(current);
    current = current instanceof AggregateError ? current.errors[0] : current.cause;
  }
  return chain;
}

/** The most telling code: that of the deepest CoveyError in the chain. "internal" tells nothing: it is what foreign causes become on a wire. */
export function codeOf(error: unknown): ErrorCode {
  const coded = causesOf(error).filter(link => link instanceof CoveyError && link.code !== 'internal');
  const deepestCoded = coded.at(-1);
  return deepestCoded instanceof CoveyError ? deepestCoded.code : 'internal';
}

/** One line: all messages of the chain, joined by ": ", none twice. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const parts: string[] = [];
  for (const link of causesOf(error)) if (!parts.some(part => part.includes(link.message))) parts.push(link.message);
  return parts.join(': ');
}

/** First state or hint in the chain, from the deepest link up. */
export function deepest(error: unknown, key: 'state' | 'hint'): string | undefined {
  return causesOf(error)
    .flatMap(link => (link instanceof CoveyError && link[key] !== undefined ? [link[key]] : []))
    .at(-1);
}

/** The errno name of a failed system call ("ENOENT"), if the error carries one. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** The error as it crosses a wire. Causes that are no CoveyError keep their message under the code "internal". */
export function toProblem(error: unknown): Problem {
  const own = error instanceof CoveyError ? error : undefined;
  const cause = error instanceof AggregateError ? error.errors[0] : error instanceof Error ? error.cause : undefined;
  return {
    code: own?.code ?? 'internal',
    message: error instanceof Error ? error.message : String(error),
    state: own?.state ?? '',
    hint: own?.hint ?? '',
    cause: cause instanceof Error ? toProblem(cause) : undefined,
  };
}

/** The error that a Problem stands for. */
export function fromProblem(problem: Problem): CoveyError {
  return new CoveyError(problem.code as ErrorCode, problem.message, {
    state: problem.state === '' ? undefined : problem.state,
    hint: problem.hint === '' ? undefined : problem.hint,
    cause: problem.cause === undefined ? undefined : fromProblem(problem.cause),
  });
}
