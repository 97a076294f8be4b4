/** The calls of the command line against a server of grpc-js, and against what is no server. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import grpc from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { makeCalls } from '../../../src/cli/rpc/calls.js';
import { encodeFrame, encodeSettings, frameTypes } from '../../../src/cli/rpc/frames.js';
import { openSession, type Session } from '../../../src/cli/rpc/session.js';
import { CoveyError } from '../../../src/errors.js';
import type { Services } from '../../../src/gen/services.js';
import type { BulkFrame } from '../../../src/gen/types.js';
import { addService, type Calls, type Handlers } from '../../../src/grpc.js';
import { linuxClock } from '../../../src/host-linux/clock.js';
import { openWire } from '../../../src/wire.js';

const wire = openWire();
const { signal } = new AbortController();
const data = (bytes: Uint8Array): BulkFrame => ({
  body: { kind: 'data', stream: 'stdout', data: bytes, eof: false, atMs: 0 },
});

function socketPath(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'covey-rpc-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 's');
}

function callsOver(session: Session): Calls<Services['Control']> {
  const gone = (): CoveyError => new CoveyError('no-daemon', 'gone');
  return makeCalls({ session, wire, clock: linuxClock, gone }, 'Control');
}

interface Served {
  readonly calls: Calls<Services['Control']>;
  readonly server: grpc.Server;
}

async function serve(t: Test, handlers: Partial<Handlers<Services['Control']>>): Promise<Served> {
  const path = socketPath(t);
  const server = new grpc.Server({
    'grpc.max_receive_message_length': 2 ** 26,
    'grpc.max_send_message_length': 2 ** 26,
  });
  const refuse = async (): Promise<never> => {
    throw new CoveyError('bug', 'not expected');
  };
  const complete = new Proxy(handlers, { get: (target, key) => Reflect.get(target, key) ?? refuse });
  addService(server, 'Control', {
    wire,
    findCaller: () => ({ kind: 'uid', uid: 0 }),
    handlers: complete as Handlers<Services['Control']>,
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${path}`, grpc.ServerCredentials.createInsecure(), error =>
      error ? reject(error) : resolve(),
    );
  });
  t.teardown(() => server.forceShutdown());
  const session = openSession(connect(path));
  t.teardown(session.close);
  await session.greeted;
  return { calls: callsOver(session), server };
}

t.test('messages larger than every window pass in both directions, in order', async t => {
  const { calls } = await serve(t, {
    exec: async function* (requests) {
      for await (const request of requests) yield request;
    },
  });
  const call = calls.exec({ signal });
  const sizes = [0, 1, 16_384, 70_000, 5_000_000, 3];
  const sending = (async () => {
    for (const [at, size] of sizes.entries()) await call.send(data(new Uint8Array(size).fill(at + 1)));
    call.end();
  })();
  const got: (readonly [number, number])[] = [];
  for await (const { body } of call)
    if (body.kind === 'data')
      got.push([body.data.length, body.data.every(byte => byte === (body.data[0] ?? 0)) ? (body.data[0] ?? 0) : -1]);
  await sending;
  t.same(
    got,
    sizes.map((size, at) => [size, size === 0 ? 0 : at + 1]),
  );
});

t.test('a reader that stops taking stops the sender, and loses nothing', async t => {
  const piece = new Uint8Array(100_000);
  let sent = 0;
  const { calls } = await serve(t, {
    exec: async function* () {
      for (; sent < 400; sent += 1) yield data(piece);
    },
  });
  const call = calls.exec({ signal });
  const reader = call[Symbol.asyncIterator]();
  await reader.next();
  for (let last = -1; last !== sent; ) {
    last = sent;
    await new Promise(resolve => setTimeout(resolve, 50)); // until it stands still
  }
  t.ok(sent < 150, `${sent} of 400 pieces were sent to a reader that took one`);
  let taken = 1;
  while (!(await reader.next()).done) taken += 1;
  t.equal(taken, 400);
});

t.test('errors arrive as they were sent; calls that are aborted or late end at once', async t => {
  const aborting = new AbortController();
  const { calls } = await serve(t, {
    getCluster: async () => {
      throw new CoveyError('not-found', 'Cannot find "größer"', { state: 'x'.repeat(9_000), hint: 'h' });
    },
    listNodes: (_request, context) =>
      new Promise((_resolve, reject) => context.signal.addEventListener('abort', reject)),
  });
  const { getCluster, listNodes } = calls;
  const request = { objects: [], stack: '' };
  await t.rejects(getCluster({}, { signal }), { code: 'not-found', message: 'Cannot find "größer"' });
  await t.rejects(listNodes(request, { signal, timeoutMs: 20 }), { code: 'timeout' });
  const listing = listNodes(request, { signal: aborting.signal });
  aborting.abort(new CoveyError('cancelled', 'Cannot go on: enough'));
  await t.rejects(listing, { message: 'Cannot go on: enough' });
  await t.rejects(listNodes(request, { signal: aborting.signal }), { message: 'Cannot go on: enough' });
});

t.test('an answer that comes before the whole request was sent ends the sending', async t => {
  const { calls } = await serve(t, {
    exec: async function* (requests) {
      for await (const _ of requests) {
        yield data(new Uint8Array(1));
        throw new CoveyError('no-space', 'Cannot take it');
      }
    },
  });
  const call = calls.exec({ signal });
  const sending = (async () => {
    for (;;) await call.send(data(new Uint8Array(500_000)));
  })();
  const reading = (async () => {
    for await (const _ of call);
  })();
  await t.rejects(reading, { code: 'no-space' });
  await t.rejects(sending, { code: 'no-space' });
});

t.test('a server that goes away ends all calls as gone', async t => {
  const { calls, server } = await serve(t, {
    exec: async function* (_requests, context) {
      yield data(new Uint8Array(1));
      await new Promise(resolve => context.signal.addEventListener('abort', resolve));
    },
  });
  const reader = calls.exec({ signal })[Symbol.asyncIterator]();
  t.equal((await reader.next()).done, false);
  server.forceShutdown();
  await t.rejects(reader.next(), { code: 'no-daemon' });
  await t.rejects(calls.getCluster({}, { signal }), { code: 'no-daemon' });
});

t.test('what is no HTTP/2, or breaks its rules, is told and ends the connection', async t => {
  const settings = encodeSettings([]);
  const rows: readonly (readonly [string, Buffer, RegExp])[] = [
    [
      'another protocol',
      Buffer.from('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'),
      /no HTTP\/2: a frame of \d+ bytes/,
    ],
    ['a push', Buffer.concat([settings, encodeFrame(frameTypes.pushPromise, Buffer.alloc(8), { stream: 1 })]), /push/],
    ['a block without beginning', encodeFrame(frameTypes.continuation, Buffer.alloc(0), { stream: 1 }), /beginning/],
    [
      'a block that is interrupted',
      Buffer.concat([encodeFrame(frameTypes.headers, Buffer.alloc(0), { stream: 1 }), settings]),
      /interrupted/,
    ],
    ['padding that is too long', encodeFrame(frameTypes.data, Buffer.from([9, 0]), { stream: 1, flags: 8 }), /padding/],
    ['nothing', Buffer.alloc(0), /closed|EPIPE|ECONNRESET/],
  ];
  for (const [what, bytes, error] of rows) {
    const path = socketPath(t);
    const sockets: Socket[] = [];
    const server = createServer(socket => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      if (bytes.length === 0) socket.destroy();
      else socket.write(bytes);
    });
    await new Promise<void>(resolve => server.listen(path, resolve));
    const session = openSession(connect(path));
    await session.greeted.catch(() => undefined);
    const outcome = callsOver(session).getCluster({}, { signal, timeoutMs: 5_000 });
    await t.rejects(outcome, { code: 'no-daemon' }, what);
    await t.rejects(openSessionAgain(path), error, what);
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

/** The first error of a new connection, at its greeting or at the first call. */
async function openSessionAgain(path: string): Promise<void> {
  const session = openSession(connect(path));
  await session.greeted;
  await new Promise<void>((_resolve, reject) => {
    session.open([[':method', 'POST']], {
      onHeaders: () => undefined,
      onData: () => undefined,
      onEnd: reason =>
        reject(reason?.kind === 'gone' ? reason.error : new Error(`ended otherwise: ${JSON.stringify(reason)}`)),
    });
  });
}
