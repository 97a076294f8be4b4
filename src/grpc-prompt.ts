/**
 * How both servers answer: the status of a unary call goes out right behind its answer. Left to itself grpc-js waits until the
 * answer is written before it ends the stream, which is another turn of the event loop and another write to the socket.
 *
 * The counters of channelz stay on, although nobody asks for them: without them a grpc-js server keeps no list of its connections,
 * `forceShutdown` ends none, and a server with an open stream never closes.
 *
 * Used by daemon/rpc (cluster-server.ts, local-server.ts). Not here: who may call.
 */
import grpc from '@grpc/grpc-js';

/** The call as the handler gets it. Streams wait for what they have written: that is their back-pressure. */
export function promptCall(
  method: grpc.ServerMethodDefinition<unknown, unknown>,
  call: grpc.ServerInterceptingCallInterface,
  responder?: grpc.Responder,
): grpc.ServerInterceptingCall {
  return method.responseStream ? new grpc.ServerInterceptingCall(call, responder) : new PromptCall(call, responder);
}

class PromptCall extends grpc.ServerInterceptingCall {
  override sendMessage(message: unknown, sent: () => void): void {
    super.sendMessage(message, () => undefined);
    sent();
  }
}
