/**
 * The host's own firewall, where one of its base chains drops or rejects what is forwarded (Docker, ufw, firewalld, plain
 * nftables): two accept rules at its head for the host link. The one exception to "never touched"; each has the prefix of
 * this covey as its comment, by which it is found again and removed.
 *
 * With Docker they go into DOCKER-USER, which Docker leaves alone and asks first.
 *
 * Not here: the guard that keeps the node from becoming a router (skeleton.ts). Rules of iptables-legacy are invisible here.
 */
import type { NftContext } from '../../host.js';
import { type BaseChainSeen, parseBaseChains, parseChainNames, parseRules, type RuleSeen } from './listing.js';
import { guardChain } from './skeleton.js';

export interface FirewallChain {
  /** "ip filter". */
  readonly table: string;
  readonly name: string;
  readonly policy: string;
  readonly rules: readonly RuleSeen[];
}

export interface FirewallPlan {
  /** One transaction; empty when all is well. */
  readonly commands: string;
  /** "ip filter FORWARD": where accept rules of ours are, after the plan. */
  readonly chains: readonly string[];
}

/** Pure. `chains` are the chains that see forwarded packets, or that stand in for them (DOCKER-USER). */
export function planFirewall(
  chains: readonly FirewallChain[],
  { prefix, device }: { readonly prefix: string; readonly device: string },
): FirewallPlan {
  const commands: string[] = [];
  const accepted: string[] = [];
  for (const { table, name, policy, rules } of chains) {
    const ours = rules.filter(rule => rule.comment === prefix);
    const others = rules.filter(rule => rule.comment !== prefix);
    const drops =
      name === 'DOCKER-USER' ||
      policy === 'drop' ||
      others.some(rule => rule.verdicts.includes('drop') || rule.verdicts.includes('reject'));
    const atHead = ours.length === 2 && rules.slice(0, 2).every(rule => rule.comment === prefix);
    if (drops) accepted.push(`${table} ${name}`);
    if (drops === atHead || (!drops && ours.length === 0)) continue;
    for (const rule of ours) commands.push(`delete rule ${table} ${name} handle ${rule.handle}\n`);
    if (!drops) continue;
    for (const side of ['oifname', 'iifname']) {
      commands.push(`insert rule ${table} ${name} ${side} "${device}" counter accept comment "${prefix}"\n`);
    }
  }
  return { commands: commands.join(''), chains: accepted };
}

/** The same with nothing left of ours. */
export function planFirewallRemoval(chains: readonly FirewallChain[], prefix: string): string {
  return chains
    .flatMap(({ table, name, rules }) =>
      rules.filter(rule => rule.comment === prefix).map(rule => `delete rule ${table} ${name} handle ${rule.handle}\n`),
    )
    .join('');
}

/** Chains of others at the forward hook. Coveys know one another by the name of their guard. */
export async function readFirewall(nft: NftContext): Promise<FirewallChain[]> {
  const output = await nft.run('list chains');
  const found: FirewallChain[] = [];
  for (const chain of parseBaseChains(output)) {
    if (chain.hook !== 'forward' || !['ip', 'inet'].includes(chain.family) || chain.name === guardChain) continue;
    const table = `${chain.family} ${chain.table}`;
    const hasUserChain = parseChainNames(output, chain.family, chain.table).includes('DOCKER-USER');
    found.push(await readChain(nft, hasUserChain ? { ...chain, name: 'DOCKER-USER' } : chain, table));
  }
  return found;
}

async function readChain(nft: NftContext, chain: BaseChainSeen, table: string): Promise<FirewallChain> {
  const rules = parseRules(await nft.run(`list chain ${table} ${chain.name}`));
  return { table, name: chain.name, policy: chain.policy, rules };
}
