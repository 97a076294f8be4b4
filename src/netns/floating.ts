/**
 * Floating addresses that this node has: asked for on the wire first, then added to the link that is on their network, told to the
 * neighbours, and lent by the kernel for as long as the managers' lease runs.
 *
 *     told to have it, and heard of a manager      → three questions whether somebody has it, 100 ms apart
 *     somebody answers                             → again a moment later, for as long as he does
 *     nobody answers                               → added for the rest of the lease, and said twice
 *     heard of a manager                           → lent anew
 *     told that another node has it                → removed at once
 *     nothing heard for the length of the lease    → the kernel removes it, whether or not this daemon still lives
 *
 * Keeps true: a link has no address of ours that is not written down (removed by the next daemon when it is not wanted any more).
 *
 * Not here: who is to have one (daemon/orchestrate/floating.ts), frames (arp.ts).
 */
import { CoveyError } from '../errors.js';
import type { Clock, Files, Kernel, NamespaceHandle, NetlinkSocket, Timer } from '../host.js';
import type { PacketSocket } from '../packet-socket.js';
import type { Telemetry } from '../telemetry.js';
import { announcementFrame, findArp, probeFrame } from './arp.js';
import { linkGroup } from './constants.js';
import { isAddressV4, overlapsV4, parsePrefix } from './ip.js';
import { type LinkSeen, listLinks } from './netlink/links.js';
import { sendRequests } from './netlink/message.js';
import { leaseAddress, listAddresses, removeAddress } from './netlink/routes.js';
import type { HostChange } from './types.js';
import type { Tables } from './wanted.js';

export interface Floating extends Disposable {
  /** What the tables say that this node has. */
  readonly show: (tables: Tables, nodeId: string) => void;
  /** A manager was heard of. */
  readonly heard: () => void;
  readonly changes: () => readonly HostChange[];
  /** Gives all back; a line for each. */
  readonly remove: () => readonly string[];
}

export interface FloatingOptions {
  readonly kernel: Pick<Kernel, 'openPackets'>;
  readonly clock: Clock;
  readonly files: Pick<Files, 'findTextSync' | 'writeSync' | 'makeDirectorySync' | 'removeFileSync'>;
  readonly telemetry: Telemetry;
  /** Of the host. */
  readonly netlink: NetlinkSocket;
  readonly namespace: NamespaceHandle | undefined;
  readonly directory: string;
}

const probes = 3;
const probeEveryMs = 100;
const askAgainMs = 250;
const announceAgainMs = 1_000;
const renewEveryMs = 500;
const framesMax = 64;

interface Claim {
  readonly address: string;
  leaseMs: number;
  phase: 'waiting' | 'asking' | 'held';
  link: LinkSeen | undefined;
  socket: PacketSocket | undefined;
  asked: number;
  timer: Timer | undefined;
  renewedMs: number;
}

interface State extends FloatingOptions {
  readonly claims: Map<string, Claim>;
  /** As written down: what an earlier daemon may have left. */
  noted: readonly string[];
  heardMs: number | undefined;
}

export function openFloating(options: FloatingOptions): Floating {
  const state: State = { ...options, claims: new Map(), noted: readNote(options), heardMs: undefined };
  return {
    show: (tables, nodeId) => show(state, leasesOf(tables, nodeId)),
    heard: () => heard(state),
    changes: () =>
      [...state.claims.values()]
        .filter(claim => claim.phase === 'held')
        .map(({ address, link }) => ({ kind: 'address', name: link?.name ?? '', detail: `${address}/32, floating` })),
    remove: () => {
      const had = [...new Set([...state.claims.keys(), ...state.noted])];
      show(state, new Map());
      return had.map(address => `removed floating address ${address}`);
    },
    [Symbol.dispose]: () => {
      // The addresses stay until their lease is over: the next daemon goes on with them.
      for (const claim of state.claims.values()) rest(claim);
      state.claims.clear();
    },
  };
}

