/**
 * Netlink messages: header and attributes to bytes and back, a batch of requests with the answer to each, and dumps.
 *
 * Pure but for `sendRequests` and `dump`, which talk to the socket that they are given.
 *
 * Not here: what links, routes and neighbours look like (links.ts, routes.ts), conntrack entries (../conntrack.ts).
 */
import { getSystemErrorMap } from 'node:util';
import { CoveyError } from '../../errors.js';
import type { NetlinkSocket } from '../../host.js';

export interface NetlinkRequest {
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
  /** Verb and object for the error: "add route 10.0.0.5/32". */
  readonly about: string;
  /** Error numbers that mean "it is so already". */
  readonly harmless?: readonly number[];
}

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
}

export const netlinkFlags = {
  request: 1,
  acknowledge: 4,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  dump: 0x300,
};
export const errnos = { noEntry: 2, noDevice: 19, noProcess: 3, exists: 17, busy: 16, noAddress: 99, invalid: 22 };

const headerBytes = 16;
const flagNested = 0x8000;
const messageError = 2;
const messageDone = 3;
const flagDumpInterrupted = 0x10;
const flagCapped = 0x100;
const flagExtended = 0x200;
const extendedText = 1;
/** Acknowledgements of a batch have to fit the receive buffer. */
const batchMax = 200;
const dumpAttemptsMax = 5;

export function attribute(type: number, value: Uint8Array): Buffer {
  const length = 4 + value.length;
  const bytes = Buffer.alloc((length + 3) & ~3);
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

/** With the flag that newer parts of the kernel insist on. */
export function nested(type: number, ...attributes: readonly Uint8Array[]): Buffer {
  return attribute(type | flagNested, Buffer.concat(attributes));
}

export function u8(value: number): Buffer {
  return Buffer.from([value]);
}

export function u16be(value: number): Buffer {
  return Buffer.from([value >> 8, value & 255]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0, 0);
  return bytes;
}

export function u32be(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0, 0);
  return bytes;
}

/** With the closing zero that the kernel wants of most names. */
export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

export function textOf(value: Buffer | undefined): string {
  return value === undefined ? '' : value.toString('utf8', 0, value.indexOf(0) < 0 ? value.length : value.indexOf(0));
}

/** Attributes from `offset` on, by type without the nesting flags; the last of a kind counts. */
export function readAttributes(payload: Buffer, offset = 0): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = offset; at + 4 <= payload.length; ) {
    const length = payload.readUInt16LE(at);
    if (length < 4) break;
    found.set(payload.readUInt16LE(at + 2) & 0x3fff, payload.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

export function encodeMessage(message: { type: number; flags: number; payload: Uint8Array }, sequence: number): Buffer {
  const bytes = Buffer.alloc((headerBytes + message.payload.length + 3) & ~3);
  bytes.writeUInt32LE(headerBytes + message.payload.length, 0);
  bytes.writeUInt16LE(message.type, 4);
  bytes.writeUInt16LE(message.flags, 6);
  bytes.writeUInt32LE(sequence, 8);
  bytes.set(message.payload, headerBytes);
  return bytes;
}

/** A message of the kernel, as it was read from a socket. */
export function decodeMessage(bytes: Uint8Array): NetlinkMessage {
  const message = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return { type: message.readUInt16LE(4), flags: message.readUInt16LE(6), payload: message.subarray(headerBytes) };
}

/** Of RTM_NEW… and RTM_DEL…, which follow each other from an even number on. */
export function isRemoval({ type }: NetlinkMessage): boolean {
  return (type & 3) === 1;
}

/** Sends all, in order, past failures; throws the first failure that is not harmless. */
export function sendRequests(socket: NetlinkSocket, requests: readonly NetlinkRequest[]): void {
  let failure: CoveyError | undefined;
  for (let start = 0; start < requests.length; start += batchMax) {
    const batch = requests.slice(start, start + batchMax);
    const flags = netlinkFlags.request | netlinkFlags.acknowledge;
    const bytes = Buffer.concat(
      batch.map((request, index) => encodeMessage({ ...request, flags: request.flags | flags }, index + 1)),
    );
    for (const answer of socket.talk(bytes, batch.length)) failure ??= failureOf(Buffer.from(answer), batch);
  }
  if (failure !== undefined) throw failure;
}

function failureOf(answer: Buffer, batch: readonly NetlinkRequest[]): CoveyError | undefined {
  if (answer.readUInt16LE(4) !== messageError) return undefined;
  const errno = -answer.readInt32LE(headerBytes);
  const request = batch[answer.readUInt32LE(8) - 1];
  if (errno === 0 || request === undefined || request.harmless?.includes(errno)) return undefined;
  return refusal(errno, request.about, answer);
}

/** The cause carries the errno's name as its code, as Node's own errors do. */
function refusal(errno: number, about: string, answer: Buffer): CoveyError {
  const flags = answer.readUInt16LE(6);
  const isEnd = answer.readUInt16LE(4) === messageDone;
  const echoed = isEnd ? 0 : flags & flagCapped ? headerBytes : answer.readUInt32LE(headerBytes + 4);
  const extended =
    flags & flagExtended ? readAttributes(answer, headerBytes + 4 + echoed).get(extendedText) : undefined;
  const [name, words] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, 'unknown error'];
  return new CoveyError('netlink-refused', `Cannot ${about}`, {
    state: extended === undefined ? undefined : textOf(extended),
    cause: Object.assign(new Error(`${name}, ${words}`), { code: name }),
  });
}

/** All objects of a kind. Begins anew when the kernel says that they changed meanwhile. */
export function dump(
  socket: NetlinkSocket,
  request: Pick<NetlinkRequest, 'type' | 'payload' | 'about'>,
): NetlinkMessage[] {
  const bytes = encodeMessage({ ...request, flags: netlinkFlags.request | netlinkFlags.dump }, 1);
  for (let attempt = 1; ; attempt += 1) {
    const answers = socket.talk(bytes, 1).map(answer => Buffer.from(answer.buffer, answer.byteOffset, answer.length));
    const interrupted = answers.some(answer => (answer.readUInt16LE(6) & flagDumpInterrupted) !== 0);
    if (interrupted && attempt < dumpAttemptsMax) continue;
    const messages: NetlinkMessage[] = [];
    for (const answer of answers) {
      const type = answer.readUInt16LE(4);
      const errno = type === messageError || type === messageDone ? -answer.readInt32LE(headerBytes) : 0;
      if (errno !== 0) throw refusal(errno, request.about, answer);
      if (type > messageDone) {
        messages.push({ type, flags: answer.readUInt16LE(6), payload: answer.subarray(headerBytes) });
      }
    }
    return messages;
  }
}
