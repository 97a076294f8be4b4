/**
 * One table of packet rules, kept as wanted: changes go in as elements; a table that is missing, of another version or
 * tampered with is replaced whole, in one transaction, so that there is no moment without rules.
 *
 * What is there is known from the last change, and read anew when the kernel's generation says that somebody else changed
 * something, or when a change failed.
 *
 * Not here: what is wanted (../wanted.ts, ../host-side.ts).
 */
import { CoveyError } from '../../errors.js';
import type { NetlinkSocket, NftContext } from '../../host.js';
import { readGeneration } from './generation.js';
import { parseTable, type TableSeen } from './listing.js';
import { choicesOf, type ElementSets, planElements, renderChanges } from './model.js';
import { choiceChain, isChoice, renderChain, renderSkeleton, type Skeleton, versionOf } from './skeleton.js';

export interface RuleTable {
  /** Resolves when the kernel has it. */
  readonly apply: (wanted: ElementSets) => Promise<void>;
  /** The same after a look at what is really there, when that may differ. Says what it mended. */
  readonly check: (wanted: ElementSets) => Promise<readonly string[]>;
  /** Nobody has changed any rule of the namespace since all was last seen as wanted. */
  readonly isUntouched: () => boolean;
}

export interface RuleTableOptions {
  readonly nft: NftContext;
  readonly netfilter: NetlinkSocket;
  readonly skeleton: Skeleton;
}

interface Known {
  readonly sets: ElementSets;
  readonly choices: ReadonlySet<string>;
}

export function openRuleTable({ nft, netfilter, skeleton }: RuleTableOptions): RuleTable {
  const { table } = skeleton;
  let known: Known | undefined;
  /** Of the rules when all was last seen as wanted. */
  let generation: number | undefined;

  const isUntouched = (now: number | undefined): boolean =>
    known !== undefined && now !== undefined && now === generation;
  const commit = async (commands: string, after: Known): Promise<void> => {
    const before = readGeneration(netfilter);
    known = undefined;
    await nft.run(commands);
    known = after;
    const now = readGeneration(netfilter);
    // Only our own change came in between: what was known to be so still is.
    generation = before === generation && isNext(before, now) ? now : undefined;
  };
  const replace = async (wanted: ElementSets): Promise<void> => {
    const choices = choicesOf(wanted);
    const changes = planElements(wanted, {});
    const commands = renderSkeleton(skeleton, choices) + renderChanges(table, changes);
    await commit(commands, { sets: copyOf(wanted), choices });
  };
  const change = async (wanted: ElementSets, from: Known): Promise<boolean> => {
    const changes = planElements(wanted, from.sets);
    if (changes.length === 0) {
      known = from;
      return false;
    }
    const missing = [...choicesOf(wanted)].filter(name => !from.choices.has(name));
    const commands =
      missing.map(name => renderChain(table, choiceChain(name))).join('') + renderChanges(table, changes);
    await commit(commands, { sets: copyOf(wanted), choices: new Set([...from.choices, ...missing]) });
    return true;
  };
  const read = async (): Promise<Known | undefined> => {
    const seen = await listTable(nft, table);
    return seen === undefined ? undefined : findKnown(seen, skeleton);
  };
  const applyFrom = async (wanted: ElementSets, from: Known | undefined): Promise<string[]> => {
    if (from === undefined) {
      await replace(wanted);
      return [`packet rules of table ${table} made anew`];
    }
    return (await change(wanted, from)) ? [`elements of table ${table} mended`] : [];
  };
  /** Chains that no element leads to. Not in `apply`: a service that grows would make and remove one a step. */
  const forgetChoices = async (wanted: ElementSets): Promise<void> => {
    const choices = choicesOf(wanted);
    const commands = renderForgotten(table, known?.choices ?? choices, choices);
    if (known !== undefined && commands !== '') await commit(commands, { sets: known.sets, choices });
  };
  return {
    apply: async wanted => {
      await applyFrom(wanted, known ?? (await read()));
    },
    check: async wanted => {
      const now = readGeneration(netfilter);
      const unchanged = isUntouched(now);
      const mended = await applyFrom(wanted, unchanged ? known : await read());
      // Nothing had to be changed, or only we did: this state of the rules is the wanted one.
      if (mended.length === 0) generation = now;
      await forgetChoices(wanted);
      return mended;
    },
    isUntouched: () => isUntouched(readGeneration(netfilter)),
  };
}

function isNext(before: number | undefined, now: number | undefined): boolean {
  return before !== undefined && now === ((before + 1) & 0xffffffff) >>> 0;
}

function renderForgotten(table: string, seen: ReadonlySet<string>, used: ReadonlySet<string>): string {
  return [...seen]
    .filter(name => !used.has(name))
    .map(name => `delete chain ${table} ${name}\n`)
    .join('');
}

function copyOf(sets: ElementSets): ElementSets {
  return Object.fromEntries(Object.entries(sets).map(([name, elements]) => [name, new Map(elements)]));
}

/** undefined when there is no such table. */
async function listTable(nft: NftContext, table: string): Promise<TableSeen | undefined> {
  try {
    return parseTable(await nft.run(`list table ${table}`));
  } catch (error) {
    if (error instanceof CoveyError && error.code === 'nftables-refused') return undefined;
    throw error;
  }
}

/** undefined when the table is not, chain by chain and set by set, what this version makes. */
function findKnown(seen: TableSeen, skeleton: Skeleton): Known | undefined {
  if (seen.sets[versionOf(skeleton)] === undefined) return undefined;
  const choices = new Set<string>();
  for (const [name, rules] of seen.chains) {
    const chosen = isChoice(name);
    const made = chosen ? choiceChain(name) : skeleton.chains.find(chain => chain.name === name);
    if (made === undefined || made.rules.length !== rules) return undefined;
    if (chosen) choices.add(name);
  }
  if (seen.chains.size !== skeleton.chains.length + choices.size) return undefined;
  if (Object.keys(skeleton.sets).some(name => seen.sets[name] === undefined)) return undefined;
  const sets = Object.keys(skeleton.sets).map(name => [name, seen.sets[name] ?? new Map<string, string>()] as const);
  return { sets: Object.fromEntries(sets), choices };
}
