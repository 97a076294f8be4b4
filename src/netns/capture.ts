/**
 * Packets of a link of the fabric as a file in the form of pcap, for tcpdump and Wireshark: the host's own tools see nothing of what
 * passes between containers.
 *
 * `pcapHeader`, `pcapRecord` and `isWanted` are pure; `capture` reads the socket. Not here: which link (stack.ts), the way through the
 * rules (trace.ts).
 */
import type { Clock, Kernel, NamespaceHandle } from '../host.js';
import type { PacketSeen } from '../packet-socket.js';
import { isAddressV4, parseAddress } from './ip.js';

export interface PacketFilter {
  /** From or to it; empty: all. */
  readonly address: string;
  /** Of TCP or UDP, from or to it; 0: all. */
  readonly port: number;
}

const frameBytesMax = 262_144;
const linkTypeEthernet = 1;
const etherTypeV4 = 0x0800;
/** Between two looks, and packets that one look takes at most. */
const lookEveryMs = 20;
const packetsMax = 2_048;
const chunkBytesMax = 65_536;

export function pcapHeader(): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0); // times in microseconds
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(frameBytesMax, 16);
  header.writeUInt32LE(linkTypeEthernet, 20);
  return header;
}

export function pcapRecord({ frame, sizeBytes, atMs }: Pick<PacketSeen, 'frame' | 'sizeBytes' | 'atMs'>): Buffer {
  const header = Buffer.alloc(16);
  const seconds = Math.floor(atMs / 1_000);
  header.writeUInt32LE(seconds, 0);
  header.writeUInt32LE(Math.floor((atMs - seconds * 1_000) * 1_000), 4);
  header.writeUInt32LE(frame.length, 8);
  header.writeUInt32LE(sizeBytes, 12);
  return Buffer.concat([header, frame]);
}

export function isWanted(packet: Uint8Array, { address, port }: PacketFilter): boolean {
  if (address === '' && port === 0) return true;
  const bytes = Buffer.from(packet.buffer, packet.byteOffset, packet.length);
  if (bytes.length < 34 || bytes.readUInt16BE(12) !== etherTypeV4) return false;
  if (address !== '') {
    const wanted = isAddressV4(address) ? parseAddress(address) : Buffer.alloc(0);
    if (!bytes.subarray(26, 30).equals(wanted) && !bytes.subarray(30, 34).equals(wanted)) return false;
  }
  if (port === 0) return true;
  const at = 14 + ((bytes[14] ?? 0) & 0x0f) * 4;
  // Later fragments have no ports.
  if ((bytes[23] !== 6 && bytes[23] !== 17) || (bytes.readUInt16BE(20) & 0x1fff) !== 0 || bytes.length < at + 4) {
    return false;
  }
  return bytes.readUInt16BE(at) === port || bytes.readUInt16BE(at + 2) === port;
}

/** Until so many packets were seen (0: without end), or the signal. */
export async function* capture(
  { kernel, clock, namespace }: { readonly kernel: Kernel; readonly clock: Clock; readonly namespace: NamespaceHandle },
  options: { readonly interfaceIndex: number; readonly count: number; readonly filter: PacketFilter },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { interfaceIndex, count, filter } = options;
  using socket = kernel.openPackets(namespace, { protocol: 'all', interfaceIndex });
  yield pcapHeader();
  let left = count === 0 ? Number.POSITIVE_INFINITY : count;
  while (left > 0 && !signal.aborted) {
    const seen = socket.take(packetsMax).filter(packet => isWanted(packet.frame, filter));
    const records = seen.slice(0, left).map(pcapRecord);
    left -= records.length;
    yield* chunksOf(records);
    if (seen.length < packetsMax && left > 0) await clock.sleep(lookEveryMs, signal);
  }
}

function* chunksOf(records: readonly Buffer[]): Generator<Uint8Array> {
  let waiting: Buffer[] = [];
  let bytes = 0;
  for (const record of records) {
    if (bytes + record.length > chunkBytesMax && waiting.length > 0) {
      yield Buffer.concat(waiting);
      waiting = [];
      bytes = 0;
    }
    waiting.push(record);
    bytes += record.length;
  }
  if (waiting.length > 0) yield Buffer.concat(waiting);
}
