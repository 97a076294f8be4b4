/**
 * A session within one process: the agent of a manager that leads talks to its own dispatcher without TLS and without bytes.
 *
 * Both ends see the same immutable messages. Bulk streams do not come this way: the relay calls the agent of its own node
 * directly.
 *
 * Used by dial.ts.
 */
import grpc from '@grpc/grpc-js';
import { openChannel } from '../../channel.js';
import { CoveyError } from '../../errors.js';
import type { AgentMessage, ManagerMessage } from '../../gen/types.js';
import type { CallContext, CallOptions, Duplex } from '../../grpc.js';
import type { NodeIdentity } from '../ca/identity.js';
import type { Dispatcher } from '../dispatcher/types.js';
import type { ManagerConnection } from './types.js';

const messagesMax = 256;

export function localConnection(
  dispatcher: Dispatcher,
  identity: Pick<NodeIdentity, 'nodeId' | 'clusterId' | 'role'>,
): ManagerConnection {
  return {
    reached: undefined,
    session: options => localSession(dispatcher, identity, options),
    bulk: () => Promise.reject(new CoveyError('bug', 'Cannot open a bulk stream to oneself')),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

function localSession(
  dispatcher: Dispatcher,
  { nodeId, clusterId, role }: Pick<NodeIdentity, 'nodeId' | 'clusterId' | 'role'>,
  options: CallOptions,
): Duplex<AgentMessage, ManagerMessage> {
  const said = openChannel<AgentMessage>(messagesMax);
  const controller = new AbortController();
  const cancel = (): void => {
    controller.abort(new CoveyError('cancelled', 'Cannot go on: the session was given up'));
    said.close();
  };
  options.signal.addEventListener('abort', cancel, { once: true });
  if (options.signal.aborted) cancel();
  const context: CallContext = {
    caller: { kind: 'node', nodeId, clusterId, role, serial: '' },
    signal: controller.signal,
    metadata: new grpc.Metadata(),
  };
  const answers = dispatcher.session(said, context);
  return {
    send: async message => {
      while (!said.push(message)) {
        if (said.ended()) throw new CoveyError('cancelled', 'Cannot send: the session has ended');
        await said.room();
      }
    },
    end: () => said.close(),
    cancel,
    [Symbol.asyncIterator]: () => answers[Symbol.asyncIterator](),
  };
}
