/**
 * The chains of the two tables, in the fabric and in the host's namespace: everything that does not change while the daemon
 * runs. A new version of covey with another skeleton replaces the whole table in one transaction; connections live on in
 * conntrack.
 *
 * Packets name devices by name (iifname), because libnftables looks indices up in the namespace of the caller.
 *
 * Not here: elements of the sets (../wanted.ts, model.ts).
 */
import {
  deviceHost,
  deviceIngress,
  deviceOverlay,
  gatewayAddress,
  halfClosedSeconds,
  linkGroup,
  markEntered,
  markHost,
  markSelf,
  resolverAlias,
} from '../constants.js';
import type { HostLink } from '../types.js';
import { innerPort } from '../wireguard.js';
import { fabricSets, hostSets } from './model.js';

export interface Chain {
  readonly name: string;
  /** "type nat hook prerouting priority dstnat"; undefined: reached by goto or jump only. */
  readonly hook?: string;
  readonly policy?: 'accept' | 'drop';
  readonly rules: readonly string[];
}

export interface Skeleton {
  /** "inet covey". */
  readonly table: string;
  readonly sets: Readonly<Record<string, string>>;
  /** "ct timeout": declarations by name, of what rules refer to. */
  readonly timeouts?: Readonly<Record<string, string>>;
  readonly chains: readonly Chain[];
}

const resolver = `{ ${gatewayAddress}, ${resolverAlias} }`;
/** WireGuard's. What they carry is the tunnel itself: packets of nodes to nodes, passed on from one to another at a relay. */
const secure = '{ "cw0", "cw1" }';
const links = `{ "${deviceHost}", "${deviceOverlay}", "${deviceIngress}" }`;

export function fabricSkeleton(prefix: string): Skeleton {
  return {
    table: `inet ${prefix}`,
    sets: fabricSets,
    chains: [...arrivalChains(), ...steeringChains(), ...filterChains()],
  };
}

/** Until the destination is known. */
function arrivalChains(): Chain[] {
  return [
    {
      // A client may use one source port towards two nodes; both connections can end at one container here. In a zone
      // for each entry they stay two, and the kernel gives the second another source port.
      name: 'zone-in',
      hook: 'type filter hook prerouting priority raw',
      rules: [
        `iifname ${secure} notrack`,
        `iifname "${deviceIngress}" ct original zone set ether saddr map @zones`,
        `ip daddr ${resolver} udp dport 53 notrack`,
      ],
    },
    {
      name: 'zone-out',
      hook: 'type filter hook output priority raw',
      rules: [`oifname ${secure} notrack`, `ip saddr ${resolver} udp sport 53 notrack`],
    },
    {
      name: 'remember',
      hook: 'type filter hook prerouting priority mangle',
      rules: [
        `iifname "${deviceIngress}" ct state new ct mark set ether saddr map @entries`,
        `iifname "${deviceHost}" ct state new ct mark set ${markHost}`,
      ],
    },
    {
      name: 'balance',
      hook: 'type nat hook prerouting priority dstnat',
      rules: [
        `iifname "${deviceHost}" meta l4proto . th dport vmap @ports`,
        `iifname ${links} accept`,
        'ip daddr vmap @vips',
        'ip daddr @node-addresses meta l4proto . th dport vmap @ports',
      ],
    },
  ];
}

/** From the destination to the route. */
function steeringChains(): Chain[] {
  return [
    {
      // After the translation, before the choice of the route.
      name: 'steer',
      hook: 'type filter hook prerouting priority dstnat + 1',
      rules: [
        'meta mark set 0',
        'ct mark 0 accept',
        'ct direction reply meta mark set ct mark accept',
        `ct mark { ${markHost}, ${markSelf} } meta mark set ${markEntered}`,
      ],
    },
    {
      name: 'refuse',
      hook: 'type filter hook prerouting priority dstnat + 2',
      rules: [
        'ct state established,related accept',
        'ip daddr @refused-vips goto refuse-now',
        `iifname "${deviceHost}" meta l4proto . th dport @refused-ports goto refuse-now`,
        'ip daddr @node-addresses meta l4proto . th dport @refused-ports goto refuse-now',
      ],
    },
    {
      name: 'refuse-now',
      rules: ['meta l4proto tcp reject with tcp reset', 'reject with icmpx port-unreachable'],
    },
    {
      // Resets and errors that the fabric itself sends go back the way of the connection that they answer.
      name: 'answer',
      hook: 'type route hook output priority mangle',
      rules: ['ct direction reply ct mark != 0 meta mark set ct mark'],
    },
  ];
}

