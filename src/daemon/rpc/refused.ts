/**
 * Whether a machine says that nothing listens at an address: then the process that did has ended. Silence says nothing.
 *
 * Called by peers/transport.ts. Not here: connections that are used (client.ts).
 */
import * as net from 'node:net';
import { errnoOf } from '../../errors.js';

export function isRefused(
  address: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<boolean> {
  return new Promise(resolve => {
    const socket = net.connect(address);
    const answer = (refused: boolean): void => {
      signal.removeEventListener('abort', giveUp);
      socket.destroy();
      resolve(refused);
    };
    const giveUp = (): void => answer(false);
    socket.once('connect', () => answer(false));
    socket.once('error', error => answer(errnoOf(error) === 'ECONNREFUSED'));
    signal.addEventListener('abort', giveUp, { once: true });
    if (signal.aborted) giveUp();
  });
}
