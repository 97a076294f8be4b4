/**
 * The same accept rules (nft/firewall.ts) where the host's firewall is of the older kind, iptables-legacy, whose rules nftables
 * cannot see. Its own program lists and changes them; it is never started where the kernel has no such tables, since that alone
 * would make them.
 *
 * Called by host-plane.ts with each check.
 */
import type { Processes } from '../host.js';
import type { FirewallHook, Passage } from './nft/firewall.js';

export type LegacyProcesses = Pick<Processes, 'run' | 'findOnPath'>;

/** What stands in the way and cannot be changed by us. */
export interface FirewallProblem {
  readonly hook: FirewallHook;
  readonly what: string;
  /** The one command that mends it. */
  readonly command: string;
}

export interface LegacyOutcome {
  /** "iptables-legacy FORWARD": where accept rules of ours are. */
  readonly chains: readonly string[];
  readonly mended: readonly string[];
  readonly problems: readonly FirewallProblem[];
}

export interface LegacyOptions {
  readonly processes: LegacyProcesses;
  /** What stands before a command that is to run in the host's namespace. */
  readonly enter: readonly string[];
  /** Content of a file of /proc/net there. */
  readonly findText: (path: string) => Promise<string | undefined>;
  readonly signal: AbortSignal;
}

const programs = [
  { program: 'iptables-legacy', names: '/proc/net/ip_tables_names', hooks: ['forward', 'input'] },
  { program: 'ip6tables-legacy', names: '/proc/net/ip6_tables_names', hooks: ['input'] },
] as const;

const chainOf: Readonly<Record<FirewallHook, string>> = { forward: 'FORWARD', input: 'INPUT' };
const withinMs = 10_000;

/** Pure. Arguments of the commands that put ours at the head of a chain, from what `-S` prints of the whole table. */
export function planLegacy(
  listing: string,
  hook: FirewallHook,
  passage: Passage,
): { readonly chain: string; readonly drops: boolean; readonly commands: readonly (readonly string[])[] } {
  const lines = listing.split('\n');
  const standsIn = hook === 'forward' && lines.includes('-N DOCKER-USER');
  const chain = standsIn ? 'DOCKER-USER' : chainOf[hook];
  const rules = rulesOf(lines, chain);
  const others = rules.filter(rule => !isOurs(rule, passage.prefix));
  const drops = standsIn || lines.includes(`-P ${chain} DROP`) || leadsToDrop(lines, others);
  const wanted = matchesOf(hook, passage);
  const count = rules.length - others.length;
  const atHead = count === wanted.length && rules.slice(0, count).every(rule => isOurs(rule, passage.prefix));
  if (drops ? atHead : count === 0) return { chain, drops, commands: [] };
  const removals = rules
    .filter(rule => isOurs(rule, passage.prefix))
    .map(rule => ['-D', chain, ...rule.split(' ').slice(2)]);
  const accept = ['-m', 'comment', '--comment', passage.prefix, '-j', 'ACCEPT'];
  const inserts = drops ? wanted.map(match => ['-I', chain, ...match, ...accept]) : [];
  // What is there already is inserted anew before the old one goes: no moment without.
  return { chain, drops, commands: [...inserts, ...removals] };
}

function rulesOf(lines: readonly string[], chain: string): readonly string[] {
  return lines.filter(line => line.startsWith(`-A ${chain} `));
}

function isOurs(rule: string, prefix: string): boolean {
  return / --comment "?([^" ]+)"? /.exec(rule)?.[1] === prefix;
}

function leadsToDrop(lines: readonly string[], rules: readonly string[], seen = new Set<string>()): boolean {
  return rules.some(rule => {
    const target = / -[jg] (\S+)/.exec(rule)?.[1] ?? '';
    if (target === 'DROP' || target === 'REJECT') return true;
    if (seen.has(target)) return false;
    seen.add(target);
    return leadsToDrop(lines, rulesOf(lines, target), seen);
  });
}