/** What may pass, and under which source. */
function filterChains(): Chain[] {
  return [
    {
      name: 'input',
      hook: 'type filter hook input priority filter',
      policy: 'drop',
      rules: [
        'iifname "lo" accept',
        `iifname ${secure} udp dport ${innerPort} accept`,
        `iifname ${secure} drop`,
        `iifname ${links} meta l4proto != icmp drop`,
        'meta l4proto icmp accept',
        `ip daddr ${resolver} meta l4proto { tcp, udp } th dport 53 accept`,
        'goto refuse-now',
      ],
    },
    {
      name: 'forward',
      hook: 'type filter hook forward priority filter',
      policy: 'drop',
      rules: [
        `iifname ${secure} oifname ${secure} accept`,
        `iifname ${secure} drop`,
        `oifname ${secure} drop`,
        'ct state established,related accept',
        'ct state invalid drop',
        `iifname "${deviceIngress}" ct mark != 0 accept`,
        `ct mark { ${markHost}, ${markSelf} } ct status dnat accept`,
        `iifname { "${deviceHost}", "${deviceIngress}" } drop`,
        `oifname "${deviceHost}" goto leave`,
        'ip saddr . ip daddr @pairs accept',
        'meta mark set ip saddr map @groups',
        'meta mark . ip daddr @allowed accept',
        'meta mark . ip daddr . meta l4proto . th dport @allowed-ports accept',
        'goto refuse-forward',
      ],
    },
    {
      // Link-local addresses are the machine's own business: metadata of clouds, the host's end of the link.
      name: 'leave',
      rules: [
        `iifname "${deviceOverlay}" drop`,
        'ip daddr 169.254.169.254 ip saddr @metadata accept',
        'ip daddr 169.254.0.0/16 goto refuse-forward',
        'ip saddr @internal goto refuse-forward',
        'accept',
      ],
    },
    { name: 'refuse-forward', rules: ['reject with icmpx admin-prohibited'] },
    {
      name: 'translate-source',
      hook: 'type nat hook postrouting priority srcnat',
      rules: [`ip saddr . ip daddr @hairpin snat ip to ${gatewayAddress}`, `oifname "${deviceHost}" masquerade`],
    },
  ];
}

/** Chains of choice: `pick` and `stick` of a VIP, `port` and `hold` of a published port; the second of each by the client's address. */
export function isChoice(name: string): boolean {
  return /^(pick|stick|port|hold)\d+$/.test(name);
}

/** The same on all nodes, so that a client has the same backend through each of them. */
const stickySeed = '0xc0ce1000';

/** The chain that chooses one of n places. */
export function choiceChain(name: string): Chain {
  const count = name.replace(/^\D+/, '');
  const isSticky = name.startsWith('stick') || name.startsWith('hold');
  const choose = `meta mark set ${isSticky ? `jhash ip saddr mod ${count} seed ${stickySeed}` : `numgen random mod ${count}`}`;
  if (name.startsWith('pick') || name.startsWith('stick')) {
    return { name, rules: [choose, 'dnat ip to ip daddr . meta mark map @backends'] };
  }
  return {
    name,
    rules: [
      `iifname != "${deviceHost}" ct mark set ${markSelf}`,
      choose,
      'dnat ip to meta l4proto . th dport . meta mark map @port-backends',
    ],
  };
}

export const guardChain = 'covey-guard';

