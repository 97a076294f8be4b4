/**
 * How one value stands in protobuf bytes, by the type that its field names: scalars, enums (in the program their names in kebab
 * case) and, given by the caller, messages. Each value knows its wire type, so that bytes of another are refused and not misread.
 *
 * Called by wire.ts, which knows fields. Not here: numbers and lengths themselves (protobufjs reads and writes these).
 */
import type protobuf from 'protobufjs/minimal.js';
import { CoveyError } from './errors.js';

export type Reader = protobuf.Reader;
export type Writer = protobuf.Writer;

/** Of a value in bytes: a varint, eight bytes, a length and that many bytes, four bytes. */
export const wireTypes = { varint: 0, fixed64: 1, sized: 2, fixed32: 5 } as const;
export type WireTypeNumber = (typeof wireTypes)[keyof typeof wireTypes];

export interface ValueCodec {
  readonly wireType: WireTypeNumber;
  readonly write: (writer: Writer, value: unknown) => void;
  /** `depth` counts the messages around it. */
  readonly read: (reader: Reader, depth: number) => unknown;
  /** What a field of its own that is not in the bytes holds, and what is not written. Messages have none: they are there or not. */
  readonly zero: (() => unknown) | undefined;
  readonly isZero: (value: unknown) => boolean;
}

type WritableName = Exclude<keyof typeof scalarWireTypes, 'bytes'>;

const { varint, fixed64, sized, fixed32 } = wireTypes;
const scalarWireTypes = {
  int32: varint,
  uint32: varint,
  sint32: varint,
  int64: varint,
  uint64: varint,
  sint64: varint,
  bool: varint,
  fixed64,
  sfixed64: fixed64,
  double: fixed64,
  fixed32,
  sfixed32: fixed32,
  float: fixed32,
  string: sized,
  bytes: sized,
} as const;

export function scalarCodec(name: string): ValueCodec | undefined {
  if (!Object.hasOwn(scalarWireTypes, name)) return undefined;
  return name === 'bytes' ? bytesCodec : numberOrText(name as WritableName);
}

function numberOrText(name: WritableName): ValueCodec {
  const zero = name === 'string' ? '' : name === 'bool' ? false : 0;
  const isLong = name.endsWith('64');
  return {
    wireType: scalarWireTypes[name],
    write: (writer, value) => {
      writer[name](value as never);
    },
    read: isLong ? reader => toNumber(reader[name]()) : reader => reader[name](),
    zero: () => zero,
    isZero: value => value === zero || value === undefined,
  };
}

/** protobufjs gives Long objects when the package "long" is at hand, else numbers. */
function toNumber(value: unknown): number {
  return typeof value === 'number' ? value : (value as { readonly toNumber: () => number }).toNumber();
}

const bytesCodec: ValueCodec = {
  wireType: sized,
  write: (writer, value) => {
    writer.bytes(value as Uint8Array);
  },
  read: reader => reader.bytes(),
  zero: () => new Uint8Array(0),
  isZero: value => (value as Uint8Array).length === 0,
};

export function enumCodec(name: string, values: Readonly<Record<string, number>>): ValueCodec {
  const prefix = `${name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()}_`;
  const byName = new Map<unknown, number>();
  const byNumber = new Map<unknown, string>();
  for (const [key, number] of Object.entries(values)) {
    const kebab = key.slice(prefix.length).toLowerCase().replaceAll('_', '-');
    byName.set(kebab, number);
    byNumber.set(number, kebab);
  }
  const find = <Out>(map: Map<unknown, Out>, value: unknown): Out => {
    const found = map.get(value);
    if (found === undefined) throw new CoveyError('unknown-value', `Cannot use "${String(value)}" as a ${name}`);
    return found;
  };
  return {
    wireType: varint,
    write: (writer, value) => {
      writer.int32(find(byName, value));
    },
    read: reader => find(byNumber, reader.int32()),
    zero: () => find(byNumber, 0),
    isZero: value => find(byName, value) === 0,
  };
}