function matchesOf(hook: FirewallHook, { device, dataPorts, clusterPort }: Passage): readonly (readonly string[])[] {
  return hook === 'forward'
    ? [
        ['-o', device],
        ['-i', device],
      ]
    : [
        ['-p', 'udp', '-m', 'udp', '--dport', dataPorts.join(':')],
        ['-p', 'tcp', '-m', 'tcp', '--dport', String(clusterPort)],
      ];
}

/** Looks, and puts ours where they are missing. */
export async function checkLegacy(options: LegacyOptions, passage: Passage): Promise<LegacyOutcome> {
  const chains: string[] = [];
  const mended: string[] = [];
  const problems: FirewallProblem[] = [];
  for (const { program, hooks, listing, isMissing } of await readLegacy(options)) {
    for (const hook of hooks) {
      if (isMissing) {
        problems.push(unlisted(program, hook, passage));
        continue;
      }
      const { chain, drops, commands } = planLegacy(listing, hook, passage);
      if (drops) chains.push(`${program} ${chain}`);
      const failure = await runAll(options, program, commands);
      if (failure !== undefined) problems.push({ ...unlisted(program, hook, passage), what: failure });
      else if (drops && commands.length > 0) mended.push(`accept rules in ${program} ${chain}`);
    }
  }
  return { chains, mended, problems };
}

/** Ours go; what was done, a line each. */
export async function removeLegacy(options: LegacyOptions, prefix: string): Promise<readonly string[]> {
  const done: string[] = [];
  for (const { program, listing } of await readLegacy(options)) {
    const lines = listing.split('\n').filter(line => line.startsWith('-A ') && isOurs(line, prefix));
    const commands = lines.map(line => ['-D', ...line.split(' ').slice(1)]);
    await runAll(options, program, commands);
    if (commands.length > 0) done.push(`removed accept rules from ${program}`);
  }
  return done;
}

interface LegacyTable {
  readonly program: string;
  readonly hooks: readonly FirewallHook[];
  readonly listing: string;
  /** There are rules, and nothing to list them with. */
  readonly isMissing: boolean;
}

async function readLegacy({ processes, enter, findText, signal }: LegacyOptions): Promise<readonly LegacyTable[]> {
  const tables: LegacyTable[] = [];
  for (const { program, names, hooks } of programs) {
    const present = (await findText(names)) ?? '';
    if (!present.split('\n').includes('filter')) continue;
    if (processes.findOnPath(program) === undefined) {
      tables.push({ program, hooks, listing: '', isMissing: true });
      continue;
    }
    const argv = [...enter, program, '-w', '5', '-S'];
    const { stdout, exitCode } = await processes.run(argv, { signal, timeoutMs: withinMs });
    tables.push({ program, hooks, listing: stdout, isMissing: exitCode !== 0 });
  }
  return tables;
}

/** What the program said when it refused one. */
async function runAll(
  { processes, enter, signal }: LegacyOptions,
  program: string,
  commands: readonly (readonly string[])[],
): Promise<string | undefined> {
  for (const args of commands) {
    const argv = [...enter, program, '-w', '5', ...args];
    const { exitCode, stderr } = await processes.run(argv, { signal, timeoutMs: withinMs });
    if (exitCode !== 0) return `${program} ${args.join(' ')}: ${stderr.trim()}`;
  }
  return undefined;
}

function unlisted(program: string, hook: FirewallHook, passage: Passage): FirewallProblem {
  const { device, dataPorts, clusterPort } = passage;
  const what =
    hook === 'forward'
      ? `what ${device} carries`
      : `UDP ports ${dataPorts.join(' and ')} and TCP port ${clusterPort} from other nodes`;
  const [first = []] = matchesOf(hook, passage);
  const command = `${program} -I ${chainOf[hook]} ${first.join(' ')} -j ACCEPT`;
  return { hook, what: `rules of ${program} may drop ${what}`, command };
}
