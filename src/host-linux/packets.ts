/**
 * Packet sockets (packet(7)): whole Ethernet frames as they come and go on the links of a namespace, and frames of our own. Reading
 * never waits: what has come gathers in the socket until somebody takes it.
 *
 * Not here: what the frames say (netns/arp.ts, netns/capture.ts).
 */
import * as fs from 'node:fs';
import type { Kernel } from '../host.js';
import type { PacketSeen } from '../packet-socket.js';
import { lastErrno, libcFunction, systemCallError } from './libc.js';
import { insideNamespace } from './namespaces.js';

const socket = libcFunction<[number, number, number], number>('int socket(int domain, int type, int protocol)');
const bind = libcFunction<[number, Uint8Array, number], number>(
  'int bind(int fd, const uint8_t *address, uint32_t length)',
);
const setsockopt = libcFunction<[number, number, number, Uint8Array, number], number>(
  'int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)',
);
const send = libcFunction<[number, Uint8Array, number, number], number>(
  'long send(int fd, const uint8_t *data, size_t size, int flags)',
);
const recvfrom = libcFunction<[number, Uint8Array, number, number, Uint8Array, Uint8Array], number>(
  'long recvfrom(int fd, _Out_ uint8_t *data, size_t size, int flags, _Out_ uint8_t *address, _Inout_ uint8_t *length)',
);

const ioctl = libcFunction<[number, number, Uint8Array], number>(
  'int ioctl(int fd, unsigned long request, _Out_ uint8_t *value)',
);

/** The first call has the kernel note the time of each packet. */
const SIOCGSTAMPNS = 0x8907;
const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const MSG_DONTWAIT = 0x40;
/** recvfrom gives the whole length of a frame that was longer than the buffer. */
const MSG_TRUNC = 0x20;
const PACKET_OUTGOING = 4;
const addressBytes = 20;
const frameBytesMax = 65_536;
const bufferBytes = 8 << 20;
const protocols = { all: 0x0003, arp: 0x0806 } as const;

export const linuxPackets: Pick<Kernel, 'openPackets'> = {
  openPackets: (namespace, { protocol, interfaceIndex }) => {
    const number = protocols[protocol];
    // Without a protocol until it is bound, or it would hear of every link in between.
    const fd = insideNamespace(namespace, () => socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0));
    if (fd < 0) throw systemCallError({ call: 'open', object: 'a packet socket', errno: lastErrno() });
    const size = Buffer.from(new Uint32Array([bufferBytes]).buffer);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size, 4);
    const address = Buffer.alloc(addressBytes);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(number, 2);
    address.writeInt32LE(interfaceIndex, 4);
    if (bind(fd, address, addressBytes) !== 0) {
      const error = systemCallError({ call: 'listen on', object: `link ${interfaceIndex}`, errno: lastErrno() });
      fs.closeSync(fd);
      throw error;
    }
    timeOfLast(fd);
    const buffer = Buffer.alloc(frameBytesMax);
    let open = true;
    return {
      take: max => {
        const seen: PacketSeen[] = [];
        while (open && seen.length < max) {
          const packet = receive(fd, buffer);
          if (packet === undefined) break;
          seen.push(packet);
        }
        return seen;
      },
      send: frame => {
        if (open && send(fd, frame, frame.length, MSG_DONTWAIT) !== frame.length) {
          throw systemCallError({ call: 'send', object: `a frame of ${frame.length} bytes`, errno: lastErrno() });
        }
      },
      [Symbol.dispose]: () => {
        if (open) fs.closeSync(fd);
        open = false;
      },
    };
  },
};

/** undefined when none waits, or the link is gone. */
function receive(fd: number, buffer: Buffer): PacketSeen | undefined {
  const address = Buffer.alloc(addressBytes);
  const length = Buffer.from(new Uint32Array([addressBytes]).buffer);
  const sizeBytes = recvfrom(fd, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC, address, length);
  if (sizeBytes <= 0) return undefined;
  return {
    frame: Buffer.from(buffer.subarray(0, Math.min(sizeBytes, buffer.length))),
    sizeBytes,
    interfaceIndex: address.readInt32LE(4),
    isOutgoing: address[10] === PACKET_OUTGOING,
    atMs: timeOfLast(fd),
  };
}

/** Of the packet that was received last; 0 when the kernel does not say. */
function timeOfLast(fd: number): number {
  const time = Buffer.alloc(16);
  if (ioctl(fd, SIOCGSTAMPNS, time) !== 0) return 0;
  return Number(time.readBigInt64LE(0)) * 1_000 + Number(time.readBigInt64LE(8)) / 1e6;
}
