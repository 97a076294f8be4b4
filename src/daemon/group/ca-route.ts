/**
 * The CA on any manager: who proves himself by what he says (a joiner by a token, a node that was off for long by its old key) is
 * passed on to the manager that leads; a node, which knows all managers and proves who it is by its connection, is told to ask
 * the leader itself.
 *
 * Called by cluster-parts.ts. Not here: the handlers (ca/issue.ts).
 */
import type { Services } from '../../gen/services.js';
import type { Handlers } from '../../grpc.js';
import type { LeaderLink } from './leader-link.js';
import { notLeading } from './leadership.js';

type CaHandlers = Handlers<Services['Ca']>;

const joinMs = 10_000;

export function forwardCa(
  ca: CaHandlers,
  { isLeading, leader }: { readonly isLeading: () => boolean; readonly leader: LeaderLink },
): CaHandlers {
  const atLeader =
    <Request, Response, Context>(handler: (request: Request, context: Context) => Promise<Response>) =>
    async (request: Request, context: Context): Promise<Response> => {
      if (!isLeading()) throw notLeading('Cannot do that here');
      return await handler(request, context);
    };
  return {
    join: async (request, context) => {
      if (isLeading()) return await ca.join(request, context);
      const { signal: asked } = context;
      return await leader.call('Ca', (calls, signal) => calls.join(request, { signal, timeoutMs: joinMs }), asked);
    },
    recover: async (request, context) => {
      if (isLeading()) return await ca.recover(request, context);
      const { signal: asked } = context;
      return await leader.call('Ca', (calls, signal) => calls.recover(request, { signal, timeoutMs: joinMs }), asked);
    },
    renew: atLeader(ca.renew),
    leave: atLeader(ca.leave),
  };
}
