/**
 * What the status of a call stands for: the CoveyError that the other side sent along, or the nearest one.
 *
 * Used by both clients (grpc-client.ts, cli/rpc/calls.ts); loads no gRPC. Not here: the server's way to a status (grpc.ts).
 */
import { CoveyError, fromProblem } from './errors.js';
import type { Wire } from './wire.js';

/** The trailer that carries the error. */
export const problemKey = 'covey-problem-bin';

export const statusCodes = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  deadlineExceeded: 4,
  permissionDenied: 7,
  unimplemented: 12,
  unavailable: 14,
  unauthenticated: 16,
} as const;

export interface CallStatus {
  readonly code: number | undefined;
  readonly details: string;
  /** Of the trailer. */
  readonly problem: Uint8Array | undefined;
  readonly cause?: unknown;
}

export function errorOfStatus({ code, details, problem, cause }: CallStatus, wire: Wire): CoveyError {
  if (problem !== undefined) return fromProblem(wire.type('Problem').decode(problem));
  switch (code) {
    case statusCodes.unavailable:
      return new CoveyError('no-connection', 'Cannot reach the other side', { state: details, cause });
    case statusCodes.deadlineExceeded:
      return new CoveyError('timeout', 'Cannot get an answer in time', { state: details, cause });
    case statusCodes.cancelled:
      return new CoveyError('cancelled', 'Cannot go on: cancelled', { cause });
    case statusCodes.unauthenticated:
      return new CoveyError('no-certificate', 'Cannot call without a certificate of this cluster', { state: details });
    case statusCodes.permissionDenied:
      return new CoveyError('role-refused', 'Cannot call that with this certificate', { state: details });
    case statusCodes.unimplemented:
      return new CoveyError('unknown-value', 'Cannot use a call that the other side does not know', { state: details });
    default:
      return new CoveyError('internal', details, { cause });
  }
}
