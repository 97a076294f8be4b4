import t from 'tap';
import { openChannel } from '../src/channel.js';

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

t.test('what is pushed comes out in order and the end follows it', async t => {
  const channel = openChannel<number>(500);
  for (let i = 0; i < 300; i += 1) channel.push(i);
  channel.close();
  t.same(
    await collect(channel),
    Array.from({ length: 300 }, (_, i) => i),
  );
});

t.test('a full channel refuses, and says when there is room', async t => {
  const channel = openChannel<string>(1);
  t.equal(channel.push('a'), true);
  t.equal(channel.push('b'), false);
  const room = channel.room();
  const iterator = channel[Symbol.asyncIterator]();
  t.same(await iterator.next(), { done: false, value: 'a' });
  await room;
  t.equal(channel.push('b'), true);
});

t.test('a failure reaches the reader after the items before it', async t => {
  const channel = openChannel<string>(5);
  channel.push('a');
  channel.fail(new Error('broken'));
  const iterator = channel[Symbol.asyncIterator]();
  t.same(await iterator.next(), { done: false, value: 'a' });
  await t.rejects(iterator.next(), { message: 'broken' });
});

t.test('a reader that leaves ends the channel for the writer', async t => {
  const channel = openChannel<string>(5);
  channel.push('a');
  for await (const item of channel) {
    t.equal(item, 'a');
    break;
  }
  t.equal(channel.ended(), true);
  t.equal(channel.push('b'), false);
});

t.test('a reader that waits is woken by a push', async t => {
  const channel = openChannel<string>(5);
  const waiting = channel[Symbol.asyncIterator]().next();
  channel.push('late');
  t.same(await waiting, { done: false, value: 'late' });
});
