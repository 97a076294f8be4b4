/** Managers of this version and of the next one, over real links: what both know they say, what one does not know it drops or refuses. */
import grpc from '@grpc/grpc-js';
import t from 'tap';
import { toWire } from '../../../src/daemon/peers/codec.js';
import { peerHandlers } from '../../../src/daemon/peers/serve.js';
import type { CallContext } from '../../../src/grpc.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { type Message, messageVersion, type PeerId } from '../../../src/raft/core/types.js';
import { refuseNewer } from '../../../src/raft/node/apply-queue.js';
import type { Arrivals } from '../../../src/raft/transport.js';
import { peerProtocols } from '../../../src/version.js';
import { eventually, silent, wire } from '../node-fixtures.js';
import { openPeer } from './rig.js';

const heartbeat = (from: PeerId, to: PeerId, commit: number): Message => ({
  version: messageVersion,
  kind: 'heartbeat',
  from,
  to,
  term: 1,
  commit,
  readCount: 0,
});

function inbox() {
  const messages: Message[] = [];
  const none = (): void => undefined;
  const arrivals: Arrivals = {
    receive: message => void messages.push(message),
    beginSnapshot: (_, answer) => answer(undefined),
    snapshotChunk: (_, _chunk, answer) => answer(undefined),
    finishSnapshot: (_, _bytes, answer) => answer(false),
    unreachable: none,
    ended: none,
  };
  return { messages, arrivals: () => arrivals };
}

t.test(
  'a manager of the next version, which still speaks this one, and one of this version talk both ways',
  async t => {
    const book = new Map<PeerId, number>();
    const [present, next] = [inbox(), inbox()];
    await using one = await openPeer(1, { book, arrivals: present.arrivals });
    await using two = await openPeer(2, {
      book,
      arrivals: next.arrivals,
      protocols: { min: peerProtocols.min, max: peerProtocols.max + 1 },
    });
    one.transport.send(heartbeat(1, 2, 5));
    two.transport.send(heartbeat(2, 1, 6));
    await eventually('both arrive', () => present.messages.length === 1 && next.messages.length === 1);
    t.match(present.messages, [{ from: 2, commit: 6 }]);
    t.match(next.messages, [{ from: 1, commit: 5 }]);
  },
);

t.test('one that speaks the next version only is not heard, and hears nobody', async t => {
  const book = new Map<PeerId, number>();
  const [present, next] = [inbox(), inbox()];
  const lost: PeerId[] = [];
  const onUnreachable = (peer: PeerId): void => void lost.push(peer);
  const range = { min: peerProtocols.max + 1, max: peerProtocols.max + 1 };
  await using one = await openPeer(1, { book, arrivals: present.arrivals, onUnreachable });
  await using two = await openPeer(2, { book, arrivals: next.arrivals, onUnreachable, protocols: range });
  one.transport.send(heartbeat(1, 2, 5));
  two.transport.send(heartbeat(2, 1, 6));
  await eventually('both are told', () => lost.includes(1) && lost.includes(2));
  t.strictSame([...present.messages, ...next.messages], []);
});

t.test('a message of a kind that is not known here is dropped alone: those around it arrive', async t => {
  const { messages, arrivals } = inbox();
  const raft = peerHandlers({
    own: 1,
    wire,
    clock: linuxHost.clock,
    log: silent,
    arrivals,
    findNode: () => 'node2',
    protocols: peerProtocols,
    history: () => ({ generation: 0, removed: [] }),
  });
  const codec = wire.type('RaftMessage');
  const known = (commit: number) => codec.encode(toWire(heartbeat(2, 1, commit)));
  // version, from, to, and a body with number 30.
  const unknown = new Uint8Array([0x08, 0x02, 0x10, 0x02, 0x18, 0x01, 0xf2, 0x01, 0x00]);
  const ending = new AbortController();
  const context: CallContext = {
    caller: { kind: 'node', nodeId: 'node2', clusterId: 'c', role: 'manager', serial: '' },
    signal: ending.signal,
    metadata: new grpc.Metadata(),
  };
  async function* frames() {
    const { min, max } = peerProtocols;
    const hello = { protocolMin: min, protocolMax: max + 1, from: 2, to: 1, generation: 0 };
    yield { sequence: 1, hello, messages: [known(1), unknown, known(2)] };
    yield { sequence: 2, hello: undefined, messages: [unknown, known(3)] };
  }
  for await (const _ of raft.link(frames(), context)) break;
  await eventually('all that is known arrives', () => messages.length === 3);
  t.match(
    messages.map(message => message.kind === 'heartbeat' && message.commit),
    [1, 2, 3],
  );
});

t.test('an entry of a newer version is applied by nobody who does not know it, and never skipped', async t => {
  const entry = { kind: 'normal' as const, version: 1, term: 3, index: 10, data: new Uint8Array(0) };
  t.doesNotThrow(() => refuseNewer(entry));
  t.throws(() => refuseNewer({ ...entry, version: 99 }), {
    code: 'newer-schema',
    message: /entry 10 of the log: it is of version 99/,
    state: /knows versions up to \d+; it stops here rather than skip it/,
  });
});
