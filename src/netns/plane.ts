/**
 * The data plane of a node, open: the fabric and the host side with their rules, made or taken over for one identity. Each part
 * is compared and mended, when it is opened over what an earlier daemon left as well as on the timer.
 *
 * `objects` is what we know of addresses, routes, rules and neighbours in the fabric: read when opened, kept up to date with
 * each change, read anew by each check.
 *
 * Not here: what is wanted (wanted.ts), requests and timers (stack.ts), names (dns/).
 */
import { CoveyError } from '../errors.js';
import type { CaptureStart, NodeRoute, NodeTunnel } from '../gen/types.js';
import type { NamespaceHandle } from '../host.js';
import { applyWanted, forgetConnections, type ObjectTarget, removeObjects } from './apply.js';
import type { Attachment } from './attachment.js';
import type { Attachments } from './attachments.js';
import { isTaskDevice, resolverSocketsAt, tunnelOverheadBytes } from './constants.js';
import { captureOf } from './fabric-capture.js';
import { type FabricObject, isSame, keyOf, readFabric } from './fabric-object.js';
import { type Floating, openFloating } from './floating.js';
import { type HostPlane, openHostPlane } from './host-plane.js';
import { readHostRoutes } from './host-routes.js';
import type { FirewallProblem } from './legacy-firewall.js';
import { connectNamespace, type LinkFabric, makeTaskNamespace } from './link.js';
import { type LinkSeen, removeLink } from './netlink/links.js';
import { decodeMessage, sendRequests } from './netlink/message.js';
import { findNews } from './news.js';
import { fabricSkeleton } from './nft/skeleton.js';
import { openRuleTable, type RuleTable } from './nft/table.js';
import {
  ensureFabricSysctls,
  ensureTunnels,
  type Fabric,
  findFabric,
  makeFabric,
  readUnderlayMtu,
  removeTunnels,
  tunnelMtu,
} from './overlay.js';
import { openSecurePlane, type SecurePlane } from './secure-plane.js';
import type { HostChange, NetworkIdentity, NetworkOptions } from './types.js';
import { attachmentObjects, openParts, type Parts, planWanted, type Tables, type Wanted } from './wanted.js';
import { findEncryption, innerPort, isSecure, secureOverheadBytes } from './wireguard.js';

