/** Links between managers over real sockets and TLS on 127.0.0.1. */
import * as net from 'node:net';
import t from 'tap';
import type { CoveyError } from '../../../src/errors.js';
import type { Message, PeerId, SnapshotRequest } from '../../../src/raft/core/types.js';
import type { Arrivals } from '../../../src/raft/transport.js';
import { eventually } from '../node-fixtures.js';
import { openPeer } from './rig.js';

const heartbeat = (from: PeerId, to: PeerId, commit: number): Message => ({
  version: 1,
  kind: 'heartbeat',
  from,
  to,
  term: 1,
  commit,
  readCount: 0,
});
const append = (from: PeerId, to: PeerId, index: number, size = 1): Message => ({
  version: 1,
  kind: 'append',
  from,
  to,
  term: 1,
  prevIndex: index - 1,
  prevTerm: 1,
  entries: [{ kind: 'normal', version: 1, term: 1, index, data: new Uint8Array(size) }],
  commit: 0,
});

/** Keeps what arrives. */
function inbox(over: Partial<Arrivals> = {}) {
  const messages: Message[] = [];
  const arrivals: Arrivals = {
    receive: message => void messages.push(message),
    beginSnapshot: (_message, answer) => answer(undefined),
    snapshotChunk: (_message, _chunk, answer) => answer(undefined),
    finishSnapshot: (_message, _total, answer) => answer(false),
    unreachable: () => undefined,
    ended: () => undefined,
    ...over,
  };
  return { messages, arrivals: () => arrivals };
}

