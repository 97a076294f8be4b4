/**
 * The host's own firewall, where it drops or rejects what covey needs (Docker, ufw, firewalld, plain nftables): accept rules at
 * the head of each chain that does. What is forwarded: two for the host link. What comes in: one for the data path, one for the
 * cluster port. The one exception to "never touched"; each has the prefix of this covey as its comment, by which it is found
 * again and removed.
 *
 * With Docker, those of forwarding go into DOCKER-USER, which Docker leaves alone and asks first. The rules say nothing that
 * iptables-nft could not list: it calls a whole table incompatible for one.
 *
 * Not here: the guard that keeps the node from becoming a router (skeleton.ts), rules of iptables-legacy (../legacy-firewall.ts).
 */
import type { NftContext } from '../../host.js';
import { type BaseChainSeen, parseBaseChains, parseChainNames, parseRules, type RuleSeen } from './listing.js';
import { guardChain } from './skeleton.js';

export type FirewallHook = 'forward' | 'input';

export interface FirewallChain {
  /** "ip filter". */
  readonly table: string;
  readonly name: string;
  readonly hook: FirewallHook;
  readonly policy: string;
  readonly rules: readonly RuleSeen[];
  /** A chain that it leads to drops or rejects. */
  readonly dropsBelow: boolean;
}

/** What has to come through. */
export interface Passage {
  readonly prefix: string;
  /** The host link. */
  readonly device: string;
  /** UDP ports of the data path, the second one for keys of the other half of a rotation. */
  readonly dataPorts: readonly [first: number, last: number];
  readonly clusterPort: number;
}

export interface FirewallPlan {
  /** One transaction; empty when all is well. */
  readonly commands: string;
  /** "ip filter FORWARD": where accept rules of ours are, after the plan. */
  readonly chains: readonly string[];
}

/** Pure. `chains` are the chains that see such packets, or that stand in for them (DOCKER-USER). */
export function planFirewall(chains: readonly FirewallChain[], passage: Passage): FirewallPlan {
  const { prefix } = passage;
  const commands: string[] = [];
  const accepted: string[] = [];
  for (const { table, name, hook, policy, rules, dropsBelow } of chains) {
    const ours = rules.filter(rule => rule.comment === prefix);
    const others = rules.filter(rule => rule.comment !== prefix);
    const drops = name === 'DOCKER-USER' || policy === 'drop' || dropsBelow || others.some(isDrop);
    const matches = matchesOf(hook, passage);
    const atHead = ours.length === matches.length && rules.slice(0, matches.length).every(one => ours.includes(one));
    if (drops) accepted.push(`${table} ${name}`);
    if (drops === atHead || (!drops && ours.length === 0)) continue;
    for (const rule of ours) commands.push(`delete rule ${table} ${name} handle ${rule.handle}\n`);
    if (!drops) continue;
    for (const match of matches) {
      commands.push(`insert rule ${table} ${name} ${match} counter accept comment "${prefix}"\n`);
    }
  }
  return { commands: commands.join(''), chains: accepted };
}

function matchesOf(hook: FirewallHook, { device, dataPorts, clusterPort }: Passage): readonly string[] {
  return hook === 'forward'
    ? [`oifname "${device}"`, `iifname "${device}"`]
    : [`udp dport ${dataPorts.join('-')}`, `tcp dport ${clusterPort}`];
}

function isDrop(rule: RuleSeen): boolean {
  return rule.verdicts.includes('drop') || rule.verdicts.includes('reject');
}

/** The same with nothing left of ours. */
export function planFirewallRemoval(
  chains: readonly Pick<FirewallChain, 'table' | 'name' | 'rules'>[],
  prefix: string,
): string {
  return chains
    .flatMap(({ table, name, rules }) =>
      rules.filter(rule => rule.comment === prefix).map(rule => `delete rule ${table} ${name} handle ${rule.handle}\n`),
    )
    .join('');
}

const families: Readonly<Record<FirewallHook, readonly string[]>> = {
  forward: ['ip', 'inet'],
  input: ['ip', 'ip6', 'inet'],
};

/** Chains of others at both hooks. Coveys know one another by the name of their guard. */
export async function readFirewall(nft: NftContext): Promise<FirewallChain[]> {
  const output = await nft.run('list chains');
  const found: FirewallChain[] = [];
  for (const chain of parseBaseChains(output)) {
    const { hook, name, family } = chain;
    if ((hook !== 'forward' && hook !== 'input') || !families[hook].includes(family) || name === guardChain) continue;
    const names = parseChainNames(output, family, chain.table);
    if (names.includes(guardChain)) continue;
    const standsIn = hook === 'forward' && names.includes('DOCKER-USER');
    found.push(await readChain(nft, standsIn ? { ...chain, name: 'DOCKER-USER' } : chain, hook));
  }
  return found;
}

/** Chains looked at below one base chain: more than any firewall nests before it drops something. */
const chainsBelowMax = 64;

async function readChain(nft: NftContext, chain: BaseChainSeen, hook: FirewallHook): Promise<FirewallChain> {
  const { name, policy } = chain;
  const table = `${chain.family} ${chain.table}`;
  const list = async (one: string): Promise<readonly RuleSeen[]> =>
    parseRules(await nft.run(`list chain ${table} ${one}`));
  const rules = await list(name);
  const seen = new Set([name]);
  const ahead = policy === 'drop' || rules.some(isDrop) ? [] : targetsOf(rules);
  let dropsBelow = false;
  for (let next = ahead.shift(); next !== undefined && !dropsBelow; next = ahead.shift()) {
    if (seen.has(next) || seen.size > chainsBelowMax) continue;
    seen.add(next);
    const below = await list(next);
    dropsBelow = below.some(isDrop);
    ahead.push(...targetsOf(below));
  }
  return { table, name, hook, policy, rules, dropsBelow };
}

function targetsOf(rules: readonly RuleSeen[]): string[] {
  return rules.flatMap(rule => rule.targets);
}
