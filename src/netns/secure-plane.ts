/**
 * The WireGuard devices of a node, in the fabric, with their UDP sockets in the host's namespace: the kernel's, and where it has
 * none those of the program wireguard-go, one process a device, which goes on while the daemon restarts and ends with its device.
 * Keys and peers go in by `wg`, which speaks to both.
 *
 * Keeps true: private keys stand in no argument list; peers that did not change keep their sessions.
 *
 * Called by plane.ts. Not here: who the peers are (wireguard.ts), addresses and routes of the devices (wanted.ts).
 */
import { CoveyError } from '../errors.js';
import type { NodeTunnel, TableItem, TableNode } from '../gen/types.js';
import type { NetlinkSocket } from '../host.js';
import { changeLink, listLinks, makeWireguard, moveLink, removeLink } from './netlink/links.js';
import { sendRequests } from './netlink/message.js';
import { listOwnAddresses } from './netlink/routes.js';
import { type Fabric, openFabricLink } from './overlay.js';
import { tryLink } from './probe.js';
import { openTunnelKeys, type TunnelKeyPair } from './tunnel-keys.js';
import type { NetworkHost, NetworkIdentity, NetworkOptions } from './types.js';
import {
  findEncryption,
  isAsWanted,
  planPeers,
  renderPeers,
  secureDevice,
  secureDevices,
  securePort,
} from './wireguard.js';

export interface SecurePlane {
  readonly apply: (wanted: SecureWanted) => Promise<readonly string[]>;
  /** What managers are told of it. */
  readonly facts: (hostNetlink: NetlinkSocket) => NodeTunnel;
  /** The step is in effect, its packet rules and routes included. */
  readonly confirm: (tables: ReadonlyMap<string, TableItem>) => void;
  readonly remove: () => Promise<void>;
}

export interface SecureWanted {
  readonly fabric: Fabric;
  readonly hostNetlink: NetlinkSocket;
  readonly identity: NetworkIdentity;
  readonly tables: ReadonlyMap<string, TableItem>;
  readonly mtu: number;
  /** Ask the devices what they have, too. */
  readonly verify: boolean;
  readonly signal: AbortSignal;
}

interface State {
  readonly options: NetworkOptions;
  readonly keys: ReturnType<typeof openTunnelKeys>;
  pairs: readonly TunnelKeyPair[];
  means: NodeTunnel['means'] | undefined;
  dataPort: number;
  step: number;
  /** What each device was given last. */
  readonly given: Map<string, string>;
}

const program = 'wireguard-go';
/** More than that has no machine whose sessions would come from any of them. */
const addressesMax = 64;
const toolWithinMs = 10_000;
const startWithinMs = 5_000;
const lookEveryMs = 20;

export function openSecurePlane(options: NetworkOptions): SecurePlane {
  const state: State = {
    options,
    keys: openTunnelKeys(options.host.files, `${options.dataDir}/network`),
    pairs: [],
    means: undefined,
    dataPort: 0,
    step: 0,
    given: new Map(),
  };
  return {
    apply: wanted => apply(state, wanted),
    facts: hostNetlink => ({
      means: meansOf(state),
      keys: state.pairs.map(({ epoch, publicKey }) => ({ epoch, publicKey, port: securePort(epoch, state.dataPort) })),
      step: state.step,
      ownAddresses: listOwnAddresses(hostNetlink).slice(0, addressesMax),
    }),
    confirm: tables => {
      const value = tables.get('encryption')?.value;
      state.step = value?.kind === 'encryption' ? value.step : 0;
    },
    remove: async () => {
      state.pairs = [];
      state.step = 0;
      state.given.clear();
      await state.keys.remove();
    },
  };
}

/** Looked for once: a module may be loaded later, then a restart of the daemon finds it. */
function meansOf(state: State): NodeTunnel['means'] {
  state.means ??= findMeans(state.options.host, state.options.namespace);
  return state.means;
}

export function findMeans(host: NetworkHost, namespace: NetworkOptions['namespace']): NodeTunnel['means'] {
  const { processes, files, kernel } = host;
  if (processes.findOnPath('wg') === undefined) return 'none';
  try {
    tryLink(kernel, 'wireguard', namespace);
    return 'kernel';
  } catch {
    // The kernel has none; whatever it said, the program may do.
  }
  const canRun = processes.findOnPath(program) !== undefined && files.findStatSync('/dev/net/tun') !== undefined;
  return canRun ? 'program' : 'none';
}

