/**
 * The border between domain types (src/gen/types.ts) and protobuf bytes. Encoding and decoding are inverse; decoding of bytes
 * that lack a required message, hold an unknown enum value or no known case of a oneof throws, so that nothing half-known
 * enters the program. Fields are written in the order of their numbers; unknown ones are skipped.
 *
 * The mapping (see scripts/gen.mjs) goes straight from objects to bytes and back: a message becomes a list of functions, one a
 * field, made from its descriptor when it is first met. A command needs a dozen of them, and protobufjs' reflection over those,
 * which this stands in for, cost it more time than the call.
 *
 * Not here: values of a type (wire-values.ts), services and calls (grpc.ts), what the messages mean (proto/covey/v1).
 */
import protobuf from 'protobufjs/minimal.js';
import { CoveyError } from './errors.js';
import protos from './gen/protos.json' with { type: 'json' };
import type { Messages } from './gen/types.js';
import { enumCodec, type Reader, scalarCodec, type ValueCodec, type Writer, wireTypes } from './wire-values.js';

type Plain = Record<string, unknown>;

export interface WireType<Message> {
  readonly encode: (message: Message) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Message;
}

/** A message that knows its own bytes: many are sent that differ in little. They must be what its fields say. */
export const encodedAs: unique symbol = Symbol('encoded as');

/** One registry per program: made by the composition root (or a test) and handed to who needs it. */
export interface Wire {
  /** The codec of a message by its proto name. */
  readonly type: <Name extends keyof Messages>(name: Name) => WireType<Messages[Name]>;
}

interface FieldDescriptor {
  readonly type: string;
  readonly id: number;
  readonly rule?: string;
  readonly keyType?: string;
  readonly options?: Readonly<Record<string, unknown>>;
}

interface Descriptor {
  readonly fields?: Readonly<Record<string, FieldDescriptor>>;
  readonly oneofs?: Readonly<Record<string, { readonly oneof: readonly string[] }>>;
  readonly values?: Readonly<Record<string, number>>;
}

/** Messages and enums by name; those of one package, none inside another. */
const descriptors = protos.nested.covey.nested.v1.nested as unknown as Readonly<Record<string, Descriptor>>;

/** Messages inside messages: no message of ours comes near it, and bytes that do are no message of ours. */
const depthMax = 64;

export function openWire(): Wire {
  const values = new Map<string, ValueCodec>();
  const messages = new Map<string, MessageCodec>();
  const parts: Parts = {
    codecOf: name => getOrMake(values, name, () => makeValue(name, parts)),
    messageOf: name => getOrMake(messages, name, () => makeMessage(name, parts)),
  };
  const types = new Map<string, WireType<unknown>>();
  const type = (name: string): WireType<unknown> => getOrMake(types, name, () => wireType(name, parts));
  return { type: type as Wire['type'] };
}

interface Parts {
  readonly codecOf: (name: string) => ValueCodec;
  readonly messageOf: (name: string) => MessageCodec;
}

function getOrMake<Value>(map: Map<string, Value>, name: string, make: () => Value): Value {
  const known = map.get(name);
  if (known !== undefined) return known;
  const made = make();
  map.set(name, made);
  return made;
}

interface Encoded {
  readonly [encodedAs]?: () => Uint8Array;
}

function wireType(name: string, { messageOf }: Parts): WireType<unknown> {
  const { write, read } = messageOf(name);
  return {
    encode: message => {
      const known = (message as Encoded)[encodedAs]?.();
      if (known !== undefined) return known;
      const writer = protobuf.Writer.create();
      write(writer, message as Plain);
      return writer.finish();
    },
    decode: bytes => {
      try {
        const reader = protobuf.Reader.create(bytes);
        return read(reader, reader.len, 0);
      } catch (cause) {
        if (cause instanceof CoveyError) throw cause;
        throw new CoveyError('unknown-value', `Cannot decode a ${name} of ${bytes.length} bytes`, { cause });
      }
    },
  };
}

function makeValue(name: string, { messageOf }: Parts): ValueCodec {
  const scalar = scalarCodec(name);
  if (scalar !== undefined) return scalar;
  const descriptor = findDescriptor(name);
  if (descriptor.values !== undefined) return enumCodec(name, descriptor.values);
  let known: MessageCodec | undefined; // made when first met: messages may contain themselves
  const message = (): MessageCodec => {
    known ??= messageOf(name);
    return known;
  };
  return {
    wireType: wireTypes.sized,
    write: (writer, value) => {
      writer.fork();
      message().write(writer, value as Plain);
      writer.ldelim();
    },
    read: (reader, depth) => message().read(reader, endOf(reader), depth + 1),
    zero: undefined,
    isZero: value => value === undefined,
  };
}

function findDescriptor(name: string): Descriptor {
  const found = Object.hasOwn(descriptors, name) ? descriptors[name] : undefined;
  if (found === undefined) throw new CoveyError('bug', `Cannot find the message "${name}" in the protos`);
  return found;
}

