/** Which manager a node finds when some of those that it knows do not answer. Real sockets. */
import * as net from 'node:net';
import t, { type Test } from 'tap';
import { makeDial } from '../../../src/daemon/session/dial.js';
import type { ManagerAddress } from '../../../src/gen/types.js';
import type { Clock } from '../../../src/host.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { asId, type NodeId } from '../../../src/ids.js';
import { anySignal, wire } from '../node-fixtures.js';
import { startManager, startWorker } from '../node-rig.js';

const { clock: real, random } = linuxHost;

/** Takes connections and never says a word. */
async function openMute(t: Test): Promise<string> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer(socket => void sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
}

t.test(
  'a leader that says nothing holds nobody up, and when it is named again it is given all its time first',
  async t => {
    const manager = await startManager(t);
    const { identity } = await startWorker(t, manager, { name: 'w1' });
    const addressed = (nodeId: string, address: string, leader: boolean): ManagerAddress => ({
      nodeId: asId<NodeId>(nodeId),
      addresses: [address],
      leader,
      raftId: 0,
    });
    const mute = addressed('mute', await openMute(t), true);
    const other = addressed(manager.member.membership.nodeId, manager.address, false);
    let clock: Clock = real;
    const events: string[] = [];
    const dial = makeDial({
      identity,
      wire,
      clock: { ...real, after: (...args) => clock.after(...args), sleep: (...args) => clock.sleep(...args) },
      random,
      reach: {
        reached: () => void events.push('reached'),
        failed: ({ nodeId }) => void events.push(`${nodeId} failed`),
        unreached: () => [],
      },
      findLocal: () => undefined,
    });
    const dialOnce = async (managers: readonly ManagerAddress[]): Promise<string | undefined> => {
      await using connection = await dial(managers, anySignal());
      return connection.reached?.nodeId;
    };
    const forever = { cancel: () => undefined };

    clock = { ...real, after: () => forever };
    t.equal(await dialOnce([mute, other]), other.nodeId, 'the mute one never fails');
    t.same(events.splice(0), ['reached']);

    clock = { ...real, sleep: (_, signal) => real.sleep(2 ** 30, signal) };
    t.equal(await dialOnce([mute, other]), other.nodeId, 'no head start ends by itself');
    t.same(events.splice(0), ['mute failed', 'reached']);

    clock = real;
    t.equal(await dialOnce([{ ...other, leader: true }]), other.nodeId);
    clock = { ...real, after: () => forever };
    t.equal(await dialOnce([mute, other]), other.nodeId, 'after another leader it begins anew');
    t.same(events.splice(0), ['reached', 'reached']);
  },
);
