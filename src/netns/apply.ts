/**
 * Carries out what plan.ts says: addresses, routes and neighbours that packets will need, then the packet rules of fabric and
 * host, then what nothing needs any more; at last connections to backends that are gone are forgotten.
 *
 * `objects` is what the fabric has, as far as we know; it is brought up to date with each part that succeeds, so that a
 * failure in the middle is mended by the next call.
 *
 * Not here: what is wanted (wanted.ts), when (stack.ts).
 */
import type { Clock, NetlinkSocket } from '../host.js';
import { forgetFlows, forgetFlowsOf } from './conntrack.js';
import { type DeviceIndices, describe, type FabricObject, keyOf, removeRequest, setRequest } from './fabric-object.js';
import { type NetlinkRequest, sendRequests } from './netlink/message.js';
import type { ElementSets } from './nft/model.js';
import type { RuleTable } from './nft/table.js';
import { planFabric } from './plan.js';
import type { Wanted } from './wanted.js';

export interface ObjectTarget {
  readonly netlink: NetlinkSocket;
  readonly devices: () => DeviceIndices;
  readonly objects: Map<string, FabricObject>;
}

export interface ApplyTarget extends ObjectTarget {
  readonly fabricRules: RuleTable;
  readonly hostRules: RuleTable;
  /** Uplinks that forward to nothing but the fabric. */
  readonly guarded: readonly string[];
}

/**
 * Says what it changed, in words. With `verify`, packet rules are compared with what is really there; the caller has read
 * `objects` from the kernel then.
 */
export async function applyWanted(target: ApplyTarget, wanted: Wanted, verify: boolean): Promise<readonly string[]> {
  const { objects, fabricRules, hostRules } = target;
  const plan = planFabric(wanted.objects, objects);
  setObjects(target, plan.before);
  const host = hostElements(wanted, target.guarded);
  const mended: string[] = [];
  if (verify) {
    mended.push(...(await fabricRules.check(wanted.fabricRules.sets)), ...(await hostRules.check(host)));
  } else {
    await fabricRules.apply(wanted.fabricRules.sets);
    await hostRules.apply(host);
  }
  // What was attached or detached while the rules were on their way is another value by now, or none.
  const still = plan.after.filter(object => objects.get(keyOf(object)) === object);
  send(target, [...plan.replaced, ...still], removeRequest);
  for (const object of still) objects.delete(keyOf(object));
  return [
    ...plan.before.map(one => `set ${describe(one)}`),
    ...still.map(one => `removed ${describe(one)}`),
    ...mended,
  ];
}

function hostElements(wanted: Wanted, uplinks: readonly string[]): ElementSets {
  const named = (names: Iterable<string>): Map<string, string> => new Map([...names].map(name => [name, '']));
  const within = uplinks.map(name => `${name} . ${name}`);
  return {
    published: named(wanted.published),
    tunnels: named(wanted.tunnels),
    uplinks: named(uplinks),
    within: named(within),
  };
}

function setObjects(target: ObjectTarget, objects: readonly FabricObject[]): void {
  send(target, objects, setRequest);
  for (const object of objects) target.objects.set(keyOf(object), object);
}

export function removeObjects(target: ObjectTarget, objects: readonly FabricObject[]): void {
  send(target, objects, removeRequest);
  for (const object of objects) target.objects.delete(keyOf(object));
}

/** An object whose device is gone went with it. */
function send(
  { netlink, devices }: ObjectTarget,
  objects: readonly FabricObject[],
  encode: (object: FabricObject, devices: DeviceIndices) => NetlinkRequest | undefined,
): void {
  const indices = devices();
  const requests = objects.flatMap(object => encode(object, indices) ?? []);
  if (requests.length > 0) sendRequests(netlink, requests);
}

export interface ForgetOptions {
  readonly clock: Clock;
  readonly fabric: NetlinkSocket;
  readonly host: NetlinkSocket;
  readonly before: Wanted;
  readonly now: Wanted;
  readonly signal: AbortSignal;
}

export async function forgetConnections({ clock, fabric, host, before, now, signal }: ForgetOptions): Promise<void> {
  const missing = (had: ReadonlySet<string>, has: ReadonlySet<string>): string[] =>
    [...had].filter(one => !has.has(one));
  forgetFlowsOf(fabric, { replySources: missing(before.endpoints, now.endpoints) });
  await clock.sleep(0, signal);
  const draining = missing(before.serving, now.serving).filter(address => now.endpoints.has(address));
  forgetFlowsOf(fabric, { replySources: draining, protocol: 'udp' });
  // Packets that came before the port was published made an entry without a translation, and each further one renews it.
  for (const key of missing(now.published, before.published)) {
    const [protocol, port] = key.split(' . ');
    if (protocol === 'udp') forgetFlows(host, { protocol, port: Number(port) });
  }
}
