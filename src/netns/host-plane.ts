/**
 * The host's side of the data plane while the daemon runs: sockets in the host's namespace, the link, the table of rules, what
 * was noted of sysctls and firewalls. Compared and mended by `ensure` and `checkFirewall`, undone by `remove`.
 *
 * Not here: the decisions (host-side.ts, nft/firewall.ts), the fabric (plane.ts).
 */
import { CoveyError } from '../errors.js';
import type { NetlinkNews, NetlinkSocket } from '../host.js';
import { deviceHost, linkGroup } from './constants.js';
import {
  ensureHostLink,
  type ForwardingPlan,
  forwardingOf,
  type HostSocket,
  indexOf,
  planForwarding,
  readUplinks,
  restoreSysctls,
  type SysctlChange,
  type Uplinks,
} from './host-side.js';
import { checkLegacy, type FirewallProblem, type LegacyOptions, removeLegacy } from './legacy-firewall.js';
import { listLinks, removeLink } from './netlink/links.js';
import { sendRequests } from './netlink/message.js';
import { hostGroups } from './news.js';
import { type Passage, planFirewall, planFirewallRemoval, readFirewall } from './nft/firewall.js';
import { readGeneration } from './nft/generation.js';
import { hostSkeleton } from './nft/skeleton.js';
import { openRuleTable, type RuleTable } from './nft/table.js';
import { type Fabric, openFabricLink } from './overlay.js';
import type { HostChange, HostLink, NetworkOptions } from './types.js';

export interface HostPlane extends Disposable {
  readonly netlink: NetlinkSocket;
  readonly netfilter: NetlinkSocket;
  /** Link up, uplinks read, forwarding planned. Says what it mended. */
  readonly ensure: (fabric: Fabric, mtu: number) => readonly string[];
  readonly link: () => HostLink;
  readonly rules: () => RuleTable;
  readonly uplinks: () => Uplinks;
  /** Uplinks that have to forward to the fabric only. Their rule stands before `switchForwarding` is called. */
  readonly guarded: () => readonly string[];
  readonly switchForwarding: () => void;
  /** Links, addresses or switches of the host have changed since the last call, whoever's they are. */
  readonly hasNews: () => boolean;
  /** No packet rule of the host has changed since all was as wanted. */
  readonly isUntouched: () => boolean;
  /** Accept rules where the host's firewall drops. Looks only when some rule of the host has changed. */
  readonly checkFirewall: (dataPort: number) => Promise<readonly string[]>;
  /** The part of that which no generation tells of; nearly free where there are no such rules. */
  readonly checkLegacyFirewall: (dataPort: number) => Promise<readonly string[]>;
  /** Where it is in the way and could not be opened, as of the last check. */
  readonly firewallProblems: () => readonly FirewallProblem[];
  readonly changes: () => readonly HostChange[];
  readonly remove: () => Promise<readonly string[]>;
}

const clusterPortDefault = 7_377;

interface State {
  readonly options: NetworkOptions;
  readonly device: string;
  readonly notePath: string;
  readonly socket: HostSocket;
  readonly netfilter: NetlinkSocket;
  readonly news: NetlinkNews;
  link: HostLink | undefined;
  rules: RuleTable | undefined;
  uplinks: Uplinks;
  /** Sysctls that were changed, with their former values; the same as in the file. */
  noted: readonly SysctlChange[];
  forwarding: ForwardingPlan;
  /** Chains of others with accept rules of ours. */
  accepted: readonly string[];
  /** The same of iptables-legacy. */
  legacyAccepted: readonly string[];
  problems: readonly FirewallProblem[];
  /** Of the host's rules when the firewall was last found as wanted, and for which port of the data path. */
  firewallGeneration: number | undefined;
  firewallPort: number;
}

