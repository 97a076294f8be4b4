import t from 'tap';
import { makeNotifier } from '../../src/daemon/notify.js';
import type { Logger } from '../../src/telemetry.js';

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silent,
};

t.test('systemd is told ready and stopping, on the socket that it named', async t => {
  const sent: [string, string][] = [];
  const notifier = makeNotifier(
    '/run/systemd/notify',
    { sendDatagram: (path, text) => void sent.push([path, text]) },
    silent,
  );
  notifier.ready('listening');
  notifier.stopping();
  t.same(sent, [
    ['/run/systemd/notify', 'READY=1\nSTATUS=listening'],
    ['/run/systemd/notify', 'STOPPING=1'],
  ]);
});

t.test('without a socket nothing is sent, and a broken one stops nothing', async t => {
  makeNotifier(undefined, { sendDatagram: () => t.fail('nobody asked') }, silent).ready('x');
  const warned: string[] = [];
  const broken = makeNotifier(
    '/gone',
    {
      sendDatagram: () => {
        throw new Error('ENOENT');
      },
    },
    { ...silent, warn: message => void warned.push(message) },
  );
  broken.ready('x');
  t.equal(warned.length, 1);
});
