/**
 * The way of packets through the rules of the fabric: which chain and rule each met, what it was called before and after, and
 * where it ended. The kernel tells of packets that are marked for it (meta nftrace); a table of its own marks those of one task,
 * as long as somebody watches.
 *
 * `openWays` and `renderWay` are pure; `trace` makes the table and reads. Not here: the rules (nft/skeleton.ts).
 */
import type { Clock, Kernel, NamespaceHandle, NftContext } from '../host.js';
import type { PacketFilter } from './capture.js';
import { renderAddress } from './ip.js';
import { readAttributes } from './netlink/message.js';

export interface TraceStep {
  readonly id: number;
  readonly table: string;
  readonly chain: string;
  readonly handle: number | undefined;
  readonly kind: 'rule' | 'return' | 'policy';
  /** "accept", "drop", "goto pick2". */
  readonly verdict: string;
  readonly packet: string;
  readonly iif: number;
  readonly oif: number;
}

const groupTrace = 9;
const messageTrace = (10 << 8) | 17;
const attributes = {
  table: 1,
  chain: 2,
  handle: 3,
  type: 4,
  verdict: 5,
  id: 6,
  network: 8,
  transport: 9,
  iif: 10,
  oif: 12,
  policy: 16,
};
const verdictAttributes = { code: 1, chain: 2 };
const kinds: Readonly<Record<number, TraceStep['kind']>> = { 1: 'policy', 2: 'return', 3: 'rule' };
const verdicts: Readonly<Record<number, string>> = {
  0: 'drop',
  1: 'accept',
  [-1]: 'continue',
  [-2]: 'break',
  [-3]: 'jump',
  [-4]: 'goto',
  [-5]: 'return',
};
const lookEveryMs = 50;
/** Marked packets a second: each of them is told of some twenty times. */
const packetsPerSecond = 20;
const protocolNames: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp' };

/** undefined for other messages of nfnetlink. */
export function findStep(message: Uint8Array): TraceStep | undefined {
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.length);
  if (bytes.length < 20 || bytes.readUInt16LE(4) !== messageTrace) return undefined;
  const found = readAttributes(bytes, 20);
  const kind = kinds[found.get(attributes.type)?.readUInt32BE(0) ?? 0];
  if (kind === undefined) return undefined;
  const text = (type: number): string => found.get(type)?.toString('utf8').replace(/\0.*$/, '') ?? '';
  return {
    id: found.get(attributes.id)?.readUInt32BE(0) ?? 0,
    table: text(attributes.table),
    chain: text(attributes.chain),
    handle: Number(found.get(attributes.handle)?.readBigUInt64BE(0) ?? 0) || undefined,
    kind,
    verdict: verdictOf(found.get(attributes.verdict), found.get(attributes.policy)),
    packet: renderPacket(found.get(attributes.network), found.get(attributes.transport)),
    iif: found.get(attributes.iif)?.readUInt32BE(0) ?? 0,
    oif: found.get(attributes.oif)?.readUInt32BE(0) ?? 0,
  };
}

function verdictOf(verdict: Buffer | undefined, policy: Buffer | undefined): string {
  if (verdict === undefined) return verdicts[policy?.readInt32BE(0) ?? 1] ?? '';
  const found = readAttributes(verdict, 0);
  const name = verdicts[found.get(verdictAttributes.code)?.readInt32BE(0) ?? 1] ?? '';
  const chain = found.get(verdictAttributes.chain)?.toString('utf8').replace(/\0.*$/, '');
  return chain === undefined ? name : `${name} ${chain}`;
}

/** "tcp 10.0.1.11:4567 > 10.0.1.200:80 [S]". */
function renderPacket(network: Buffer | undefined, transport: Buffer | undefined): string {
  if (network === undefined || network.length < 20 || (network[0] ?? 0) >> 4 !== 4) return '';
  const protocol = network[9] ?? 0;
  const [from, to] = [network.subarray(12, 16), network.subarray(16, 20)].map(renderAddress);
  const name = protocolNames[protocol] ?? `protocol ${protocol}`;
  if ((protocol !== 6 && protocol !== 17) || transport === undefined || transport.length < 4) {
    return `${name} ${from} > ${to}`;
  }
  const flags = protocol === 6 && transport.length >= 14 ? ` [${flagsOf(transport[13] ?? 0)}]` : '';
  return `${name} ${from}:${transport.readUInt16BE(0)} > ${to}:${transport.readUInt16BE(2)}${flags}`;
}

