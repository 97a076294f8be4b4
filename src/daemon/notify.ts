/**
 * Tells systemd how far the daemon is (sd_notify(3)): READY=1 once the socket answers, STOPPING=1 at the end, STATUS= for
 * people. Does nothing without NOTIFY_SOCKET.
 */
import { messageOf } from '../errors.js';
import type { Kernel } from '../host.js';
import type { Logger } from '../telemetry.js';

export interface Notifier {
  readonly ready: (status: string) => void;
  readonly stopping: () => void;
}

export function makeNotifier(
  socketPath: string | undefined,
  kernel: Pick<Kernel, 'sendDatagram'>,
  log: Logger,
): Notifier {
  const send = (text: string): void => {
    if (socketPath === undefined || socketPath === '') return;
    try {
      kernel.sendDatagram(socketPath, text);
    } catch (error) {
      log.warn('systemd could not be told', { socket: socketPath, reason: messageOf(error) });
    }
  };
  return {
    ready: status => send(`READY=1\nSTATUS=${status}`),
    stopping: () => send('STOPPING=1'),
  };
}
