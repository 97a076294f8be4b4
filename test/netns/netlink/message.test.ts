import t from 'tap';
import { errnoOf } from '../../../src/errors.js';
import type { NetlinkSocket } from '../../../src/host.js';
import {
  attribute,
  dump,
  encodeMessage,
  type NetlinkRequest,
  nested,
  readAttributes,
  sendRequests,
  text,
  textOf,
  u32,
} from '../../../src/netns/netlink/message.js';

/** Answers to a batch: an errno for each message of it, by its number. */
function socketThat(
  answer: (batch: Buffer, count: number) => Uint8Array[],
): NetlinkSocket & { readonly batches: number[] } {
  const batches: number[] = [];
  return {
    batches,
    talk: (batch, count) => {
      batches.push(count);
      return answer(Buffer.from(batch), count);
    },
    [Symbol.dispose]: () => undefined,
  };
}

function acknowledgement(sequence: number, errno: number, words?: string): Buffer {
  const body = Buffer.alloc(20);
  body.writeInt32LE(-errno, 0);
  const extra = words === undefined ? Buffer.alloc(0) : attribute(1, text(words));
  return encodeMessage(
    { type: 2, flags: 0x100 | (words === undefined ? 0 : 0x200), payload: Buffer.concat([body, extra]) },
    sequence,
  );
}

const request = (about: string, harmless?: number[]): NetlinkRequest => ({
  type: 16,
  flags: 0,
  payload: Buffer.alloc(16),
  about,
  ...(harmless === undefined ? {} : { harmless }),
});

t.test('attributes nest and come back', async t => {
  const bytes = nested(18, attribute(1, text('veth')), attribute(2, u32(7)));
  const outer = readAttributes(bytes);
  const inner = readAttributes(outer.get(18) ?? Buffer.alloc(0));
  t.equal(textOf(inner.get(1)), 'veth');
  t.equal(inner.get(2)?.readUInt32LE(0), 7);
  t.equal(bytes.length % 4, 0, 'padded');
  t.same(readAttributes(Buffer.from([3, 0, 1, 0])), new Map(), 'an attribute shorter than its head ends the list');
});

t.test('the error of a batch names the object, the errno and the kernel’s words', async t => {
  const socket = socketThat((_batch, count) => [
    acknowledgement(1, 0),
    acknowledgement(2, 17, 'it is there'),
    acknowledgement(count, 0),
  ]);
  try {
    sendRequests(socket, [request('a'), request('make link x'), request('c')]);
    t.fail('no error');
  } catch (error) {
    t.match(error, { code: 'netlink-refused', message: 'Cannot make link x', state: 'it is there' });
    t.equal(errnoOf(error instanceof Error ? error.cause : undefined), 'EEXIST');
  }
});

t.test('what is harmless is no error, and a failure does not keep later batches from being sent', async t => {
  sendRequests(
    socketThat(() => [acknowledgement(1, 17)]),
    [request('a', [17])],
  );
  const socket = socketThat((_batch, count) =>
    Array.from({ length: count }, (_, at) => acknowledgement(at + 1, at === 0 ? 1 : 0)),
  );
  t.throws(
    () =>
      sendRequests(
        socket,
        Array.from({ length: 450 }, () => request('x')),
      ),
    { code: 'netlink-refused' },
  );
  t.same(socket.batches, [200, 200, 50]);
});

t.test('an interrupted dump begins anew, and its error is an error', async t => {
  let turn = 0;
  const done = encodeMessage({ type: 3, flags: 0, payload: Buffer.alloc(4) }, 1);
  const socket = socketThat(() => {
    turn += 1;
    return [encodeMessage({ type: 16, flags: turn === 1 ? 0x10 : 0, payload: Buffer.from([turn]) }, 1), done];
  });
  t.same(
    dump(socket, { type: 18, payload: Buffer.alloc(16), about: 'list' }).map(message => message.payload[0]),
    [2],
  );
  const failed = Buffer.alloc(4);
  failed.writeInt32LE(-1, 0);
  const broken = socketThat(() => [encodeMessage({ type: 3, flags: 0, payload: failed }, 1)]);
  t.throws(() => dump(broken, { type: 18, payload: Buffer.alloc(16), about: 'list links' }), {
    message: 'Cannot list links',
  });
});
