/**
 * Firewalls as the tools of hosts set them, cut to what decides: the form of their tables, hooks, priorities, policies and the
 * places where they drop. Loaded into the namespace of a node by the program that the tool uses itself.
 *
 * Not here: what must work behind them (host-side.real.test.ts).
 */
import { inside } from './lab.js';

export interface Firewall {
  readonly name: string;
  /** Programs that load it, and list it for comparison. */
  readonly program: 'nft' | 'iptables-legacy' | 'iptables-nft';
  readonly rules: string;
  /** Where accept rules of ours are expected. */
  readonly chains: readonly string[];
}

const docker = `
table ip filter {
  chain DOCKER-USER {
    counter return
  }
  chain DOCKER-FORWARD {
    iifname "docker0" counter accept
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    counter jump DOCKER-USER
    counter jump DOCKER-FORWARD
  }
  chain INPUT {
    type filter hook input priority filter; policy accept;
  }
}`;

const ufwFamily = (family: string, prefix: string): string => `
table ${family} filter {
  chain ${prefix}-before-input {
    iifname "lo" counter accept
    ct state related,established counter accept
    ct state invalid counter drop
  }
  chain ${prefix}-user-input {
    tcp dport 22 counter accept
  }
  chain ${prefix}-reject-forward {
    counter reject
  }
  chain INPUT {
    type filter hook input priority filter; policy drop;
    counter jump ${prefix}-before-input
    counter jump ${prefix}-user-input
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    counter jump ${prefix}-reject-forward
  }
}`;

const firewalld = `
table inet firewalld {
  chain filter_PREROUTING {
    type filter hook prerouting priority filter + 10; policy accept;
    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
    meta nfproto ipv6 fib saddr . mark . iif oif missing drop
  }
  chain filter_IN_public_allow {
    tcp dport 22 accept
  }
  chain filter_IN_public {
    jump filter_IN_public_allow
  }
  chain filter_INPUT_POLICIES {
    iifname "eth0" goto filter_IN_public
    goto filter_IN_public
  }
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    jump filter_INPUT_POLICIES
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
}`;

const plain = `
table inet filter {
  chain inbound {
    tcp dport { 22, 80 } accept
    counter drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    ct state vmap { established : accept, related : accept }
    iifname "lo" accept
    jump inbound
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
  }
}`;

const tables = `
-P INPUT DROP
-P FORWARD DROP
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp --dport 22 -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j DROP`;

export const firewalls: readonly Firewall[] = [
  { name: 'Docker', program: 'nft', rules: docker, chains: ['ip filter DOCKER-USER'] },
  {
    name: 'ufw',
    program: 'nft',
    rules: ufwFamily('ip', 'ufw') + ufwFamily('ip6', 'ufw6'),
    chains: ['ip filter INPUT', 'ip filter FORWARD', 'ip6 filter INPUT'],
  },
  {
    name: 'firewalld',
    program: 'nft',
    rules: firewalld,
    chains: ['inet firewalld filter_INPUT', 'inet firewalld filter_FORWARD'],
  },
  { name: 'plain nftables', program: 'nft', rules: plain, chains: ['inet filter input', 'inet filter forward'] },
  {
    name: 'iptables-nft',
    program: 'iptables-nft',
    rules: tables,
    chains: ['ip filter INPUT', 'ip filter FORWARD'],
  },
  {
    name: 'iptables-legacy',
    program: 'iptables-legacy',
    rules: tables,
    chains: ['iptables-legacy FORWARD', 'iptables-legacy INPUT'],
  },
];

type Place = { readonly path: string };

/** Anew, as a reload of the tool does: what others put into its tables is gone. */
export function loadFirewall(place: Place, { program, rules }: Firewall, file: (text: string) => string): void {
  if (program === 'nft') {
    const names = [...rules.matchAll(/^table (\w+ \w+) /gm)].map(([, name]) => `table ${name}`);
    inside(place, 'nft', '-f', file(`${names.map(name => `add ${name}\ndelete ${name}\n`).join('')}${rules}\n`));
    return;
  }
  inside(place, program, '-F');
  for (const line of rules.trim().split('\n')) inside(place, program, ...line.split(' '));
}

/** As it is without what covey has of its own. */
export function listFirewall(place: Place, { program }: Firewall): string {
  const text = program === 'nft' ? inside(place, 'nft', '-s', 'list', 'ruleset') : inside(place, program, '-S');
  return text.replace(/table inet covey \{[\s\S]*?\n}\n/, '');
}
