/**
 * What the kernel told of changes in the fabric, against what is known of it: our own changes come back as news as well, and
 * say nothing new. So most looks at the fabric cost nothing but the question whether there is any news.
 *
 * Only the last message about a thing counts, since what is known is brought up to date before anybody listens. Routes of a
 * link that goes down or away vanish without a word; the link itself is told.
 *
 * Pure. Called by plane.ts. Not here: what is done then (a look at everything), packet rules (nft/generation.ts).
 */
import { type DeviceIndices, describe, type FabricObjects, isSame, keyOf, objectOf } from './fabric-object.js';
import { isLinkMessage, parseLink } from './netlink/links.js';
import { isRemoval, type NetlinkMessage } from './netlink/message.js';

/** Groups of rtnetlink (RTNLGRP_…). */
const groups = { link: 1, neighbour: 3, address: 5, route: 7, rule: 8, switches: 24 };

/** All that the fabric is made of. */
export const fabricGroups: readonly number[] = [
  groups.link,
  groups.neighbour,
  groups.address,
  groups.route,
  groups.rule,
];

/** The host's links and addresses, and forwarding. */
export const hostGroups: readonly number[] = [groups.link, groups.address, groups.switches];

export interface FabricKnown {
  readonly objects: FabricObjects;
  readonly devices: DeviceIndices;
}

/** The first thing that is not as it is known, in words; undefined: all is. */
export function findNews(messages: readonly NetlinkMessage[], { objects, devices }: FabricKnown): string | undefined {
  const names = new Map([...devices].map(([name, index]) => [index, name]));
  const links = messages.filter(isLinkMessage);
  const linkNews = findLinkNews(links, names, devices);
  if (linkNews !== undefined) return linkNews;
  for (const link of links.map(message => parseLink(message.payload))) names.set(link.index, link.name);
  const last = new Map<string, NetlinkMessage>();
  const nameOf = (index: number): string => names.get(index) ?? `link ${index}`;
  for (const message of messages) {
    const found = objectOf(message, nameOf);
    if (found !== undefined) last.set(keyOf(found.object), message);
  }
  for (const [key, message] of last) {
    const found = objectOf(message, nameOf);
    const known = objects.get(key);
    const now = found === undefined || !found.isOurs || isRemoval(message) ? undefined : found.object;
    if (now === undefined && known !== undefined) return `gone: ${describe(known)}`;
    if (now !== undefined && (known === undefined || !isSame(known, now))) return `other: ${describe(now)}`;
  }
  return undefined;
}

/** A known link is up, and has its index and name. What is not known comes and goes with tasks. */
function findLinkNews(
  messages: readonly NetlinkMessage[],
  names: ReadonlyMap<number, string>,
  devices: DeviceIndices,
): string | undefined {
  const last = new Map(messages.map(message => [parseLink(message.payload).index, message]));
  for (const [index, message] of last) {
    const link = parseLink(message.payload);
    const known = names.get(index);
    if (known === undefined) {
      if (devices.has(link.name) && !isRemoval(message)) return `other: link ${link.name}`;
    } else if (isRemoval(message)) return `gone: link ${known}`;
    else if (link.name !== known) return `renamed: link ${known}`;
    else if (!link.up) return `down: link ${known}`;
  }
  return undefined;
}
