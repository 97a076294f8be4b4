/**
 * Cuts the data of a gRPC stream into its messages: five bytes with the length before each.
 *
 * Keeps true: what a message has brought so far can be given back to its sender's window before it is whole, else one that is
 * larger than the window would never be.
 *
 * Not here: what is in a message (wire.ts).
 */
import { CoveyError } from '../../errors.js';

interface Whole {
  readonly message: Buffer;
  /** Bytes of it that were not given back while it was unfinished. */
  readonly owed: number;
}

export interface Assembler {
  readonly add: (bytes: Buffer) => readonly Whole[];
  /** Bytes of the unfinished message that were not asked for before. */
  readonly unfinished: () => number;
}

const headBytes = 5;

export function openAssembler(messageMaxBytes: number): Assembler {
  let parts: Buffer[] = [];
  let length = 0;
  let needed = headBytes;
  let given = 0;
  const add = (bytes: Buffer): readonly Whole[] => {
    parts.push(bytes);
    length += bytes.length;
    const whole: Whole[] = [];
    while (length >= needed) {
      const all = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
      parts = [all];
      const size = headBytes + readLength(all, messageMaxBytes);
      if (size > length) {
        needed = size;
        break;
      }
      whole.push({ message: all.subarray(headBytes, size), owed: size - given });
      given = 0;
      needed = headBytes;
      length -= size;
      parts = length === 0 ? [] : [all.subarray(size)];
    }
    return whole;
  };
  const unfinished = (): number => {
    const more = length - given;
    given = length;
    return more;
  };
  return { add, unfinished };
}

function readLength(head: Buffer, messageMaxBytes: number): number {
  if (head.readUInt8(0) !== 0) throw new CoveyError('internal', 'Cannot read an answer: it is compressed');
  const length = head.readUInt32BE(1);
  if (length > messageMaxBytes) {
    throw new CoveyError('too-large', `Cannot read an answer of ${length} bytes`, {
      state: `at most ${messageMaxBytes} bytes`,
    });
  }
  return length;
}
