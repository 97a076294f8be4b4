/**
 * The Control service of a daemon, whatever it is at the moment: each call goes to the handlers of the cluster that this
 * node manages now, or is refused with why there are none.
 *
 * Not here: the handlers (control.ts).
 */
import type { Services } from '../gen/services.js';
import { type Handlers, pathsOf } from '../grpc.js';

type ControlHandlers = Handlers<Services['Control']>;

/** `find` throws not-in-cluster or not-manager. */
export function gateControl(find: () => ControlHandlers): ControlHandlers {
  const names = pathsOf('Control').map(path => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    return (name.charAt(0).toLowerCase() + name.slice(1)) as keyof ControlHandlers;
  });
  const gate = (name: keyof ControlHandlers) => (request: never, context: never) => {
    const handler = find()[name] as (request: never, context: never) => unknown;
    return handler(request, context);
  };
  return Object.fromEntries(names.map(name => [name, gate(name)])) as unknown as ControlHandlers;
}
