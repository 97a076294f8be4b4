/**
 * ARP for an address that moves between hosts (RFC 5227): the question whether somebody has it, and the word that it is here now.
 *
 * Pure. Not here: when to ask and to tell (floating.ts).
 */
import { parseAddress, renderAddress } from './ip.js';

const broadcast = 'ff:ff:ff:ff:ff:ff';
const nobody = '0.0.0.0';
const operations = { request: 1, reply: 2 } as const;

export interface ArpSeen {
  readonly senderMac: string;
  /** 0.0.0.0: a question whether the address is free. */
  readonly senderAddress: string;
}

/** Who has it? Nobody's cache is changed by that. */
export function probeFrame(mac: string, address: string): Uint8Array {
  return frame(mac, nobody, address);
}

/** It is here: whoever has the address in a cache takes this MAC for it. */
export function announcementFrame(mac: string, address: string): Uint8Array {
  return frame(mac, address, address);
}

function frame(mac: string, sender: string, target: string): Uint8Array {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(1, 0); // Ethernet
  header.writeUInt16BE(0x0800, 2);
  header[4] = 6;
  header[5] = 4;
  header.writeUInt16BE(operations.request, 6);
  return Buffer.concat([
    macBytes(broadcast),
    macBytes(mac),
    Buffer.from([0x08, 0x06]),
    header,
    macBytes(mac),
    parseAddress(sender),
    Buffer.alloc(6),
    parseAddress(target),
  ]);
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/** undefined for what is no ARP for IPv4 over Ethernet. */
export function findArp(packet: Uint8Array): ArpSeen | undefined {
  const bytes = Buffer.from(packet.buffer, packet.byteOffset, packet.length);
  if (bytes.length < 42 || bytes.readUInt16BE(12) !== 0x0806 || bytes.readUInt16BE(16) !== 0x0800) return undefined;
  const mac = bytes.subarray(22, 28).toString('hex');
  return { senderMac: mac.replace(/(..)(?=.)/g, '$1:'), senderAddress: renderAddress(bytes.subarray(28, 32)) };
}