export interface Plane extends Disposable {
  /** Fabric, tunnels and host side as the identity says. True when there was no fabric before. */
  readonly configure: (identity: NetworkIdentity, tables: Tables) => boolean;
  readonly namespace: () => NamespaceHandle;
  /** Of new container links. */
  readonly mtu: () => number;
  /** The task's namespace with its link. */
  readonly attach: (attachment: Attachment) => void;
  readonly detach: (attachment: Attachment) => void;
  readonly apply: (tables: Tables, signal: AbortSignal) => Promise<void>;
  /** Looks at everything. Says what it mended. */
  readonly check: (tables: Tables, signal: AbortSignal) => Promise<readonly string[]>;
  /**
   * The same when the kernel has told of changes that are not ours, which costs next to nothing to ask. With `host`, switches
   * are looked at too, of which the kernel says nothing.
   */
  readonly glance: (
    tables: Tables,
    options: { readonly host: boolean; readonly signal: AbortSignal },
  ) => Promise<readonly string[]>;
  readonly hostRoutes: () => readonly NodeRoute[];
  /** A manager was heard of. */
  readonly heard: () => void;
  /** Packets of a task, or their way through the rules. */
  readonly capture: (attachment: Attachment, start: CaptureStart, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  readonly changes: () => readonly HostChange[];
  readonly firewallProblems: () => readonly FirewallProblem[];
  readonly tunnelFacts: () => NodeTunnel;
  readonly remove: () => Promise<readonly string[]>;
}

interface Opened {
  readonly identity: NetworkIdentity;
  readonly fabric: Fabric;
  readonly rules: RuleTable;
}

interface State {
  readonly options: NetworkOptions;
  readonly attachments: Attachments;
  readonly hostPlane: HostPlane;
  readonly floating: Floating;
  readonly fabricPath: string;
  readonly objects: Map<string, FabricObject>;
  /** Index of each link of the fabric. */
  readonly devices: Map<string, number>;
  readonly parts: Parts;
  readonly secure: SecurePlane;
  opened: Opened | undefined;
  mtu: number;
  /** Of packets between the hosts. */
  underlayMtu: number;
  /** The tunnels lead into WireGuard. */
  isSecure: boolean;
  nextIndex: number;
  /** What was applied last: what is missing in the next is gone. */
  last: Wanted | undefined;
  /** Links without a task that were there at the last check. */
  strays: ReadonlySet<string>;
}

const firstTaskIndex = 1_000;
const mtuDefault = 1_450;

export function openPlane(options: NetworkOptions, attachments: Attachments): Plane {
  const { host, telemetry, namespace, runDir } = options;
  const { kernel, clock, files } = host;
  const hostPlane = openHostPlane(options);
  const { netlink } = hostPlane;
  const state: State = {
    options,
    attachments,
    hostPlane,
    floating: openFloating({ kernel, clock, files, telemetry, netlink, namespace, directory: `${runDir}/network` }),
    fabricPath: `${options.runDir}/netns/fabric`,
    objects: new Map(),
    devices: new Map(),
    parts: openParts(),
    secure: openSecurePlane(options),
    opened: undefined,
    mtu: mtuDefault,
    underlayMtu: mtuDefault + tunnelOverheadBytes.v4,
    isSecure: false,
    nextIndex: firstTaskIndex,
    last: undefined,
    strays: new Set(),
  };
  return {
    configure: (identity, tables) => configure(state, identity, tables),
    namespace: () => current(state).fabric.namespace,
    mtu: () => state.mtu,
    attach: attachment => attach(state, attachment),
    detach: attachment => detach(state, attachment),
    apply: async (tables, signal) => {
      await applyTables(state, { tables, signal, verify: false });
    },
    check: (tables, signal) => check(state, tables, signal),
    glance: (tables, options) => glance(state, tables, options),
    hostRoutes: () => readHostRoutes(state.hostPlane.netlink),
    heard: () => state.floating.heard(),
    capture: (attachment, start, signal) => {
      const { fabric } = current(state);
      return captureOf({ kernel, clock, fabric, prefix: options.prefix, attachment }, start, signal);
    },
    changes: () => [...changesOf(state), ...state.floating.changes()],
    firewallProblems: state.hostPlane.firewallProblems,
    tunnelFacts: () => state.secure.facts(state.hostPlane.netlink),
    remove: () => remove(state),
    [Symbol.dispose]: () => {
      state.opened?.fabric[Symbol.dispose]();
      state.opened = undefined;
      state.floating[Symbol.dispose]();
      state.hostPlane[Symbol.dispose]();
    },
  };
}

function current({ opened }: State): Opened {
  if (opened === undefined)
    throw new CoveyError('bug', 'Cannot use the fabric before the identity of the node is known');
  return opened;
}

function configure(state: State, identity: NetworkIdentity, tables: Tables): boolean {
  const { prefix, runDir, host } = state.options;
  let fabric = state.opened?.fabric ?? findFabric(host.kernel, state.fabricPath);
  const made = fabric === undefined;
  if (fabric === undefined) {
    host.files.makeDirectorySync(`${runDir}/netns`);
    // They would keep a fabric alive that has lost its name, with tunnels that are in the way.
    host.kernel.releaseKeptSockets(resolverSocketsAt(runDir));
    fabric = makeFabric(host.kernel, state.fabricPath);
  }
  const { nft, netfilter } = fabric;
  const rules = state.opened?.rules ?? openRuleTable({ nft, netfilter, skeleton: fabricSkeleton(prefix) });
  state.opened = { identity, fabric, rules };
  ensure(state, tables);
  readObjects(state);
  return made;
}

/** Everything but objects and rules: switches, host link, tunnels. Says what it mended. */
function ensure(state: State, tables: Tables): string[] {
  const { hostPlane, options } = state;
  const { fabric, identity } = current(state);
  const switched = ensureFabricSysctls(options.host.kernel, fabric.namespace);
  const peers = peersOf(tables, identity);
  state.underlayMtu = readUnderlayMtu(hostPlane.netlink, { local: identity.dataAddress, peers });
  state.mtu = tunnelMtu(state.underlayMtu, findEncryption(tables) !== undefined, identity.dataAddress);
  const host = hostPlane.ensure(fabric, state.underlayMtu);
  state.isSecure = isSecure(tables);
  const underlay = state.isSecure
    ? { netlink: fabric.netlink, local: undefined, port: innerPort }
    : { netlink: hostPlane.netlink, local: identity.dataAddress, port: identity.dataPort };
  const tunnels = ensureTunnels(fabric, { underlay, identity, mtu: state.mtu });
  return [
    ...switched.map(name => `sysctl ${name} of the fabric`),
    ...host,
    ...tunnels.map(name => `tunnel ${name} made`),
  ];
}

function peersOf(tables: Tables, identity: NetworkIdentity): string[] {
  return [...tables.values()].flatMap(({ value }) =>
    value?.kind === 'node' && value.nodeId !== identity.nodeId ? value.dataAddresses.slice(0, 1) : [],
  );
}

function readObjects(state: State): readonly LinkSeen[] {
  const { objects, devices } = state;
  const seen = readFabric(current(state).fabric.netlink);
  objects.clear();
  devices.clear();
  for (const [key, object] of seen.objects) objects.set(key, object);
  for (const link of seen.links) devices.set(link.name, link.index);
  state.nextIndex = Math.max(state.nextIndex, ...seen.links.map(link => link.index + 1));
  return seen.links;
}

function linkFabric(state: State): LinkFabric {
  return {
    netlink: current(state).fabric.netlink,
    nextIndex: () => {
      state.nextIndex += 1;
      return state.nextIndex - 1;
    },
  };
}

function attach(state: State, attachment: Attachment): void {
  const { kernel } = state.options.host;
  const path = state.attachments.pinOf(attachment.taskId);
  if (attachment.kind === 'none') {
    makeTaskNamespace(kernel, undefined, { path, attachment });
    return;
  }
  makeTaskNamespace(kernel, linkFabric(state), { path, attachment });
  state.devices.set(attachment.device, state.nextIndex - 1);
  for (const object of attachmentObjects(attachment)) state.objects.set(keyOf(object), object);
}

/** The way to the task at once; the link goes with the namespace, which the kernel ends in the background. */
function detach(state: State, attachment: Attachment): void {
  if (state.opened !== undefined) {
    const own = attachmentObjects(attachment).filter(object => {
      const there = state.objects.get(keyOf(object));
      return there !== undefined && isSame(there, object);
    });
    removeObjects(targetOf(state), own);
    state.devices.delete(attachment.device);
  }
  state.options.host.kernel.removeNamespace(state.attachments.pinOf(attachment.taskId));
}

function targetOf(state: State): ObjectTarget {
  return { netlink: current(state).fabric.netlink, devices: () => state.devices, objects: state.objects };
}

async function applyTables(
  state: State,
  { tables, signal, verify }: { readonly tables: Tables; readonly signal: AbortSignal; readonly verify: boolean },
): Promise<readonly string[]> {
  const { hostPlane, attachments, options } = state;
  const { identity, rules, fabric } = current(state);
  const secured = await secureTunnels(state, { tables, signal, verify });
  const { addresses: hostAddresses } = hostPlane.uplinks();
  const wantedFrom = { identity, hostLink: hostPlane.link(), tables, attachments: attachments.list(), hostAddresses };
  const now = planWanted(wantedFrom, state.parts);
  const target = { ...targetOf(state), fabricRules: rules, hostRules: hostPlane.rules(), guarded: hostPlane.guarded() };
  const done = await applyWanted(target, now, verify);
  hostPlane.switchForwarding();
  state.secure.confirm(tables);
  state.floating.show(tables, identity.nodeId);
  const before = state.last;
  state.last = now;
  if (before !== undefined) {
    const sockets = { fabric: fabric.netfilter, host: hostPlane.netfilter };
    await forgetConnections({ clock: options.host.clock, ...sockets, before, now, signal });
  }
  return [...secured, ...done];
}

/** WireGuard's devices as the tables say; when those come or go, or tunnels begin or end to lead into them, the tunnels too. */
async function secureTunnels(
  state: State,
  asked: { readonly tables: Tables; readonly signal: AbortSignal; readonly verify: boolean },
): Promise<readonly string[]> {
  const { fabric, identity } = current(state);
  const hostNetlink = state.hostPlane.netlink;
  const mtu = state.underlayMtu - secureOverheadBytes;
  const done = await state.secure.apply({ fabric, hostNetlink, identity, mtu, ...asked });
  if (done.length === 0 && isSecure(asked.tables) === state.isSecure) return [];
  const tunnels = ensure(state, asked.tables);
  readObjects(state);
  return [...done, ...tunnels];
}

async function check(state: State, tables: Tables, signal: AbortSignal): Promise<readonly string[]> {
  const mended = ensure(state, tables);
  const links = mendLinks(state, readObjects(state));
  if (links.length > 0) readObjects(state);
  const rest = await applyTables(state, { tables, signal, verify: true });
  return [...mended, ...links, ...rest, ...(await state.hostPlane.checkFirewall(current(state).identity.dataPort))];
}

async function glance(
  state: State,
  tables: Tables,
  { host, signal }: { readonly host: boolean; readonly signal: AbortSignal },
): Promise<readonly string[]> {
  const { hostPlane } = state;
  const hasHostNews = hostPlane.hasNews();
  if (hasFabricNews(state) || !hostPlane.isUntouched()) return check(state, tables, signal);
  if (!host && !hasHostNews) return [];
  // Links of others come and go on some hosts all day: what counts is whether anything of it is ours, or an uplink.
  const before = JSON.stringify(hostPlane.uplinks());
  const mtu = state.mtu;
  const opened = await hostPlane.checkLegacyFirewall(current(state).identity.dataPort);
  const mended = [...ensure(state, tables), ...opened];
  if (mended.length === 0 && JSON.stringify(hostPlane.uplinks()) === before && state.mtu === mtu) return [];
  return [...mended, ...(await check(state, tables, signal))];
}

function hasFabricNews({ opened, objects, devices, options }: State): boolean {
  if (opened === undefined) return false;
  const told = opened.fabric.news.take();
  const news =
    told === undefined ? 'more changes than could be told' : findNews(told.map(decodeMessage), { objects, devices });
  if (news === undefined) return !opened.rules.isUntouched();
  options.telemetry.log.debug('fabric changed', { news });
  return true;
}

/** Links of tasks that somebody deleted are made again; links without a task that do not go by themselves are removed. */
function mendLinks(state: State, links: readonly LinkSeen[]): string[] {
  const { attachments, options } = state;
  const { kernel } = options.host;
  const present = new Set(links.map(link => link.name));
  const wanted = new Map(attachments.list().map(one => [one.device, one]));
  const mended: string[] = [];
  for (const attachment of wanted.values()) {
    if (attachment.kind === 'none' || present.has(attachment.device)) continue;
    const namespace = kernel.openNamespace(attachments.pinOf(attachment.taskId));
    try {
      connectNamespace(kernel, linkFabric(state), { namespace, attachment });
    } finally {
      kernel.closeNamespace(namespace);
    }
    mended.push(`link of task ${attachment.taskId}`);
  }
  const found = links.filter(link => isTaskDevice(link.name) && !wanted.has(link.name));
  const stuck = found.filter(link => state.strays.has(link.name));
  sendRequests(current(state).fabric.netlink, stuck.map(removeLink));
  state.strays = new Set(found.filter(link => !stuck.includes(link)).map(link => link.name));
  return [...mended, ...stuck.map(link => `stray link ${link.name}`)];
}

function changesOf({ opened, fabricPath, hostPlane }: State): readonly HostChange[] {
  const detail = 'the fabric: tunnels, links of containers, their routes and rules';
  const fabric = opened === undefined ? [] : [{ kind: 'namespace' as const, name: fabricPath, detail }];
  return [...fabric, ...hostPlane.changes()];
}

async function remove(state: State): Promise<readonly string[]> {
  const { kernel } = state.options.host;
  const fabric = state.opened?.fabric ?? findFabric(kernel, state.fabricPath);
  const done: string[] = [];
  if (fabric !== undefined) {
    removeTunnels(fabric);
    fabric[Symbol.dispose]();
    done.push('removed the fabric with its tunnels');
  }
  state.opened = undefined;
  state.last = undefined;
  kernel.removeNamespace(state.fabricPath);
  await state.secure.remove();
  return [...done, ...state.floating.remove(), ...(await state.hostPlane.remove())];
}
