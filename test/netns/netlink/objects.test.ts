import t from 'tap';
import type { NetlinkSocket } from '../../../src/host.js';
import { changeLink, makeVeth, makeVxlan, parseLink } from '../../../src/netns/netlink/links.js';
import { encodeMessage, type NetlinkRequest, readAttributes } from '../../../src/netns/netlink/message.js';
import { parseForwarding, parseNeighbour, setForwarding, setNeighbour } from '../../../src/netns/netlink/neighbours.js';
import * as routes from '../../../src/netns/netlink/routes.js';

/** The kernel lists what it was told: a dump answers with the payloads of the requests. */
function echo(requests: readonly NetlinkRequest[]): NetlinkSocket {
  const done = encodeMessage({ type: 3, flags: 0, payload: Buffer.alloc(4) }, 1);
  return {
    talk: () => [...requests.map(request => encodeMessage({ ...request, flags: 2 }, 1)), done],
    [Symbol.dispose]: () => undefined,
  };
}

t.test('each object reads back as it was written', async t => {
  const address = { index: 3, prefix: '10.0.0.5/32' };
  t.same(routes.listAddresses(echo([routes.addAddress(address)])), [address]);

  const table: routes.Route[] = [
    {
      destination: '10.0.0.5/32',
      table: 254,
      kind: 'unicast',
      index: 7,
      via: undefined,
      onlink: false,
      source: undefined,
    },
    {
      destination: '0.0.0.0/0',
      table: 262_146,
      kind: 'unicast',
      index: 4,
      via: '169.254.64.2',
      onlink: true,
      source: undefined,
    },
    {
      destination: '0.0.0.0/0',
      table: 254,
      kind: 'unicast',
      index: 2,
      via: '169.254.1.1',
      onlink: false,
      source: '10.0.0.5',
    },
    {
      destination: '10.0.0.0/24',
      table: 254,
      kind: 'unreachable',
      index: 0,
      via: undefined,
      onlink: false,
      source: undefined,
    },
  ];
  const seen = routes.listRoutes(echo(table.map(routes.setRoute)));
  t.same(
    seen,
    table.map(route => ({ ...route, protocol: routes.routeProtocol })),
  );

  const rule = { priority: 102, mark: 0x40002, table: 0x40002 };
  t.same(routes.parseRule(routes.addRule(rule).payload), rule);
  const [local] = routes.basicRules;
  t.same(local && routes.parseRule(routes.addRule(local).payload), local, 'one of the kernel’s own');
  t.same(routes.parseRule(routes.addRule({ priority: 32_767, mark: 0, table: 253 }).payload), undefined);

  const neighbour = { index: 9, address: '169.254.64.2', mac: '02:c0:00:00:00:02' };
  t.same(parseNeighbour(setNeighbour(neighbour).payload), { ...neighbour, permanent: true });

  const entry = { index: 9, mac: '02:c0:00:00:00:02', destination: '192.0.2.2', port: 7379 };
  t.same(parseForwarding(setForwarding(entry).payload), entry);
  t.same(parseNeighbour(setForwarding(entry).payload), undefined, 'neither is the other');
  t.same(parseForwarding(setNeighbour(neighbour).payload), undefined);
});

t.test('links read back', async t => {
  const veth = makeVeth({
    near: { name: 'vabc', index: 1_000, mac: '02:c1:00:00:00:01', group: 7377 },
    far: { name: 'eth0', index: 2, namespaceFd: 9 },
    mtu: 1_450,
  });
  t.same(parseLink(veth.payload), {
    index: 1_000,
    name: 'vabc',
    mac: '02:c1:00:00:00:01',
    mtu: 1_450,
    up: true,
    group: 7377,
    kind: 'veth',
  });
  const vxlan = makeVxlan({
    name: 'cv0',
    vni: 0x123456,
    local: '192.0.2.1',
    port: 7378,
    mac: '02:c0:00:00:00:01',
    mtu: 1_450,
    namespaceFd: 9,
  });
  t.match(parseLink(vxlan.payload), {
    name: 'cv0',
    kind: 'vxlan',
    up: false,
    vxlan: { vni: 0x123456, local: '192.0.2.1', port: 7378 },
  });
});

t.test('switches of a link are set before it comes up', async t => {
  const requests = changeLink({ index: 2, up: true, inet: new Map([[26, 1]]), quietV6: true }, 'bring up eth0');
  t.equal(requests.length, 2);
  const [switches, up] = requests.map(request => request.payload);
  t.equal(switches?.readUInt32LE(8), 0, 'the first leaves the flags');
  t.ok(readAttributes(switches ?? Buffer.alloc(0), 16).has(26));
  t.equal(up?.readUInt32LE(8), 1);
  t.equal(changeLink({ index: 2, up: true }, '').length, 1);
  t.equal(changeLink({ index: 2 }, '').length, 0);
});