/** A wire that can be cut: what runs through it then is swallowed, and new connections pass again. */
async function openWire(t: { teardown: (call: () => unknown) => unknown }, port: number) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer(near => {
    const far = net.connect(port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('data', data => void to.write(data));
      from.on('error', () => undefined);
      from.on('close', () => to.destroy());
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    port: (server.address() as net.AddressInfo).port,
    connections: () => sockets.size / 2,
    cut: () => {
      for (const socket of sockets)
        socket
          .removeAllListeners('data')
          .removeAllListeners('close')
          .on('data', () => undefined);
    },
  };
}

t.test('messages arrive in the order in which they were sent, appends and the rest apart', async t => {
  const book = new Map<PeerId, number>();
  const there = inbox();
  await using one = await openPeer(1, { book, arrivals: inbox().arrivals });
  await using two = await openPeer(2, { book, arrivals: there.arrivals });
  for (let index = 1; index <= 100; index += 1) {
    one.transport.send(append(1, two.id, index));
    one.transport.send(heartbeat(1, two.id, index));
  }
  await eventually('all arrive', () => (there.messages.length === 200 ? true : undefined));
  const appends = there.messages.filter(message => message.kind === 'append').map(message => message.prevIndex);
  const beats = there.messages.filter(message => message.kind === 'heartbeat').map(message => message.commit);
  t.strictSame(
    appends,
    Array.from({ length: 100 }, (_, place) => place),
  );
  t.strictSame(
    beats,
    Array.from({ length: 100 }, (_, place) => place + 1),
  );
  await eventually('the member counts as reached', () => (one.transport.reached().has(2) ? true : undefined));
});

t.test('the two lanes are two connections', async t => {
  const book = new Map<PeerId, number>();
  const there = inbox();
  await using one = await openPeer(1, { book, arrivals: inbox().arrivals });
  await using two = await openPeer(2, { book, arrivals: there.arrivals });
  const wire = await openWire(t, two.port);
  book.set(2, wire.port);
  one.transport.send(append(1, 2, 1, 1_000_000));
  one.transport.send(heartbeat(1, 2, 1));
  await eventually('both arrive', () => (there.messages.length === 2 ? true : undefined));
  // On a busy machine a lane may have been silent for two beats, and has a fresh one.
  t.ok(wire.connections() >= 2, `${wire.connections()} connections`);
});

t.test('a link that is silent for two beats is replaced by a fresh one', async t => {
  const book = new Map<PeerId, number>();
  const there = inbox();
  let lost = 0;
  await using one = await openPeer(1, { book, arrivals: inbox().arrivals, onUnreachable: () => (lost += 1) });
  await using two = await openPeer(2, { book, arrivals: there.arrivals });
  const wire = await openWire(t, two.port);
  book.set(2, wire.port);
  one.transport.send(heartbeat(1, 2, 1));
  await eventually('the first arrives', () => (there.messages.length === 1 ? true : undefined));
  wire.cut();
  let sent = 1;
  await eventually('one arrives again', () => {
    sent += 1;
    one.transport.send(heartbeat(1, 2, sent));
    return there.messages.length > 1 ? true : undefined;
  });
  t.equal(wire.connections(), 2, 'on one fresh connection');
  t.ok(lost > 0, 'the member was told that messages may be lost');
});

t.test('a member that went away is told of, and found again when it is back', async t => {
  const book = new Map<PeerId, number>();
  const there = inbox();
  let lost = 0;
  await using one = await openPeer(1, { book, arrivals: inbox().arrivals, onUnreachable: () => (lost += 1) });
  await using two = await openPeer(2, { book, arrivals: there.arrivals });
  one.transport.send(heartbeat(1, 2, 1));
  await eventually('the first arrives', () => (there.messages.length === 1 ? true : undefined));
  await two.stopServer();
  await eventually('the loss is noticed', () => {
    one.transport.send(heartbeat(1, 2, 2));
    return lost > 0 ? true : undefined;
  });
  t.equal(one.transport.reached().size, 0);
  await two.startServer();
  await eventually('one arrives again', () => {
    one.transport.send(heartbeat(1, 2, 3));
    return there.messages.some(message => message.kind === 'heartbeat' && message.commit === 3) ? true : undefined;
  });
});

t.test('a member that nobody knows the place of is unreachable, at once', async t => {
  const lost: PeerId[] = [];
  await using one = await openPeer(1, {
    book: new Map(),
    arrivals: inbox().arrivals,
    onUnreachable: peer => void lost.push(peer),
  });
  one.transport.send(heartbeat(1, 9, 1));
  await eventually('it is said', () => (lost.length > 0 ? true : undefined));
  t.strictSame(lost[0], 9);
});

t.test('nobody speaks for a member of another node, nor to a member that is not there any more', async t => {
  const book = new Map<PeerId, number>();
  const there = inbox();
  let lost = 0;
  await using two = await openPeer(2, { book, arrivals: there.arrivals });
  await using thief = await openPeer(1, {
    book,
    arrivals: inbox().arrivals,
    as: 'node3',
    onUnreachable: () => (lost += 1),
  });
  thief.transport.send(heartbeat(1, 2, 1));
  await eventually('it is refused', () => (lost > 0 ? true : undefined));
  book.set(7, two.port);
  await using one = await openPeer(1, { book, arrivals: inbox().arrivals, onUnreachable: () => (lost += 10) });
  one.transport.send(heartbeat(1, 7, 1));
  await eventually('it is refused too', () => (lost >= 10 ? true : undefined));
  t.strictSame(there.messages, []);
});

t.test(
  'a member of a group that was made anew elsewhere is told so; one that knows nothing yet tells nobody',
  async t => {
    const book = new Map<PeerId, number>();
    const there = inbox();
    const told: CoveyError[] = [];
    let generation = 0;
    await using two = await openPeer(2, {
      book,
      arrivals: there.arrivals,
      history: () => ({ generation, removed: [] }),
    });
    book.set(7, two.port);
    let lost = 0;
    await using one = await openPeer(1, {
      book,
      arrivals: inbox().arrivals,
      homes: new Map([[7, 'node2']]),
      onSuperseded: error => void told.push(error),
      onUnreachable: () => (lost += 1),
    });
    one.transport.send(heartbeat(1, 7, 1));
    await eventually('it is refused', () => (lost > 0 ? true : undefined));
    t.strictSame(told, [], 'a wrong member only');
    generation = 3;
    await eventually('it is told', () => {
      one.transport.send(heartbeat(1, 7, 1));
      return told.length > 0 ? true : undefined;
    });
    t.match(told[0], { code: 'group-superseded', state: /number 1, the present one number 4/ });
    t.strictSame(there.messages, []);
  },
);

t.test('a member that was removed is not heard, whatever its certificate says', async t => {
  const book = new Map<PeerId, number>();
  const there = inbox();
  let removed: PeerId[] = [];
  await using _two = await openPeer(2, {
    book,
    arrivals: there.arrivals,
    history: () => ({ generation: 0, removed }),
  });
  let lost = 0;
  await using one = await openPeer(1, { book, arrivals: inbox().arrivals, onUnreachable: () => (lost += 1) });
  one.transport.send(heartbeat(1, 2, 1));
  await eventually('a member is heard', () => (there.messages.length === 1 ? true : undefined));
  removed = [3];
  await using gone = await openPeer(3, { book, arrivals: inbox().arrivals, onUnreachable: () => (lost += 10) });
  gone.transport.send(heartbeat(3, 2, 1));
  await eventually('the removed one is refused', () => (lost >= 10 ? true : undefined));
  const sent = new Promise<boolean>(resolve =>
    gone.transport.sendSnapshot({ ...snapshot, from: 3 }, { read: (_, answer) => answer(undefined) }, resolve),
  );
  t.equal(await sent, false, 'nor does it bring a snapshot');
  t.equal(there.messages.length, 1);
});

const snapshot: SnapshotRequest = {
  version: 1,
  kind: 'snapshot',
  from: 1,
  to: 2,
  term: 1,
  snapshot: {
    version: 1,
    index: 5,
    term: 1,
    confState: { voters: [1, 2], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
    data: new Uint8Array(0),
  },
};

t.test('a snapshot arrives part by part; one that was cut off goes on where it stopped', async t => {
  const book = new Map<PeerId, number>();
  const content = Buffer.from(Array.from({ length: 1_000 }, (_, place) => place % 251));
  const chunkBytes = 100;
  let received = Buffer.alloc(0);
  let breakAt: number | undefined = 300;
  const taken: SnapshotRequest[] = [];
  const begun: number[] = [];
  const there = inbox({
    beginSnapshot: (_message, answer) => {
      begun.push(received.length);
      answer(received.length);
    },
    snapshotChunk: (_message, { offset, bytes }, answer) => {
      if (offset === breakAt) {
        breakAt = undefined;
        answer(undefined);
        return;
      }
      received = Buffer.concat([received, bytes]);
      answer(received.length);
    },
    finishSnapshot: (message, totalBytes, answer) => {
      taken.push(message);
      answer(totalBytes === content.length);
    },
  });
  await using one = await openPeer(1, { book, arrivals: inbox().arrivals });
  await using _two = await openPeer(2, { book, arrivals: there.arrivals });
  const send = () =>
    new Promise<boolean>(resolve =>
      one.transport.sendSnapshot(
        snapshot,
        {
          read: (offset, answer) =>
            answer({ bytes: content.subarray(offset, offset + chunkBytes), totalBytes: content.length }),
        },
        resolve,
      ),
    );
  t.equal(await send(), false, 'the first call is cut off');
  t.equal(await send(), true);
  t.strictSame(begun, [0, 300]);
  t.ok(received.equals(content));
  t.match(taken, [{ kind: 'snapshot', from: 1, snapshot: { index: 5 } }]);
});