export function hostSkeleton(prefix: string, device: string, link: HostLink): Skeleton {
  const port = 'meta l4proto . th dport @published';
  // Means nothing to other protocols than TCP.
  const keep = 'ct timeout set "half-closed"';
  return {
    table: `inet ${prefix}`,
    sets: hostSets,
    timeouts: { 'half-closed': `{ protocol tcp; l3proto ip; policy = { close_wait : ${halfClosedSeconds} }; }` },
    chains: [
      // Each connection in the tunnel has an outer source port of its own: followed, it would be two more connections on
      // each of two hosts, made and forgotten with it, and nothing on the host ever translates them.
      {
        name: 'tunnel-in',
        hook: 'type filter hook prerouting priority raw',
        rules: ['udp dport @tunnels fib daddr type local notrack'],
      },
      { name: 'tunnel-out', hook: 'type filter hook output priority raw', rules: ['udp dport @tunnels notrack'] },
      {
        name: 'publish',
        hook: 'type nat hook prerouting priority dstnat',
        rules: [
          `iifname != "${device}" fib daddr type local ip daddr != 127.0.0.0/8 ${port} ${keep} dnat ip to ${link.fabricAddress}`,
        ],
      },
      {
        name: 'publish-local',
        hook: 'type nat hook output priority -100',
        rules: [`fib daddr type local ${port} ${keep} dnat ip to ${link.fabricAddress}`],
      },
      {
        name: 'translate-source',
        hook: 'type nat hook postrouting priority srcnat',
        rules: [
          `oifname "${device}" ip saddr 127.0.0.0/8 masquerade`,
          `oifname != "${device}" ip saddr ${link.fabricAddress} masquerade`,
        ],
      },
      {
        // Forwarding was switched on for the uplinks so that packets reach the fabric, and for nothing else.
        name: guardChain,
        hook: 'type filter hook forward priority filter - 1',
        rules: [
          `oifname "${device}" ct state established,related accept`,
          `oifname "${device}" ct status dnat accept`,
          `oifname "${device}" drop`,
          'iifname . oifname @within accept',
          `iifname @uplinks meta oifgroup != ${linkGroup} drop`,
        ],
      },
    ],
  };
}

/** Changes with every change of the skeleton; a set of that name in the table says which version made it. */
export function versionOf(skeleton: Skeleton): string {
  let hash = 0x811c9dc5;
  for (const character of JSON.stringify(skeleton)) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  return `version-${hash.toString(36)}`;
}

export function renderChain(table: string, chain: Chain): string {
  const head = chain.hook === undefined ? '' : ` { ${chain.hook}; policy ${chain.policy ?? 'accept'}; }`;
  return [
    `add chain ${table} ${chain.name}${head}\n`,
    ...chain.rules.map(rule => `add rule ${table} ${chain.name} ${rule}\n`),
  ].join('');
}

/** The table made anew, in the place of the one that may be there. Without elements. */
export function renderSkeleton(skeleton: Skeleton, choices: Iterable<string>): string {
  const { table } = skeleton;
  const chains = [...skeleton.chains, ...[...choices].map(choiceChain)];
  const sets = Object.entries(skeleton.sets).map(([name, declaration]) => {
    const [, kind = '', body = ''] = /^(\w+) (.*)$/.exec(declaration) ?? [];
    return `add ${kind} ${table} ${name} ${body}\n`;
  });
  return [
    `add table ${table}\n`,
    `delete table ${table}\n`,
    `add table ${table}\n`,
    `add set ${table} ${versionOf(skeleton)} { type mark; }\n`,
    ...Object.entries(skeleton.timeouts ?? {}).map(([name, body]) => `add ct timeout ${table} ${name} ${body}\n`),
    ...sets,
    // Chains that are led to come before the rules that lead to them.
    ...chains.map(chain => renderChain(table, { ...chain, rules: [] })),
    ...chains.flatMap(chain => chain.rules.map(rule => `add rule ${table} ${chain.name} ${rule}\n`)),
  ].join('');
}