/** By address, the length of its lease. */
function leasesOf(tables: Tables, nodeId: string): ReadonlyMap<string, number> {
  const leases = new Map<string, number>();
  for (const { value } of tables.values()) {
    if (value?.kind === 'address' && value.nodeId === nodeId) leases.set(value.address, value.leaseMs);
  }
  return leases;
}

function show(state: State, wanted: ReadonlyMap<string, number>): void {
  const { claims } = state;
  for (const [address, claim] of claims) {
    if (wanted.has(address)) continue;
    rest(claim);
    claims.delete(address);
  }
  const gone = state.noted.filter(address => !wanted.has(address));
  if (gone.length > 0) {
    const present = listAddresses(state.netlink).filter(({ prefix }) => gone.includes(prefix.replace('/32', '')));
    sendRequests(state.netlink, present.map(removeAddress));
    note(
      state,
      state.noted.filter(address => wanted.has(address)),
    );
  }
  for (const [address, leaseMs] of wanted) {
    const known = claims.get(address);
    if (known !== undefined) {
      // Another length counts with the next word of a manager.
      if (known.leaseMs !== leaseMs) known.renewedMs = Number.NEGATIVE_INFINITY;
      known.leaseMs = leaseMs;
      continue;
    }
    const claim: Claim = {
      address,
      leaseMs,
      phase: 'waiting',
      link: undefined,
      socket: undefined,
      asked: 0,
      timer: undefined,
      renewedMs: Number.NEGATIVE_INFINITY,
    };
    claims.set(address, claim);
    turn(state, claim);
  }
}

function rest(claim: Claim): void {
  claim.timer?.cancel();
  claim.timer = undefined;
  claim.socket?.[Symbol.dispose]();
  claim.socket = undefined;
}

function heard(state: State): void {
  state.heardMs = state.clock.monotonicMs();
  for (const claim of state.claims.values()) {
    if (claim.phase === 'held') renew(state, claim);
    else if (claim.phase === 'waiting' && claim.timer === undefined) turn(state, claim);
  }
}

/** Whole seconds that the lease has still to run; 0: it is over. */
function secondsLeft({ heardMs, clock }: State, { leaseMs }: Claim): number {
  return heardMs === undefined ? 0 : Math.max(0, Math.floor((heardMs + leaseMs - clock.monotonicMs()) / 1_000));
}

function renew(state: State, claim: Claim): void {
  const nowMs = state.clock.monotonicMs();
  if (nowMs - claim.renewedMs < renewEveryMs || claim.link === undefined) return;
  claim.renewedMs = nowMs;
  attempt(state, claim, () => {
    const isThere = isOn(state, claim.address);
    lend(state, claim);
    // Its lease was over, or somebody removed it: the neighbours may think of another host.
    if (!isThere) announce(state, claim);
  });
}

function isOn({ netlink }: State, address: string): boolean {
  return listAddresses(netlink).some(({ prefix }) => prefix === `${address}/32`);
}

function lend(state: State, claim: Claim): void {
  const seconds = secondsLeft(state, claim);
  if (claim.link === undefined || seconds === 0) return;
  sendRequests(state.netlink, [leaseAddress({ index: claim.link.index, prefix: `${claim.address}/32` }, seconds)]);
}

function later(state: State, claim: Claim, ms: number): void {
  claim.timer?.cancel();
  claim.timer = state.clock.after(ms, () => {
    claim.timer = undefined;
    turn(state, claim);
  });
}

/** The next step towards having it. Without a manager that was heard of lately there is none. */
function turn(state: State, claim: Claim): void {
  if (claim.phase === 'held') return;
  if (secondsLeft(state, claim) === 0) {
    rest(claim);
    claim.phase = 'waiting';
    return;
  }
  attempt(state, claim, () => (claim.phase === 'waiting' ? begin(state, claim) : goOn(state, claim)));
}