export function openHostPlane(options: NetworkOptions): HostPlane {
  const { host, prefix, runDir, namespace } = options;
  const { kernel, files } = host;
  const netlink = kernel.openNetlink(namespace);
  const netfilter = kernel.openNetlink(namespace, 'netfilter');
  const nft = kernel.openNft(namespace);
  const news = kernel.followNetlink(namespace, hostGroups);
  const notePath = `${runDir}/network/host.json`;
  const noted = parseNote(files.findTextSync(notePath) ?? '[]');
  const state: State = {
    options,
    device: `${prefix}0`,
    notePath,
    socket: { kernel, namespace, netlink, nft },
    netfilter,
    news,
    link: undefined,
    rules: undefined,
    uplinks: { names: [], addresses: [] },
    noted,
    forwarding: { switchOn: [], guarded: [], changes: noted },
    accepted: [],
    legacyAccepted: [],
    problems: [],
    firewallGeneration: undefined,
    firewallPort: 0,
  };
  return {
    netlink,
    netfilter,
    ensure: (fabric, mtu) => ensure(state, fabric, mtu),
    link: () => known(state.link),
    rules: () => known(state.rules),
    uplinks: () => state.uplinks,
    guarded: () => state.forwarding.guarded,
    switchForwarding: () => switchForwarding(state),
    hasNews: () => news.take()?.length !== 0,
    isUntouched: () => isUntouched(state),
    checkFirewall: dataPort => checkFirewall(state, dataPort),
    checkLegacyFirewall: dataPort => checkLegacyFirewall(state, dataPort),
    firewallProblems: () => state.problems,
    changes: () => changesOf(state),
    remove: () => remove(state),
    [Symbol.dispose]: () => {
      news[Symbol.dispose]();
      netlink[Symbol.dispose]();
      netfilter[Symbol.dispose]();
      nft[Symbol.dispose]();
    },
  };
}

function known<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new CoveyError('bug', 'Cannot use the host side of the network before it is made');
  return value;
}

function ensure(state: State, fabric: Fabric, mtu: number): string[] {
  const { socket, device, netfilter, noted } = state;
  const { prefix } = state.options;
  const { kernel, namespace, netlink, nft } = socket;
  const found = ensureHostLink(socket, { prefix, fabric: fabric.namespace, fabricNetlink: fabric.netlink, mtu });
  if (found.made) openFabricLink(fabric, { index: indexOf(fabric.netlink, deviceHost), name: deviceHost });
  if (state.rules === undefined || found.link.hostAddress !== state.link?.hostAddress) {
    state.rules = openRuleTable({ nft, netfilter, skeleton: hostSkeleton(prefix, device, found.link) });
  }
  state.link = found.link;
  state.uplinks = readUplinks(netlink);
  const read = (name: string): string | undefined => kernel.readSysctl(namespace, name);
  state.forwarding = planForwarding({ uplinks: state.uplinks.names, noted, read });
  return [
    ...(found.made ? [`link ${device} made`] : []),
    ...found.switched.map(name => `sysctl ${name}`),
    ...state.forwarding.switchOn.map(name => `forwarding on ${name}`),
  ];
}

/** Noted first, then changed: a crash in between costs a line in a file. */
function switchForwarding(state: State): void {
  const { forwarding, noted, socket } = state;
  const { runDir, host } = state.options;
  if (forwarding.switchOn.length === 0) return;
  if (forwarding.changes.length !== noted.length) {
    host.files.makeDirectorySync(`${runDir}/network`);
    host.files.writeSync(state.notePath, JSON.stringify(forwarding.changes));
    state.noted = forwarding.changes;
  }
  for (const name of forwarding.switchOn) socket.kernel.writeSysctl(socket.namespace, forwardingOf(name), '1');
  state.forwarding = { ...forwarding, switchOn: [] };
}

function isUntouched({ rules, firewallGeneration, netfilter }: State): boolean {
  return rules?.isUntouched() === true && firewallGeneration === readGeneration(netfilter);
}

async function checkFirewall(state: State, dataPort: number): Promise<readonly string[]> {
  const mended = await checkNftFirewall(state, passageOf(state, dataPort));
  return [...mended, ...(await checkLegacyFirewall(state, dataPort))];
}

async function checkLegacyFirewall(state: State, dataPort: number): Promise<readonly string[]> {
  const legacy = await checkLegacy(legacyOptions(state.options), passageOf(state, dataPort));
  state.legacyAccepted = legacy.chains;
  state.problems = legacy.problems;
  return legacy.mended;
}