/** Where the piece ends that begins with its length here. */
function endOf(reader: Reader): number {
  const sizeBytes = reader.uint32();
  const end = reader.pos + sizeBytes;
  if (end > reader.len) throw new RangeError(`${sizeBytes} bytes of ${reader.len - reader.pos}`);
  return end;
}

interface MessageCodec {
  readonly write: (writer: Writer, message: Plain) => void;
  readonly read: (reader: Reader, end: number, depth: number) => Plain;
}

/** A property of the domain object: a field, or a oneof with all its fields. */
interface Property {
  readonly name: string;
  /** What it is when the bytes said `seen` of it, undefined when nothing. Without a value it is left out. */
  readonly finish: (seen: unknown) => unknown;
}

interface FieldCodec {
  readonly id: number;
  readonly write: (writer: Writer, message: Plain) => void;
  /** The next of what the bytes say of its property, after `seen`. */
  readonly read: (reader: Reader, source: { wireType: number; depth: number }, seen: unknown) => unknown;
}

function makeMessage(name: string, parts: Parts): MessageCodec {
  const { fields = {}, oneofs = {} } = findDescriptor(name);
  // proto3 `optional` is a oneof of one field by convention.
  const unions = Object.entries(oneofs).filter(([union, { oneof }]) => oneof.length > 1 || !union.startsWith('_'));
  const inUnion = new Set(unions.flatMap(([, { oneof }]) => oneof));
  const properties: Property[] = [];
  const writers: FieldCodec[] = [];
  const readers = new Map<number, { readonly field: FieldCodec; readonly at: number }>();
  const add = (property: Property, codecs: readonly FieldCodec[]): void => {
    for (const field of codecs) readers.set(field.id, { field, at: properties.length });
    writers.push(...codecs);
    properties.push(property);
  };
  for (const [key, field] of Object.entries(fields)) {
    if (inUnion.has(key)) continue;
    const value = parts.codecOf(field.type);
    if (field.keyType !== undefined) add(mapProperty(key), [mapField(key, field, value)]);
    else if (field.rule === 'repeated') add(listProperty(key), [listField(key, field, value)]);
    else add(plainProperty(name, key, { field, value }), [plainField(key, field, value)]);
  }
  for (const [union, { oneof }] of unions) {
    const cases = oneof.map(key => ({ key, field: fields[key] })).filter(one => one.field !== undefined);
    add(unionProperty(name, union), unionFields({ name, union }, cases as UnionCase[], parts));
  }
  writers.sort((a, b) => a.id - b.id);
  return {
    write: (writer, message) => {
      for (const { write } of writers) write(writer, message);
    },
    read: (reader, end, depth) => {
      if (depth > depthMax) throw new RangeError(`more than ${depthMax} messages inside each other`);
      const seen = new Array<unknown>(properties.length).fill(undefined);
      const source = { wireType: 0, depth };
      while (reader.pos < end) {
        const tag = reader.uint32();
        source.wireType = tag & 7;
        const known = readers.get(tag >>> 3);
        if (known === undefined) reader.skipType(source.wireType);
        else seen[known.at] = known.field.read(reader, source, seen[known.at]);
      }
      if (reader.pos !== end) throw new RangeError(`a ${name} that ends ${reader.pos - end} bytes after its end`);
      return assemble(properties, seen);
    },
  };
}

function assemble(properties: readonly Property[], seen: readonly unknown[]): Plain {
  const to: Plain = {};
  for (let at = 0; at < properties.length; at += 1) {
    const property = properties[at] as Property;
    const value = property.finish(seen[at]);
    if (value !== undefined) to[property.name] = value;
  }
  return to;
}

function tagOf({ id }: FieldDescriptor, wireType: number): number {
  return ((id << 3) | wireType) >>> 0;
}

function expectType(wireType: number, wanted: number): void {
  if (wireType !== wanted) throw new RangeError(`a field of wire type ${wireType}, not ${wanted}`);
}

interface PlainParts {
  readonly field: FieldDescriptor;
  readonly value: ValueCodec;
}

function plainProperty(message: string, name: string, { field, value }: PlainParts): Property {
  const { zero } = value;
  if (field.options?.['proto3_optional'] === true) return { name, finish: seen => seen };
  if (zero !== undefined) return { name, finish: seen => (seen === undefined ? zero() : seen) };
  if (field.options?.['(required)'] !== true) return { name, finish: seen => seen };
  return {
    name,
    finish: seen => {
      if (seen === undefined) throw new CoveyError('unknown-value', `Cannot decode a ${message} without its ${name}`);
      return seen;
    },
  };
}

