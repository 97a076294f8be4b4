/**
 * The CA on any manager: a joiner, who knows one address only, is passed on to the manager that leads; a node, which knows all
 * managers and proves who it is by its connection, is told to ask the leader itself.
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
      return await leader.call(
        'Ca',
        (calls, signal) => calls.join(request, { signal, timeoutMs: joinMs }),
        context.signal,
      );
    },
    renew: atLeader(ca.renew),
    leave: atLeader(ca.leave),
  };
}
