/**
 * How both servers answer: the status of a unary call goes out right behind its answer. Left to itself grpc-js waits until the
 * answer is written before it ends the stream, which is another turn of the event loop and another write to the socket.
 *
 * Used by daemon/rpc (cluster-server.ts, local-server.ts). Not here: who may call.
 */
import grpc from '@grpc/grpc-js';

/** For the server of people and that of nodes: nobody asks for the counters that channelz keeps of each call and connection. */
export const quietServer: grpc.ChannelOptions = { 'grpc.enable_channelz': 0 };

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
