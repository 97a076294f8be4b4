/**
 * Calls of a service, whoever made them (grpc-client.ts, cli/rpc/calls.ts): loads no gRPC.
 *
 * Not here: what wraps handlers (grpc-handlers.ts).
 */
import type { CallOptions } from './grpc.js';

/** The calls of a service, each through `wrap`, which may change its options and look at what it gives. */
export function mapCalls<Service extends object>(
  calls: Service,
  wrap: (call: (options: CallOptions) => unknown, options: CallOptions) => unknown,
): Service {
  const wrapped = Object.entries(calls).map(([name, call]) => {
    const plain = call as (...args: unknown[]) => unknown;
    return [
      name,
      (...args: unknown[]) => wrap(options => plain(...args.slice(0, -1), options), args.at(-1) as CallOptions),
    ] as const;
  });
  return Object.fromEntries(wrapped) as Service;
}
