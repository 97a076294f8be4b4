/**
 * Agent sessions on any manager: the one that leads serves them; any other says who the managers are and who leads, and ends
 * the session, so that the node calls there next.
 *
 * Called by cluster-parts.ts. Not here: the sessions (dispatcher/).
 */
import type { ManagerAddress } from '../../gen/types.js';
import type { Dispatcher } from '../dispatcher/types.js';
import { notLeading } from './leadership.js';

export function redirectSession(options: {
  readonly find: () => Dispatcher | undefined;
  readonly managers: () => readonly ManagerAddress[];
}): Dispatcher['session'] {
  return async function* (requests, context) {
    const dispatcher = options.find();
    if (dispatcher !== undefined) {
      yield* dispatcher.session(requests, context);
      return;
    }
    const managers = options.managers();
    if (managers.length > 0) yield { body: { kind: 'managers', managers } };
    throw notLeading('Cannot open a session');
  };
}
