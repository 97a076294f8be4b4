import t from 'tap';
import { type FabricObject, keyOf, removeRequest, setRequest } from '../../src/netns/fabric-object.js';
import { makeVeth, removeLink } from '../../src/netns/netlink/links.js';
import type { NetlinkMessage } from '../../src/netns/netlink/message.js';
import { setNeighbour } from '../../src/netns/netlink/neighbours.js';
import { setRoute } from '../../src/netns/netlink/routes.js';
import { findNews } from '../../src/netns/news.js';

const devices = new Map([
  ['cv0', 3],
  ['v00000000000001', 1_000],
]);
const route: FabricObject = {
  kind: 'route',
  table: 254,
  destination: '10.0.1.5/32',
  device: 'cv0',
  via: '169.254.64.2',
};
const neighbour: FabricObject = { kind: 'neighbour', device: 'cv0', address: '169.254.64.2', mac: '02:c0:00:00:00:02' };
const forwarding: FabricObject = {
  kind: 'forwarding',
  device: 'cv0',
  mac: '02:c0:00:00:00:02',
  destination: '192.0.2.2',
};
const rule: FabricObject = { kind: 'rule', priority: 100, mark: 0x10000, table: 1001 };
const all: readonly FabricObject[] = [route, neighbour, forwarding, rule];
const known = { objects: new Map(all.map(object => [keyOf(object), object])), devices };

/** As the kernel tells of it: the request that leads to it says the same. */
function told(...requests: readonly (Pick<NetlinkMessage, 'type' | 'payload'> | undefined)[]): NetlinkMessage[] {
  return requests.flatMap(request => (request === undefined ? [] : [{ ...request, flags: 0 }]));
}

const set = (object: FabricObject) => setRequest(object, devices);
const removed = (object: FabricObject) => removeRequest(object, devices);

function link(options: { readonly name: string; readonly index: number; readonly up?: boolean }) {
  const { name, index, up = true } = options;
  const { type, payload } = makeVeth({ near: { name, index }, far: { name: 'eth0', namespaceFd: 0 }, mtu: 1_450 });
  const bytes = Buffer.from(payload);
  if (!up) bytes.writeUInt32LE(0, 8);
  return { type, payload: bytes };
}

t.test('what is known is no news, however often it is told', async t => {
  t.equal(findNews(told(...all.map(set), ...all.map(set)), known), undefined);
  t.equal(findNews([], known), undefined);
});

t.test('only the last word about a thing counts', async t => {
  for (const object of all) {
    t.equal(findNews(told(removed(object), set(object)), known), undefined, object.kind);
    t.match(findNews(told(set(object), removed(object)), known), /^gone: /, object.kind);
  }
  const passing: FabricObject = { ...route, destination: '10.0.1.6/32' };
  t.equal(findNews(told(set(passing), removed(passing)), known), undefined, 'came and went');
});

t.test('another value, and what nobody wants, is news', async t => {
  t.match(findNews(told(set({ ...route, via: '169.254.64.3' })), known), /^other: route 254 10\.0\.1\.5/);
  t.match(findNews(told(set({ ...route, destination: '10.0.1.6/32' })), known), /^other: route/);
  t.match(findNews(told(set({ ...neighbour, mac: '02:c0:00:00:00:03' })), known), /^other: neighbour/);
  t.match(findNews(told(set({ ...rule, table: 5 })), known), /^other: rule/);
});

t.test('what the kernel does by itself, and routes of others, are none', async t => {
  const foreign = setRoute({ destination: '10.9.0.0/16', table: 254, kind: 'unicast', index: 3 });
  foreign.payload[5] = 3; // RTPROT_BOOT
  t.equal(findNews(told(foreign), known), undefined);
  const learned = setNeighbour({ index: 3, address: '169.254.64.9', mac: '02:c0:00:00:00:09' });
  learned.payload.writeUInt16LE(2, 8); // NUD_REACHABLE
  t.equal(findNews(told(learned), known), undefined);
  const failed = setNeighbour({ index: 3, address: '169.254.64.2', mac: '02:c0:00:00:00:02' });
  failed.payload.writeUInt16LE(0x20, 8); // NUD_FAILED
  t.match(findNews(told(failed), known), /^gone: neighbour/, 'but one of ours that is no longer permanent is');
});

t.test('links: gone, down, renamed or made anew', async t => {
  const task = { name: 'v00000000000001', index: 1_000 };
  t.equal(findNews(told(link(task)), known), undefined);
  t.match(findNews(told(removeLink(task)), known), /^gone: link v0/);
  t.match(findNews(told(link({ ...task, up: false })), known), /^down: link/);
  t.match(findNews(told(link({ ...task, name: 'other' })), known), /^renamed: link/);
  t.match(findNews(told(link({ ...task, index: 1_001 })), known), /^other: link/);
  t.equal(findNews(told(link({ ...task, up: false }), link(task)), known), undefined, 'down for a moment');
  const leaving = { name: 'v00000000000002', index: 1_002 };
  t.equal(
    findNews(told(link({ ...leaving, up: false }), removeLink(leaving)), known),
    undefined,
    'of a task that left',
  );
});