/** What fails is told, and tried again in a while. */
function attempt(state: State, claim: Claim, work: () => void): void {
  try {
    work();
  } catch (error) {
    state.telemetry.log.warn('floating address not taken', { address: claim.address, error });
    rest(claim);
    claim.phase = 'waiting';
    later(state, claim, announceAgainMs);
  }
}

function begin(state: State, claim: Claim): void {
  const { kernel, namespace } = state;
  const link = findLinkFor(state, claim.address);
  claim.link = link;
  claim.asked = 0;
  claim.socket ??= kernel.openPackets(namespace, { protocol: 'arp', interfaceIndex: link.index });
  claim.phase = 'asking';
  if (isOn(state, claim.address)) hold(state, claim);
  else ask(state, claim);
}

function ask(state: State, claim: Claim): void {
  claim.socket?.take(framesMax);
  claim.asked += 1;
  claim.socket?.send(probeFrame(claim.link?.mac ?? '', claim.address));
  later(state, claim, probeEveryMs);
}

function goOn(state: State, claim: Claim): void {
  const other = (claim.socket?.take(framesMax) ?? [])
    .filter(packet => !packet.isOutgoing)
    .flatMap(packet => findArp(packet.frame) ?? [])
    .find(arp => arp.senderAddress === claim.address && arp.senderMac !== claim.link?.mac);
  if (other !== undefined) {
    if (claim.asked > 0) {
      state.telemetry.log.warn('floating address is in use', { address: claim.address, by: other.senderMac });
    }
    // 0: told once, however long it takes.
    claim.asked = 0;
    claim.socket?.send(probeFrame(claim.link?.mac ?? '', claim.address));
    later(state, claim, askAgainMs);
  } else if (claim.asked < probes) ask(state, claim);
  else hold(state, claim);
}

function hold(state: State, claim: Claim): void {
  if (!state.noted.includes(claim.address)) note(state, [...state.noted, claim.address]);
  lend(state, claim);
  claim.renewedMs = state.clock.monotonicMs();
  claim.phase = 'held';
  announce(state, claim);
  state.telemetry.log.info('floating address is here', { address: claim.address, link: claim.link?.name });
}

/** Twice, as one may get lost. */
function announce(state: State, claim: Claim): void {
  const { kernel, namespace } = state;
  if (claim.link === undefined) return;
  const frame = announcementFrame(claim.link.mac, claim.address);
  claim.socket ??= kernel.openPackets(namespace, { protocol: 'arp', interfaceIndex: claim.link.index });
  claim.socket.send(frame);
  claim.timer?.cancel();
  claim.timer = state.clock.after(announceAgainMs, () => {
    attempt(state, claim, () => claim.socket?.send(frame));
    if (claim.phase === 'held') rest(claim);
  });
}

/** The link with an address on the same network. */
function findLinkFor({ netlink }: State, address: string): LinkSeen {
  const wanted = { address, bits: 32 };
  const near = listAddresses(netlink).find(({ prefix }) => {
    const own = parsePrefix(prefix);
    return isAddressV4(own.address) && own.bits < 32 && overlapsV4(own, wanted);
  });
  const link = listLinks(netlink).find(one => one.index === near?.index && one.group !== linkGroup && one.mac !== '');
  if (link !== undefined) return link;
  throw new CoveyError('not-found', `Cannot have address ${address}: no link of this node is on its network`);
}

const noteName = 'floating.json';

function readNote({ files, directory }: FloatingOptions): readonly string[] {
  try {
    const list: unknown = JSON.parse(files.findTextSync(`${directory}/${noteName}`) ?? '[]');
    return Array.isArray(list) ? list.map(String) : [];
  } catch {
    return []; // cut short: the address it was about goes with its lease
  }
}

function note(state: State, addresses: readonly string[]): void {
  const { files, directory } = state;
  state.noted = addresses;
  if (addresses.length === 0) {
    files.removeFileSync(`${directory}/${noteName}`);
    return;
  }
  files.makeDirectorySync(directory);
  files.writeSync(`${directory}/${noteName}`, JSON.stringify(addresses));
}