async function apply(state: State, wanted: SecureWanted): Promise<readonly string[]> {
  const { fabric, identity, tables, hostNetlink, mtu } = wanted;
  const encryption = findEncryption(tables);
  state.dataPort = identity.dataPort;
  const done: string[] = [];
  const epochs = encryption?.epochs ?? [];
  const kept = new Set(epochs.map(secureDevice));
  const links = listLinks(fabric.netlink);
  const surplus = links.filter(link => secureDevices.includes(link.name) && !kept.has(link.name));
  sendRequests(fabric.netlink, surplus.map(removeLink));
  for (const link of surplus) {
    state.given.delete(link.name);
    done.push(`removed ${link.name}`);
  }
  if (epochs.length === 0 && state.pairs.length === 0) return done;
  if (epochs.length > 0 && meansOf(state) === 'none') return done;
  state.pairs = await state.keys.take(epochs);
  for (const pair of state.pairs) {
    const name = secureDevice(pair.epoch);
    const there = listLinks(fabric.netlink).find(link => link.name === name);
    if (there === undefined) {
      await makeDevice(state, { name, fabric, hostNetlink, signal: wanted.signal });
      state.given.delete(name);
      done.push(`made ${name}`);
    }
    done.push(...(await setPeers(state, pair, wanted)));
    const link = listLinks(fabric.netlink).find(one => one.name === name);
    if (link === undefined) throw new CoveyError('netlink-refused', `Cannot find WireGuard device ${name}`);
    if (link.mtu !== mtu)
      sendRequests(fabric.netlink, changeLink({ index: link.index, mtu }, `set the MTU of ${name}`));
    if (!link.up) openFabricLink(fabric, link);
  }
  return done;
}

async function setPeers(state: State, pair: TunnelKeyPair, wanted: SecureWanted): Promise<readonly string[]> {
  const { identity, tables, verify, signal } = wanted;
  const name = secureDevice(pair.epoch);
  const nodes = [...tables.values()].flatMap(({ value }): TableNode[] => (value?.kind === 'node' ? [value] : []));
  const device = {
    privateKey: pair.privateKey,
    port: securePort(pair.epoch, identity.dataPort),
    peers: planPeers({ identity, nodes, relay: findEncryption(tables)?.relay ?? '' }, pair.epoch),
  };
  const text = renderPeers(device);
  const isGiven = state.given.get(name) === text;
  if (isGiven && !verify) return [];
  if (
    isGiven &&
    isAsWanted(await runTool(state, wanted.fabric, { args: ['show', toolName(state, name), 'dump'], signal }), device)
  )
    return [];
  const { files } = state.options.host;
  // Not by standard input: ours is a socket, which it cannot open by name.
  const path = `${state.options.runDir}/network/${name}.conf`;
  await files.makeDirectory(`${state.options.runDir}/network`);
  try {
    await files.write(path, text, { mode: 0o600 });
    await runTool(state, wanted.fabric, { args: ['syncconf', toolName(state, name), path], signal });
  } finally {
    await files.remove(path);
  }
  state.given.set(name, text);
  return [`peers of ${name} set`];
}

async function makeDevice(
  state: State,
  device: {
    readonly name: string;
    readonly fabric: Fabric;
    readonly hostNetlink: NetlinkSocket;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { name, fabric, hostNetlink, signal } = device;
  const namespaceFd = fabric.namespace.fd;
  if (meansOf(state) === 'kernel') {
    sendRequests(hostNetlink, [makeWireguard(name, namespaceFd)]);
    return;
  }
  const { host, namespace } = state.options;
  const born = toolName(state, name);
  const find = (): { readonly index: number; readonly name: string } | undefined =>
    listLinks(hostNetlink).find(link => link.name === born);
  const left = find();
  if (left !== undefined) sendRequests(hostNetlink, [removeLink(left)]);
  const enter = namespace === undefined ? [] : ['nsenter', `--net=${namespace.path}`];
  const { exited } = await host.processes.spawn([...enter, program, '-f', born], {
    stdio: ['ignore', 'ignore', 'ignore'],
    env: { LOG_LEVEL: 'silent', PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    detached: true,
  });
  let ended = false;
  void exited.then(() => {
    ended = true;
  });
  const endMs = host.clock.monotonicMs() + startWithinMs;
  // Its socket for `wg` comes last.
  const isUp = (): boolean => find() !== undefined && host.files.findStatSync(socketOf(born)) !== undefined;
  while (!isUp()) {
    if (ended || host.clock.monotonicMs() > endMs) {
      throw new CoveyError('no-wireguard', `Cannot start ${program} for ${name}`, {
        state: ended ? 'it has ended' : `no device after ${startWithinMs / 1_000} s`,
        hint: `${program} -f covey-try, as root, says why`,
      });
    }
    await host.clock.sleep(lookEveryMs, signal);
  }
  const link = find();
  if (link !== undefined) sendRequests(hostNetlink, [moveLink({ index: link.index, name, namespaceFd })]);
}

const socketOf = (born: string): string => `/var/run/wireguard/${born}.sock`;

/** What `wg` calls the device: the program's socket has the name that it was born with, of its own on the whole machine. */
function toolName(state: State, name: string): string {
  if (meansOf(state) === 'kernel') return name;
  let hash = 0x811c9dc5;
  for (const character of state.options.runDir) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  return `cw${hash.toString(36)}-${name.slice(2)}`;
}

async function runTool(
  { options }: State,
  fabric: Fabric,
  { args, signal }: { readonly args: readonly string[]; readonly signal: AbortSignal },
): Promise<string> {
  const argv = ['nsenter', `--net=${fabric.namespace.path}`, 'wg', ...args];
  const { exitCode, stdout, stderr } = await options.host.processes.run(argv, {
    signal,
    timeoutMs: toolWithinMs,
  });
  if (exitCode === 0) return stdout;
  throw new CoveyError('no-wireguard', `Cannot set up encrypted tunnels: wg ${args.slice(0, 2).join(' ')}`, {
    state: stderr.trim(),
  });
}
