/**
 * Frames of links, as the machine offers them: a part of Host.
 *
 * Not here: reading them (host-linux/packets.ts).
 */
/** One frame as a link carried it. */
export interface PacketSeen {
  readonly frame: Uint8Array;
  /** More than the frame has when it was cut. */
  readonly sizeBytes: number;
  readonly interfaceIndex: number;
  /** Sent by this side of the link. */
  readonly isOutgoing: boolean;
  /** Wall clock of the kernel, with a fraction. */
  readonly atMs: number;
}

/** Whole Ethernet frames of one link, or of all links of the namespace in which it was opened. */
export interface PacketSocket extends Disposable {
  /** What has come since the last call, at most so many; never waits. */
  readonly take: (max: number) => readonly PacketSeen[];
  readonly send: (frame: Uint8Array) => void;
}
