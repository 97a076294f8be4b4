/**
 * Versions of the exchange between managers (raft.proto): each says the range that it speaks, and the highest that both speak
 * is used. With none in common the newer one refuses and says so.
 *
 * Handed to transport.ts and serve.ts by group/group.ts. Not here: versions of entries and messages (raft/core/types.ts).
 */
import type { ProtocolRange } from '../session/protocol.js';

export const peerProtocols: ProtocolRange = { min: 1, max: 1 };
