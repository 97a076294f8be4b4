/**
 * Encrypted tunnels as data: which WireGuard devices a node has, whom each of them knows, and the text that `wg` takes. VXLAN
 * runs inside: a peer may send from its own tunnel address alone, while VXLAN carries any client's.
 *
 * Keys come in epochs. A node has a device for each epoch that counts, at most two, at even and odd places (device, port,
 * addresses), so that while keys are replaced it receives with both and sends with the active one: no packet is lost.
 *
 *     cw0  UDP port of the data path      169.254.128.0 + tunnel index     even epochs
 *     cw1  the one after it               169.254.192.0 + tunnel index     odd epochs
 *
 * A node behind a NAT calls all others and keeps its mapping open; two such nodes send by way of a manager that is not.
 *
 * Pure. Not here: devices and keys (secure-plane.ts, tunnel-keys.ts), when keys are replaced (daemon/encryption/).
 */
import type { TableEncryption, TableItem, TableNode } from '../gen/types.js';
import { addressOfNumber, numberOfV4 } from './ip.js';
import type { NetworkIdentity } from './types.js';

const epochBases = [numberOfV4('169.254.128.0'), numberOfV4('169.254.192.0')] as const;
const devices = ['cw0', 'cw1'] as const;
export const secureDevices: readonly string[] = devices;
/** WireGuard over IPv6: outer IP and UDP headers, its own header and its tag; over IPv4 it is 20 less. */
export const secureOverheadBytes = 80;
/** Of VXLAN inside, the same on all nodes. */
export const innerPort = 7_378;
/** Common NATs forget a UDP mapping after 30 s. */
const keepaliveSeconds = 25;

const isOdd = (epoch: number): 0 | 1 => (epoch % 2 === 0 ? 0 : 1);

export function secureDevice(epoch: number): string {
  return devices[isOdd(epoch)];
}

export function securePort(epoch: number, dataPort: number): number {
  return dataPort + isOdd(epoch);
}

export function secureAddress(tunnelIndex: number, epoch: number): string {
  return addressOfNumber(epochBases[isOdd(epoch)] + tunnelIndex);
}

/** undefined: nothing is encrypted, nor about to be. */
export function findEncryption(tables: ReadonlyMap<string, TableItem>): TableEncryption | undefined {
  const value = tables.get('encryption')?.value;
  return value?.kind === 'encryption' && value.epochs.length > 0 ? value : undefined;
}

/** Packets go encrypted, or not at all. */
export function isSecure(tables: ReadonlyMap<string, TableItem>): boolean {
  return (findEncryption(tables)?.active ?? 0) > 0;
}

export interface SecurePeer {
  /** Base64. */
  readonly publicKey: string;
  /** "host:port"; undefined: it calls. */
  readonly endpoint: string | undefined;
  /** Addresses that it may send from, hence is sent to. */
  readonly allowed: readonly string[];
  readonly keepalive: number;
}

export interface SecureNodes {
  readonly identity: Pick<NetworkIdentity, 'nodeId' | 'tunnelIndex'>;
  readonly nodes: Iterable<TableNode>;
  /** Id of the node that passes packets on between two behind NATs. */
  readonly relay: string;
}

/** Whom the device of an epoch knows. */
export function planPeers({ identity, nodes, relay }: SecureNodes, epoch: number): SecurePeer[] {
  const all = [...nodes];
  const own = all.find(node => node.nodeId === identity.nodeId);
  const calls = own?.tunnel?.behindNat === true;
  const others = all.filter(node => node.nodeId !== identity.nodeId && keyOf(node, epoch) !== undefined);
  const isRelayed = (node: TableNode): boolean => calls && node.tunnel?.behindNat === true;
  const relayed = others.filter(isRelayed).map(node => secureAddress(node.tunnelIndex, epoch));
  return others
    .filter(node => !isRelayed(node))
    .map(node => {
      const key = keyOf(node, epoch);
      const [host = ''] = node.dataAddresses;
      return {
        publicKey: key?.publicKey ?? '',
        endpoint: node.tunnel?.behindNat === true ? undefined : joinEndpoint(host, key?.port ?? 0),
        allowed: [secureAddress(node.tunnelIndex, epoch), ...(node.nodeId === relay ? relayed : [])],
        keepalive: calls ? keepaliveSeconds : 0,
      };
    })
    .sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1));
}

function keyOf(node: TableNode, epoch: number): { readonly publicKey: string; readonly port: number } | undefined {
  return node.tunnel?.keys.find(key => key.epoch === epoch);
}

/** Packets reach it with the keys that are sent with now. */
export function hasKey(node: TableNode, encryption: TableEncryption): boolean {
  return keyOf(node, encryption.active) !== undefined;
}

function joinEndpoint(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** What `wg syncconf` reads. */
export function renderPeers(device: {
  readonly privateKey: string;
  readonly port: number;
  readonly peers: readonly SecurePeer[];
}): string {
  const { privateKey, port, peers } = device;
  const sections = peers.map(({ publicKey, endpoint, allowed, keepalive }) =>
    [
      '[Peer]',
      `PublicKey = ${publicKey}`,
      ...(endpoint === undefined ? [] : [`Endpoint = ${endpoint}`]),
      `AllowedIPs = ${allowed.map(address => `${address}/32`).join(', ')}`,
      ...(keepalive === 0 ? [] : [`PersistentKeepalive = ${keepalive}`]),
    ].join('\n'),
  );
  return `${[`[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${port}`, ...sections].join('\n')}\n`;
}

/** Whether `wg show DEVICE dump` says the same. Where a peer that moves is now is its own affair. */
export function isAsWanted(
  dump: string,
  device: { readonly privateKey: string; readonly port: number; readonly peers: readonly SecurePeer[] },
): boolean {
  const [own = '', ...lines] = dump.trim().split('\n');
  const [privateKey, , port] = own.split('\t');
  if (privateKey !== device.privateKey || port !== String(device.port)) return false;
  const seen = new Map(
    lines.map(line => {
      const [key = '', , endpoint = '', allowed = '', , , , keepalive = ''] = line.split('\t');
      return [key, { endpoint, allowed: allowed.split(',').sort().join(), keepalive }] as const;
    }),
  );
  return (
    seen.size === device.peers.length &&
    device.peers.every(peer => {
      const there = seen.get(peer.publicKey);
      const allowed = peer.allowed.map(address => `${address}/32`).sort();
      return (
        there?.allowed === allowed.join() &&
        there.keepalive === (peer.keepalive === 0 ? 'off' : String(peer.keepalive)) &&
        (peer.endpoint === undefined || there.endpoint !== '(none)')
      );
    })
  );
}
