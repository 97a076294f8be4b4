/**
 * Control of a daemon, by its socket and without a process for each call.
 *
 * Not here: what is asked (clients.ts, invariants.ts).
 */
import grpc from '@grpc/grpc-js';
import type { Services } from '../../../src/gen/services.js';
import type { ServiceSpec } from '../../../src/gen/types.js';
import { type Calls, makeCalls } from '../../../src/grpc.js';
import { openWire } from '../../../src/wire.js';
import { container, serviceSpec, taskSpec } from '../../daemon/object-fixtures.js';

export type ControlCalls = Calls<Services['Control']>;

const wire = openWire();

/** For calls that only look: the latest state, or an error when no manager leads. */
export const consistent = { metadata: { 'covey-read': 'consistent' } };

export interface Control {
  readonly calls: ControlCalls;
  readonly close: () => void;
}

export function openControl(socket: string): Control {
  const client = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    // A daemon that was started again is found at once.
    'grpc.initial_reconnect_backoff_ms': 50,
    'grpc.min_reconnect_backoff_ms': 50,
    'grpc.max_reconnect_backoff_ms': 250,
  });
  return { calls: makeCalls(client, 'Control', wire), close: () => client.close() };
}

/** A service of hello:1 that ends on SIGTERM. */
export function sleeperSpec(
  name: string,
  { replicas, labels }: { readonly replicas: number; readonly labels: Readonly<Record<string, string>> },
): ServiceSpec {
  const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'];
  const task = taskSpec({ containers: [container({ command })] });
  return serviceSpec({ name, labels, mode: { kind: 'replicated', replicas }, task });
}
