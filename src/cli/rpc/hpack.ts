/**
 * Header blocks of HTTP/2 (RFC 7541), as far as a client needs them that allows no dynamic table: what it sends is literal, what
 * it gets is indexed in the static table, literal, or Huffman coded.
 *
 * Keeps true: bytes that are no header block throw; nothing is read beyond them. Fields of the static table that no answer of
 * gRPC is judged by are passed over.
 *
 * Not here: frames (frames.ts), what headers mean (calls.ts).
 */

export type Header = readonly [name: string, value: string];

const staticTableSize = 61;
/** Of the static table, what decides about an answer. */
const staticFields: ReadonlyMap<number, Header> = new Map([
  ...['200', '204', '206', '304', '400', '404', '500'].map((value, at): [number, Header] => [
    8 + at,
    [':status', value],
  ]),
  [31, ['content-type', '']],
]);

/** The headers as a block of literals: never indexed, never compressed. */
export function encodeHeaders(headers: readonly Header[]): Buffer {
  return Buffer.concat(headers.flatMap(([name, value]) => [literalMark, encodeText(name), encodeText(value)]));
}

const literalMark = Buffer.from([0]);

function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([Buffer.from(encodeInteger(bytes.length, 7)), bytes]);
}

function encodeInteger(value: number, prefixBits: number): number[] {
  const limit = 2 ** prefixBits - 1;
  if (value < limit) return [value];
  const bytes = [limit];
  let rest = value - limit;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}

/** Gives the fields of blocks, in order. The code of texts is made at the first that needs it. */
export function openHeaderDecoder(): (block: Uint8Array) => readonly Header[] {
  let symbols: Symbols | undefined;
  const decodeText: DecodeText = bytes => {
    symbols ??= makeSymbols();
    return decodeHuffman(bytes, symbols);
  };
  return block => decodeHeaders(openReader(block, decodeText));
}

function decodeHeaders(reader: Reader): readonly Header[] {
  const headers: Header[] = [];
  while (!reader.atEnd()) {
    const first = reader.peek();
    if (first >= 0x80) {
      const field = findStatic(reader.integer(7));
      if (field !== undefined) headers.push(field);
    } else if (first >= 0x40) headers.push(readLiteral(reader, 6));
    else if (first >= 0x20)
      reader.integer(5); // a new size of the table that we do not have
    else headers.push(readLiteral(reader, 4));
  }
  return headers;
}

function findStatic(index: number): Header | undefined {
  if (index < 1 || index > staticTableSize) throw new Error(`header ${index} of a table of ${staticTableSize}`);
  return staticFields.get(index);
}

function readLiteral(reader: Reader, prefixBits: number): Header {
  const index = reader.integer(prefixBits);
  const name = index === 0 ? reader.text() : (findStatic(index)?.[0] ?? '');
  return [name, reader.text()];
}

interface Reader {
  readonly atEnd: () => boolean;
  readonly peek: () => number;
  readonly integer: (prefixBits: number) => number;
  readonly text: () => string;
}

const integerMax = 2 ** 24;

type DecodeText = (bytes: Uint8Array) => string;

function openReader(block: Uint8Array, decodeText: DecodeText): Reader {
  let at = 0;
  const byte = (): number => {
    const value = block[at];
    if (value === undefined) throw new Error('a header block that ends early');
    at += 1;
    return value;
  };
  const integer = (prefixBits: number): number => {
    const limit = 2 ** prefixBits - 1;
    let value = byte() & limit;
    if (value < limit) return value;
    for (let scale = 1; ; scale *= 128) {
      const next = byte();
      value += (next & 0x7f) * scale;
      if (value > integerMax) throw new Error('a header that is too long');
      if (next < 0x80) return value;
    }
  };
  const text = (): string => {
    const isCoded = (block[at] ?? 0) >= 0x80;
    const length = integer(7);
    if (at + length > block.length) throw new Error('a header block that ends early');
    const bytes = block.subarray(at, at + length);
    at += length;
    return isCoded ? decodeText(bytes) : Buffer.from(bytes).toString('latin1');
  };
  return { atEnd: () => at >= block.length, peek: () => block[at] ?? 0, integer, text };
}

/**
 * The length in bits of the code of each symbol, from 0 to the end mark 256, as `length*times`. The code is canonical: codes of
 * one length follow one another in the order of their symbols, the shorter ones first.
 */
const codeLengths =
  '13 23 28*7 24 30 28*2 30 28*8 30 28*9 6 10*2 12 13 6 8 11 10*2 8 11 8 6*3 5*3 6*7 7 8 15 6 12 10 13 6 7*22 8 7 8 13 19 13 ' +
  '14 6 15 5 6 5 6 5 6*3 5 7*2 6*3 5 6 7 6 5*2 6 7*5 15 11 14 13 28 20 22 20*2 22*3 23 22 23*5 24 23 24*2 22 23 24 23*4 21 22 ' +
  '23 22 23*2 24 22 21 20 22*2 23*2 21 23 22*2 24 21 22 23*2 21*2 22 21 23 22 23*2 20 22*3 23 22*2 23 26*2 20 19 22 23 22 25 ' +
  '26*3 27*2 26 24 25 19 21 26 27*2 26 27 24 21*2 26*2 28 27*3 20 24 20 21 22 21*2 23 22*2 25*2 24*2 26 23 26 27 26*2 27*5 28 ' +
  '27*5 26 30';
const endMark = 256;

/** Symbols by `2^length + code`, which is a number of its own for each pair. */
type Symbols = ReadonlyMap<number, number>;

/** Codes of one length follow each other in the order of their symbols, and those of the next length after them. */
function makeSymbols(): Symbols {
  const lengths: number[] = [];
  const counts = new Array<number>(32).fill(0);
  for (const word of codeLengths.split(' ')) {
    const [length = 0, times = 1] = word.split('*').map(Number);
    for (let time = 0; time < times; time += 1) lengths.push(length);
    counts[length] = (counts[length] ?? 0) + times;
  }
  const next: number[] = [0];
  for (let length = 1; length < counts.length; length += 1)
    next[length] = ((next[length - 1] ?? 0) + (counts[length - 1] ?? 0)) * 2;
  const made = new Map<number, number>();
  lengths.forEach((length, symbol) => {
    const code = next[length] ?? 0;
    next[length] = code + 1;
    made.set(2 ** length + code, symbol);
  });
  return made;
}

function decodeHuffman(bytes: Uint8Array, symbols: Symbols): string {
  const decoded: number[] = [];
  let path = 1;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      path = path * 2 + ((byte >> bit) & 1);
      const symbol = symbols.get(path);
      if (symbol === endMark || path >= 2 ** 31) throw new Error('a header that no symbol stands for');
      if (symbol === undefined) continue;
      decoded.push(symbol);
      path = 1;
    }
  }
  // What is left over are the first bits of the end mark: ones, and fewer than eight.
  if (path >= 2 ** 8 || (path & (path + 1)) !== 0) throw new Error('a header that ends within a symbol');
  return Buffer.from(decoded).toString('latin1');
}
