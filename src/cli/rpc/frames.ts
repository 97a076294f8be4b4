/**
 * Frames of HTTP/2 (RFC 9113): a byte stream cut into them, and the few that a client sends.
 *
 * Keeps true: a frame longer than we allowed throws before its bytes are kept.
 *
 * Not here: what frames do (session.ts), header blocks (hpack.ts).
 */

export const frameTypes = {
  data: 0,
  headers: 1,
  resetStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flags = { acknowledges: 1, endsStream: 1, endsHeaders: 4, isPadded: 8, hasPriority: 0x20 } as const;

export const settings = { headerTableSize: 1, enablePush: 2, initialWindowSize: 4, maxFrameSize: 5 } as const;

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** The longest payload that either side may send unless the other allows more; we do not. */
export const payloadMaxBytes = 16_384;
const headBytes = 9;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export interface FrameHead {
  readonly flags?: number;
  readonly stream?: number;
}

export function encodeFrame(type: number, payload: Uint8Array, { flags = 0, stream = 0 }: FrameHead = {}): Buffer {
  const frame = Buffer.allocUnsafe(headBytes + payload.length);
  frame.writeUIntBE(payload.length, 0, 3);
  frame.writeUInt8(type, 3);
  frame.writeUInt8(flags, 4);
  frame.writeUInt32BE(stream, 5);
  frame.set(payload, headBytes);
  return frame;
}

export function encodeSettings(values: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(values.length * 6);
  values.forEach(([id, value], at) => {
    payload.writeUInt16BE(id, at * 6);
    payload.writeUInt32BE(value, at * 6 + 2);
  });
  return encodeFrame(frameTypes.settings, payload);
}

export function decodeSettings(payload: Buffer): readonly (readonly [id: number, value: number])[] {
  return Array.from({ length: Math.floor(payload.length / 6) }, (_, at) => [
    payload.readUInt16BE(at * 6),
    payload.readUInt32BE(at * 6 + 2),
  ]);
}

export function encodeNumber(type: number, value: number, stream: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value, 0);
  return encodeFrame(type, payload, { stream });
}

/** The content of a DATA or HEADERS frame without its padding and priority. */
export function contentOf(frame: Frame): Buffer {
  const isPadded = (frame.flags & flags.isPadded) !== 0;
  const padding = isPadded ? (frame.payload[0] ?? 0) : 0;
  const hasPriority = frame.type === frameTypes.headers && (frame.flags & flags.hasPriority) !== 0;
  const start = (isPadded ? 1 : 0) + (hasPriority ? 5 : 0);
  if (start + padding > frame.payload.length) throw new Error('a frame that is shorter than its padding');
  return frame.payload.subarray(start, frame.payload.length - padding);
}

/** Takes bytes as they come; gives the frames that are whole. */
export function openFrameReader(): (bytes: Buffer) => readonly Frame[] {
  let kept: Buffer = Buffer.alloc(0);
  return bytes => {
    const all = kept.length === 0 ? bytes : Buffer.concat([kept, bytes]);
    const frames: Frame[] = [];
    let at = 0;
    while (all.length - at >= headBytes) {
      const length = all.readUIntBE(at, 3);
      if (length > payloadMaxBytes) throw new Error(`a frame of ${length} bytes`);
      const end = at + headBytes + length;
      if (end > all.length) break;
      frames.push({
        type: all.readUInt8(at + 3),
        flags: all.readUInt8(at + 4),
        stream: all.readUInt32BE(at + 5) & 0x7fff_ffff,
        payload: all.subarray(at + headBytes, end),
      });
      at = end;
    }
    kept = all.subarray(at);
    return frames;
  };
}
