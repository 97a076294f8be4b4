/**
 * The number that the kernel counts up with every change of any packet rule of a namespace: as long as it stands still, a
 * comparison with what is wanted can be spared.
 */
import type { NetlinkSocket } from '../../host.js';
import { encodeMessage, netlinkFlags, readAttributes } from '../netlink/message.js';

const NFT_MSG_NEWGEN = (10 << 8) | 15;
const NFT_MSG_GETGEN = (10 << 8) | 16;
const NFTA_GEN_ID = 1;

/** undefined when the kernel does not say. */
export function readGeneration(socket: NetlinkSocket): number | undefined {
  const request = encodeMessage(
    { type: NFT_MSG_GETGEN, flags: netlinkFlags.request | netlinkFlags.acknowledge, payload: Buffer.alloc(4) },
    1,
  );
  for (const answer of socket.talk(request, 1)) {
    const message = Buffer.from(answer.buffer, answer.byteOffset, answer.length);
    if (message.readUInt16LE(4) === NFT_MSG_NEWGEN) {
      return readAttributes(message, 20).get(NFTA_GEN_ID)?.readUInt32BE(0);
    }
  }
  return undefined;
}
