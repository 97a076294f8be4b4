/** The end of another manager's process, as its machine tells it. */
import * as net from 'node:net';
import t from 'tap';
import { watchEnds } from '../../../src/daemon/peers/ended.js';
import { isRefused } from '../../../src/daemon/rpc/index.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { eventually, testLifetime } from '../node-fixtures.js';
import { anySignal } from '../plane-fixtures.js';

const { clock, random } = linuxHost;

t.test('nobody listens: refused; somebody does, or nothing is heard: not', async t => {
  const server = net.createServer(socket => socket.destroy());
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  t.equal(await isRefused({ host: '127.0.0.1', port }, anySignal()), false);
  await new Promise(resolve => server.close(resolve));
  t.equal(await isRefused({ host: '127.0.0.1', port }, anySignal()), true);
  t.equal(await isRefused({ host: '127.0.0.1', port }, AbortSignal.abort()), false, 'given up');
});

t.test('an end is told when it was seen twice, and only of the member that matters', async t => {
  await using lifetime = testLifetime();
  const asked: number[] = [];
  const told: number[] = [];
  const answers = new Map([
    [1, [true, true]],
    [2, [true, false]],
    [3, [false]],
    [4, [true, true]],
  ]);
  const broke = watchEnds({
    clock,
    random: { ...random, fraction: () => 0 },
    lifetime,
    matters: peer => peer !== 4 && !told.includes(peer),
    turnAfter: () => 0,
    isRefused: async peer => {
      asked.push(peer);
      return answers.get(peer)?.shift() ?? false;
    },
    onEnded: peer => void told.push(peer),
  });
  for (const peer of [1, 1, 2, 3, 4]) broke(peer);
  await eventually('all asked', () => asked.length === 6 && told.length === 1);
  t.same([...asked].sort(), [1, 1, 2, 2, 2, 3]);
  t.same(told, [1]);
});
