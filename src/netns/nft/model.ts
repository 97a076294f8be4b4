/**
 * Packet rules as data: a skeleton of chains that changes only with the version of covey, and named sets and maps whose
 * elements change all the time. From wanted and seen elements to the commands of one transaction.
 *
 * A service with n backends is one element that leads to the chain `pick<n>`, shared by all services with n backends, and n
 * elements that say which backend stands at which place. So any change is a handful of elements, whatever the number of
 * services, and never a chain or a rule (measured: 0.2 ms with 1,000 services of 3 backends).
 *
 * Not here: the text of the skeletons (skeleton.ts), reading rules back (listing.ts), running commands (table.ts).
 */

/** Declarations of the fabric's sets; the elements of a map have a value. */
export const fabricSets = {
  vips: 'map { type ipv4_addr : verdict; }',
  backends: 'map { type ipv4_addr . mark : ipv4_addr; }',
  'refused-vips': 'set { type ipv4_addr; }',
  ports: 'map { type inet_proto . inet_service : verdict; }',
  'port-backends': 'map { type inet_proto . inet_service . mark : ipv4_addr . inet_service; }',
  'refused-ports': 'set { type inet_proto . inet_service; }',
  'node-addresses': 'set { type ipv4_addr; }',
  entries: 'map { type ether_addr : mark; }',
  zones: 'map { typeof ether saddr : ct zone; }',
  pairs: 'set { type ipv4_addr . ipv4_addr; flags interval; }',
  internal: 'set { type ipv4_addr; flags interval; }',
  metadata: 'set { type ipv4_addr; flags interval; }',
  // Networks with a policy: the number of the service that an address belongs to, and where its tasks may connect to.
  groups: 'map { type ipv4_addr : mark; }',
  allowed: 'set { type mark . ipv4_addr; }',
  'allowed-ports': 'set { type mark . ipv4_addr . inet_proto . inet_service; flags interval; }',
  hairpin: 'set { type ipv4_addr . ipv4_addr; }',
} as const;

export const hostSets = {
  published: 'set { type inet_proto . inet_service; }',
  tunnels: 'set { type inet_service; }',
  uplinks: 'set { type ifname; }',
  // Each uplink with itself: what passes between the ports of a bridge is shown to the host's hooks as if it was routed
  // (br_netfilter), with the bridge on both sides.
  within: 'set { type ifname . ifname; }',
} as const;

/** Elements of each set: key to value, the empty text for sets. */
export type RuleSets = { readonly [Name in keyof typeof fabricSets]: Map<string, string> };

export type ElementSets = Readonly<Record<string, ReadonlyMap<string, string>>>;

export interface RulesWanted {
  readonly sets: ElementSets;
}

export function ruleSets(): RuleSets {
  const none = (): Map<string, string> => new Map();
  return {
    vips: none(),
    backends: none(),
    'refused-vips': none(),
    ports: none(),
    'port-backends': none(),
    'refused-ports': none(),
    'node-addresses': none(),
    entries: none(),
    zones: none(),
    pairs: none(),
    internal: none(),
    metadata: none(),
    groups: none(),
    allowed: none(),
    'allowed-ports': none(),
    hairpin: none(),
  };
}

export interface ElementChange {
  readonly set: string;
  readonly removed: readonly string[];
  readonly added: readonly (readonly [key: string, value: string])[];
}

/** A changed value is a removal and an addition. */
export function planElements(wanted: ElementSets, seen: ElementSets): ElementChange[] {
  return Object.entries(wanted).flatMap(([set, elements]) => {
    const there = seen[set] ?? new Map<string, string>();
    const removed = [...there].filter(([key, value]) => elements.get(key) !== value).map(([key]) => key);
    const added = [...elements].filter(([key, value]) => there.get(key) !== value);
    return removed.length === 0 && added.length === 0 ? [] : [{ set, removed, added }];
  });
}

/** Chains of choice that the elements lead to: "pick3", "port2", "stick64", "hold64". */
export function choicesOf(sets: ElementSets): Set<string> {
  const targets = [...(sets['vips']?.values() ?? []), ...(sets['ports']?.values() ?? [])];
  return new Set(targets.map(target => target.replace('goto ', '')));
}

/** One transaction. `table` is "inet covey". Removals first: an element that changes its value is in both. */
export function renderChanges(table: string, changes: readonly ElementChange[]): string {
  const lines: string[] = [];
  for (const { set, removed } of changes) {
    if (removed.length > 0) lines.push(`delete element ${table} ${set} { ${removed.map(quoteKey).join(', ')} }`);
  }
  for (const { set, added } of changes) {
    if (added.length === 0) continue;
    const elements = added.map(([key, value]) => (value === '' ? quoteKey(key) : `${quoteKey(key)} : ${value}`));
    lines.push(`add element ${table} ${set} { ${elements.join(', ')} }`);
  }
  return lines.map(line => `${line}\n`).join('');
}

/** Names of links, alone or in pairs, may be words of nft's language. */
function quoteKey(key: string): string {
  const parts = key.split(' . ');
  return parts.every(part => /^[a-z][^ :]*$/i.test(part)) ? parts.map(part => `"${part}"`).join(' . ') : key;
}