function plainField(name: string, field: FieldDescriptor, value: ValueCodec): FieldCodec {
  const tag = tagOf(field, value.wireType);
  const isAbsent =
    field.options?.['proto3_optional'] === true ? (one: unknown): boolean => one === undefined : value.isZero;
  return {
    id: field.id,
    write: (writer, message) => {
      const one = message[name];
      if (isAbsent(one)) return;
      writer.uint32(tag);
      value.write(writer, one);
    },
    read: (reader, { wireType, depth }) => {
      expectType(wireType, value.wireType);
      return value.read(reader, depth);
    },
  };
}

function listProperty(name: string): Property {
  return { name, finish: seen => seen ?? [] };
}

/** Numbers are written packed, as proto3 does it, and read either way. */
function listField(name: string, field: FieldDescriptor, value: ValueCodec): FieldCodec {
  const isPackable = value.wireType !== wireTypes.sized;
  const tag = tagOf(field, wireTypes.sized);
  return {
    id: field.id,
    write: (writer, message) => {
      const list = message[name] as readonly unknown[];
      if (list.length === 0) return;
      if (isPackable) writer.uint32(tag).fork();
      for (const one of list) {
        if (!isPackable) writer.uint32(tag);
        value.write(writer, one);
      }
      if (isPackable) writer.ldelim();
    },
    read: (reader, { wireType, depth }, seen) => {
      const list = (seen ?? []) as unknown[];
      if (isPackable && wireType === wireTypes.sized) {
        const end = endOf(reader);
        while (reader.pos < end) list.push(value.read(reader, depth));
        if (reader.pos !== end) throw new RangeError(`a list that ends ${reader.pos - end} bytes after its end`);
        return list;
      }
      expectType(wireType, value.wireType);
      list.push(value.read(reader, depth));
      return list;
    },
  };
}

function mapProperty(name: string): Property {
  return { name, finish: seen => Object.fromEntries((seen ?? []) as readonly [string, unknown][]) };
}

/** Keys are texts. Each pair is a message of its own, of key (1) and value (2), both always written. */
function mapField(name: string, field: FieldDescriptor, value: ValueCodec): FieldCodec {
  if (field.keyType !== 'string' || value.zero === undefined)
    throw new CoveyError('bug', `Cannot map ${field.keyType} to ${field.type} (${name})`);
  const tag = tagOf(field, wireTypes.sized);
  const { zero } = value;
  const valueTag = (2 << 3) | value.wireType;
  return {
    id: field.id,
    write: (writer, message) => {
      for (const [key, one] of Object.entries(message[name] as Plain)) {
        writer.uint32(tag).fork();
        writer.uint32((1 << 3) | wireTypes.sized).string(key);
        writer.uint32(valueTag);
        value.write(writer, one);
        writer.ldelim();
      }
    },
    read: (reader, { wireType, depth }, seen) => {
      expectType(wireType, wireTypes.sized);
      const pairs = (seen ?? []) as [string, unknown][];
      const end = endOf(reader);
      let key = '';
      let one = zero();
      while (reader.pos < end) {
        const part = reader.uint32();
        if (part >>> 3 > 2) {
          reader.skipType(part & 7);
          continue;
        }
        expectType(part & 7, part >>> 3 === 1 ? wireTypes.sized : value.wireType);
        if (part >>> 3 === 1) key = reader.string();
        else one = value.read(reader, depth);
      }
      if (reader.pos !== end) throw new RangeError(`a pair that ends ${reader.pos - end} bytes after its end`);
      pairs.push([key, one]);
      return pairs;
    },
  };
}

interface UnionCase {
  readonly key: string;
  readonly field: FieldDescriptor;
}

function unionProperty(message: string, name: string): Property {
  return {
    name,
    finish: seen => {
      if (seen !== undefined) return seen;
      throw new CoveyError('unknown-value', `Cannot decode a ${message} whose ${name} is of no known kind`);
    },
  };
}

/** A union on `kind`: of messages with their fields, of anything else with a `value`, written even when zero: that says which. */
function unionFields(
  { name, union }: { readonly name: string; readonly union: string },
  cases: readonly UnionCase[],
  { codecOf }: Parts,
): FieldCodec[] {
  const known = new Set(cases.map(({ key }) => key));
  const first = Math.min(...cases.map(({ field }) => field.id));
  return cases.map(({ key, field }) => {
    const value = codecOf(field.type);
    const isMessage = value.zero === undefined;
    const tag = tagOf(field, value.wireType);
    return {
      id: field.id,
      write: (writer, message) => {
        const one = message[union] as { readonly kind: string; readonly value?: unknown };
        if (field.id === first && !known.has(one.kind))
          throw new CoveyError('bug', `Cannot encode ${name}.${union} of kind "${one.kind}"`);
        if (one.kind !== key) return;
        writer.uint32(tag);
        value.write(writer, isMessage ? one : one.value);
      },
      read: (reader, { wireType, depth }) => {
        expectType(wireType, value.wireType);
        const read = value.read(reader, depth);
        return isMessage ? { ...(read as Plain), kind: key } : { kind: key, value: read };
      },
    };
  });
}