function passageOf({ device, options }: State, dataPort: number): Passage {
  const { prefix, clusterPort = clusterPortDefault } = options;
  return { prefix, device, dataPorts: [dataPort, dataPort + 1], clusterPort };
}

async function checkNftFirewall(state: State, passage: Passage): Promise<readonly string[]> {
  const { netfilter, socket } = state;
  const [dataPort] = passage.dataPorts;
  const now = readGeneration(netfilter);
  if (now !== undefined && now === state.firewallGeneration && dataPort === state.firewallPort) return [];
  const plan = planFirewall(await readFirewall(socket.nft), passage);
  state.accepted = plan.chains;
  if (plan.commands === '') {
    state.firewallGeneration = now;
    state.firewallPort = dataPort;
    return [];
  }
  await socket.nft.run(plan.commands);
  return plan.chains.map(chain => `accept rules in ${chain}`);
}

const legacyWithinMs = 30_000;

function legacyOptions({ host, namespace }: NetworkOptions): LegacyOptions {
  const { processes, files } = host;
  const signal = AbortSignal.timeout(legacyWithinMs);
  const enter = namespace === undefined ? [] : ['nsenter', `--net=${namespace.path}`];
  const findText = async (path: string): Promise<string | undefined> =>
    namespace === undefined
      ? files.findTextSync(path)
      : (await processes.run([...enter, 'cat', path], { signal, timeoutMs: legacyWithinMs })).stdout;
  return { processes, enter, findText, signal };
}

async function remove(state: State): Promise<readonly string[]> {
  const { socket, device } = state;
  const { netlink, nft } = socket;
  const { prefix, host } = state.options;
  const done: string[] = [];
  const left = listLinks(netlink).find(one => one.name === device && one.group === linkGroup);
  if (left !== undefined) {
    sendRequests(netlink, [removeLink(left)]);
    done.push(`removed link ${device}`);
  }
  for (const change of restoreSysctls(socket, state.noted)) {
    done.push(`set ${dotted(change.name)} back to ${change.before}`);
  }
  const chains = await readFirewall(nft);
  const commands = planFirewallRemoval(chains, prefix);
  if (commands !== '') {
    await nft.run(commands);
    done.push(...state.accepted.map(chain => `removed accept rules from ${chain}`));
  }
  done.push(...(await removeLegacy(legacyOptions(state.options), prefix)));
  await nft.run(`add table inet ${prefix}\ndelete table inet ${prefix}\n`);
  if (state.rules !== undefined) done.push(`removed table inet ${prefix}`);
  await host.files.remove(state.notePath);
  state.noted = [];
  state.accepted = [];
  state.legacyAccepted = [];
  state.problems = [];
  state.firewallGeneration = undefined;
  state.rules = undefined;
  state.link = undefined;
  return done;
}

function changesOf({ link, device, options, noted, accepted, legacyAccepted }: State): readonly HostChange[] {
  const own: HostChange[] =
    link === undefined
      ? []
      : [
          { kind: 'link', name: device, detail: 'leads to the fabric of covey' },
          { kind: 'address', name: device, detail: `${link.hostAddress}/30` },
          {
            kind: 'nft-table',
            name: `inet ${options.prefix}`,
            detail: 'published ports, way out, guard of the uplinks',
          },
        ];
  return [
    ...own,
    ...noted.map(one => ({ kind: 'sysctl' as const, name: dotted(one.name), detail: `${one.before} -> ${one.after}` })),
    ...[...accepted, ...legacyAccepted].map(chain => ({
      kind: 'nft-rule' as const,
      name: chain,
      detail: /input/i.test(chain) ? 'accepts what comes in from other nodes' : `accepts what ${device} carries`,
    })),
  ];
}

/** As sysctl(8) prints it. */
function dotted(name: string): string {
  return name.replaceAll('.', '\0').replaceAll('/', '.').replaceAll('\0', '/');
}

function parseNote(text: string): SysctlChange[] {
  try {
    const list: unknown = JSON.parse(text);
    if (!Array.isArray(list)) return [];
    return list.map(one => ({ name: String(one.name), before: String(one.before), after: String(one.after) }));
  } catch {
    // Cut short by a crash while it was written: the sysctl it was about had not been changed yet.
    return [];
  }
}
