/** What a command is told by a socket behind which there is no coveyd. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Client, openClient } from '../../src/cli/client.js';
import type { Clock } from '../../src/host.js';
import { linuxClock } from '../../src/host-linux/clock.js';

const { signal } = new AbortController();

/** A client of a server that does with each connection what it is told; its timers go off when `late` is called. */
async function openTo(t: Test, onSocket: (socket: Socket) => void): Promise<{ client: Client; late: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'covey-client-'));
  const path = join(folder, 's');
  const sockets: Socket[] = [];
  const server = createServer(socket => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  await new Promise<void>(resolve => server.listen(path, resolve));
  const timers: (() => void)[] = [];
  const clock: Clock = {
    ...linuxClock,
    after: (_ms, call) => {
      timers.push(call);
      return { cancel: () => void timers.splice(timers.indexOf(call), 1) };
    },
  };
  const connectSocket = async (): Promise<Socket> => {
    const socket = connect(path);
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return socket;
  };
  const console = { connectSocket, clock };
  const client = await openClient({ socket: path, console, wish: undefined, onAsOf: async () => undefined });
  t.teardown(() => {
    client.close();
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { client, late: () => timers.splice(0).forEach(call => void call()) };
}

t.test('who accepts and does not greet is no daemon, and is told so when the patience ends', async t => {
  const { client, late } = await openTo(t, () => undefined);
  const call = client.local.info({}, { signal });
  late();
  await t.rejects(call, { code: 'no-daemon', state: /accepts, but nothing greets within \d/ });
  await t.rejects(client.local.info({}, { signal }), { code: 'no-daemon' }, 'and so are later calls');
});

t.test('who speaks something else, or hangs up, is no daemon', async t => {
  const other = await openTo(t, socket => void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
  await t.rejects(other.client.local.info({}, { signal }), { code: 'no-daemon', state: /accepts, but no HTTP\/2/ });
  const gone = await openTo(t, socket => void socket.destroy());
  await t.rejects(gone.client.local.info({}, { signal }), {
    code: 'no-daemon',
    state: /accepts, but .*(closed|EPIPE|ECONNRESET)/,
  });
});
