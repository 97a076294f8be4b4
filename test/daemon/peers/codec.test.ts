import t from 'tap';
import { fromWire, toWire } from '../../../src/daemon/peers/codec.js';
import { wire } from '../node-fixtures.js';
import { messages } from './messages.js';

const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_key, part) => (part?.type === 'Buffer' ? [...part.data] : part)));
const bytesAsLists = (value: unknown): unknown =>
  plain(JSON.parse(JSON.stringify(value, (_key, part) => (part instanceof Uint8Array ? [...part] : part))));

for (const message of Object.values(messages)) {
  t.test(`a ${message.kind} arrives as it was sent`, async t => {
    const codec = wire.type('RaftMessage');
    const back = fromWire(codec.decode(codec.encode(toWire(message))));
    t.strictSame(bytesAsLists(back), bytesAsLists(message));
  });
}

t.test('a message of a kind that is not known is refused, not guessed', async t => {
  t.throws(() => wire.type('RaftMessage').decode(new Uint8Array([8, 1, 16, 1])), { code: 'unknown-value' });
});
