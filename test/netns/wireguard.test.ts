/** Whom a WireGuard device knows, as data. */
import t from 'tap';
import type { TableNode } from '../../src/gen/types.js';
import {
  isAsWanted,
  planPeers,
  renderPeers,
  secureAddress,
  secureDevice,
  securePort,
} from '../../src/netns/wireguard.js';
import { nodeId } from './lab.js';

interface NodeOptions {
  readonly epochs?: readonly number[];
  readonly behindNat?: boolean;
  readonly address?: string;
}

const text = (number: number, epoch: number): string => Buffer.alloc(32, number * 16 + epoch).toString('base64');

function node(number: number, options: NodeOptions = {}): TableNode {
  const { epochs = [1], behindNat = false, address = `192.0.2.${number}` } = options;
  return {
    nodeId: nodeId(number),
    name: `rack${number}`,
    tunnelIndex: number,
    dataAddresses: [address],
    dataPort: 7_378,
    tunnel: {
      keys: epochs.map(epoch => ({ epoch, publicKey: text(number, epoch), port: securePort(epoch, 7_378) })),
      behindNat,
    },
  };
}

const own = { nodeId: nodeId(1), tunnelIndex: 1 };
const peersOf = (nodes: readonly TableNode[], epoch = 1, identity = own) =>
  planPeers({ identity, nodes, relay: nodeId(3) }, epoch);

t.test('a node knows all others that have a key of the epoch, each by its own address alone', async t => {
  const nodes = [node(1), node(2, { address: 'fd00::2' }), node(3, { epochs: [1, 2] }), node(4, { epochs: [] })];
  t.strictSame(peersOf(nodes), [
    { publicKey: text(2, 1), endpoint: '[fd00::2]:7379', allowed: ['169.254.192.2'], keepalive: 0 },
    { publicKey: text(3, 1), endpoint: '192.0.2.3:7379', allowed: ['169.254.192.3'], keepalive: 0 },
  ]);
  t.strictSame(
    peersOf(nodes, 2).map(peer => [peer.endpoint, peer.allowed]),
    [['192.0.2.3:7378', ['169.254.128.3']]],
  );
});

t.test('two epochs that follow one another share neither device, nor port, nor address', async t => {
  for (const epoch of [1, 2, 17]) {
    t.not(secureDevice(epoch), secureDevice(epoch + 1));
    t.not(securePort(epoch, 7_378), securePort(epoch + 1, 7_378));
    t.not(secureAddress(16_383, epoch), secureAddress(16_383, epoch + 1));
  }
});

t.test('a node behind a NAT calls, is called by nobody, and reaches others of its kind through the relay', async t => {
  const nodes = [node(1, { behindNat: true }), node(2), node(3), node(4, { behindNat: true })];
  t.strictSame(peersOf(nodes), [
    { publicKey: text(2, 1), endpoint: '192.0.2.2:7379', allowed: ['169.254.192.2'], keepalive: 25 },
    { publicKey: text(3, 1), endpoint: '192.0.2.3:7379', allowed: ['169.254.192.3', '169.254.192.4'], keepalive: 25 },
  ]);
  const relay = peersOf(nodes, 1, { nodeId: nodeId(3), tunnelIndex: 3 });
  t.strictSame(
    relay.map(peer => [peer.publicKey, peer.endpoint, peer.allowed]),
    [
      [text(1, 1), undefined, ['169.254.192.1']],
      [text(2, 1), '192.0.2.2:7379', ['169.254.192.2']],
      [text(4, 1), undefined, ['169.254.192.4']],
    ],
  );
});

t.test('what the device has is compared with what it should have, but for where a peer was seen last', async t => {
  const nodes = [node(1), node(2), node(3, { behindNat: true })];
  const device = { privateKey: text(1, 1), port: 7_379, peers: peersOf(nodes) };
  t.match(renderPeers(device), /^\[Interface\]\nPrivateKey = \S+\nListenPort = 7379\n\[Peer\]\n/);
  const line = (number: number, more: Partial<Record<'endpoint' | 'allowed' | 'keepalive', string>> = {}): string =>
    [
      text(number, 1),
      '(none)',
      more.endpoint ?? '198.51.100.7:999',
      more.allowed ?? `169.254.192.${number}/32`,
      ...['0', '0', '0'],
      more.keepalive ?? 'off',
    ].join('\t');
  const dump = (first: string, ...lines: readonly string[]): string => `${[first, ...lines].join('\n')}\n`;
  const head = [text(1, 1), 'public', '7379', 'off'].join('\t');
  t.ok(isAsWanted(dump(head, line(3), line(2)), device));
  for (const [what, seen] of [
    ['another key', dump(head.replace(text(1, 1), text(9, 1)), line(2), line(3))],
    ['another port', dump(head.replace('7379', '7378'), line(2), line(3))],
    ['a peer too few', dump(head, line(2))],
    ['a peer too many', dump(head, line(2), line(3), line(4))],
    ['another address', dump(head, line(2, { allowed: '0.0.0.0/0' }), line(3))],
    ['no endpoint', dump(head, line(2, { endpoint: '(none)' }), line(3))],
    ['another period', dump(head, line(2, { keepalive: '25' }), line(3))],
    ['nothing', ''],
  ] as const) {
    t.notOk(isAsWanted(seen, device), what);
  }
});