/** As tcpdump writes them. */
function flagsOf(bits: number): string {
  return ['F', 'S', 'R', 'P', '.'].filter((_flag, at) => (bits & (1 << at)) !== 0).join('');
}

export interface Ways {
  /** Lines about a step; none for a step that says nothing new. */
  readonly take: (step: TraceStep) => readonly string[];
  /** Packets that were told of. */
  readonly count: () => number;
}

/** `rules` gives the text of a rule by chain and handle, `device` the name of a link. */
export function openWays(names: {
  readonly table: string;
  readonly rule: (chain: string, handle: number) => string | undefined;
  readonly device: (index: number) => string;
}): Ways {
  const packets = new Map<number, string>();
  let count = 0;
  return {
    count: () => count,
    take: step => {
      if (step.table !== names.table) return [];
      const lines: string[] = [];
      const known = packets.get(step.id);
      const link = step.oif > 0 ? ` to ${names.device(step.oif)}` : '';
      if (known === undefined) {
        count += 1;
        lines.push(`packet ${step.id.toString(16)}  ${step.packet}  from ${names.device(step.iif)}`);
      } else if (step.packet !== '' && step.packet !== known) lines.push(`    is now  ${step.packet}${link}`);
      if (step.packet !== '' || known === undefined) packets.set(step.id, step.packet);
      if (packets.size > packetsKept) packets.delete(packets.keys().next().value ?? 0);
      const rule = step.handle === undefined ? undefined : names.rule(step.chain, step.handle);
      // Chains that end without a word are the most, and say nothing.
      if (step.kind === 'rule' && step.verdict !== 'continue') {
        lines.push(`    ${step.chain.padEnd(17)} ${rule ?? `rule ${step.handle}`}  => ${step.verdict}`);
      } else if (step.kind === 'policy' && step.verdict === 'drop') lines.push(`    ${step.chain.padEnd(17)} => drop`);
      return lines;
    },
  };
}

const packetsKept = 1_000;

export interface TraceTarget {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly namespace: NamespaceHandle;
  readonly nft: NftContext;
  /** "covey". */
  readonly prefix: string;
  /** Of the link. */
  readonly device: string;
  readonly addresses: readonly string[];
  readonly ways: Ways;
}

/** One line after the other, until so many packets were told of (0: without end), or the signal. */
export async function* trace(
  target: TraceTarget,
  options: { readonly count: number; readonly filter: PacketFilter },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { kernel, clock, namespace, nft, ways } = target;
  // Several people may watch one task.
  const table = `inet ${target.prefix}-trace-${target.device}-${Math.round(clock.monotonicMs())}`;
  using news = kernel.followNetlink(namespace, [groupTrace], 'netfilter');
  await nft.run(markingTable(table, target, options.filter));
  try {
    while (!signal.aborted && (options.count === 0 || ways.count() <= options.count)) {
      const messages = news.take();
      if (messages === undefined) yield Buffer.from('    (more than can be told)\n');
      for (const message of messages ?? []) {
        const step = findStep(message);
        const lines = step === undefined ? [] : ways.take(step);
        if (options.count > 0 && ways.count() > options.count) return;
        if (lines.length > 0) yield Buffer.from(`${lines.join('\n')}\n`);
      }
      if (messages?.length === 0) await clock.sleep(lookEveryMs, signal);
    }
  } finally {
    await nft.run(`delete table ${table}\n`);
  }
}

/**
 * Marks what comes from the task's link, and what goes to its addresses, before any other rule. The table belongs to the context
 * that makes it: should this process die, it goes.
 */
export function markingTable(
  table: string,
  { device, addresses }: Pick<TraceTarget, 'device' | 'addresses'>,
  { address, port }: PacketFilter,
): string {
  const mark = `limit rate ${packetsPerSecond}/second burst ${packetsPerSecond} packets meta nftrace set 1`;
  const ports = port === 0 ? [''] : ['sport', 'dport'].map(side => `meta l4proto { tcp, udp } th ${side} ${port} `);
  const other = (side: 'saddr' | 'daddr'): string => (address === '' ? '' : `ip ${side} ${address} `);
  return [
    `add table ${table} { flags owner; }\n`,
    `add chain ${table} marking { type filter hook prerouting priority raw - 50; policy accept; }\n`,
    ...ports.flatMap(ofPort => [
      `add rule ${table} marking iifname "${device}" ${other('daddr')}${ofPort}${mark}\n`,
      ...addresses.map(own => `add rule ${table} marking ip daddr ${own} ${other('saddr')}${ofPort}${mark}\n`),
    ]),
  ].join('');
}
