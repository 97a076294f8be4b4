/**
 * The border between domain types (src/gen/types.ts) and protobuf bytes. Encoding and decoding are inverse; decoding of bytes
 * that lack a required message, hold an unknown enum value or no known case of a oneof throws, so that nothing half-known
 * enters the program.
 *
 * The mapping (see scripts/gen.mjs) is compiled once per message into a list of field codecs over protobufjs. A message is read
 * from the descriptors when it is first asked for, with those that it is made of: a command needs a dozen of them, and all cost
 * it more time than the call.
 *
 * Not here: services and calls (grpc.ts), what the messages mean (proto/covey/v1).
 */
import protobuf from 'protobufjs/light.js';
import { CoveyError } from './errors.js';
import protos from './gen/protos.json' with { type: 'json' };
import type { Messages } from './gen/types.js';

type Plain = Record<string, unknown>;

export interface WireType<Message> {
  readonly encode: (message: Message) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Message;
}

/** One registry per program: made by the composition root (or a test) and handed to who needs it. */
export interface Wire {
  /** The codec of a message by its proto name. */
  readonly type: <Name extends keyof Messages>(name: Name) => WireType<Messages[Name]>;
}

interface FieldCodec {
  readonly toPlain: (from: Plain, to: Plain) => void;
  readonly toDomain: (from: Plain, to: Plain) => void;
}

interface TypeCodec {
  readonly toPlain: (message: Plain) => Plain;
  readonly toDomain: (message: Plain) => Plain;
}

interface Scalar {
  readonly toPlain: (value: unknown) => unknown;
  readonly toDomain: (value: unknown) => unknown;
  readonly zero: unknown;
}

/** Messages and enums by name; those of one package, none inside another. */
const descriptors = protos.nested.covey.nested.v1.nested as unknown as Readonly<Record<string, protobuf.IType>>;

export function openWire(): Wire {
  const root = new protobuf.Root();
  const codecs = new Map<protobuf.Type, TypeCodec>();
  const types = new Map<string, WireType<unknown>>();
  const type = (name: string): WireType<unknown> => {
    const known = types.get(name);
    if (known !== undefined) return known;
    addWithParts(root, name);
    root.resolveAll();
    const made = wireType(root.lookupType(name), codecs);
    types.set(name, made);
    return made;
  };
  return { type: type as Wire['type'] };
}

/** The message and all that its fields name, where they are not there yet. */
function addWithParts(root: protobuf.Root, name: string): void {
  const descriptor = Object.hasOwn(descriptors, name) ? descriptors[name] : undefined;
  if (descriptor === undefined || root.get(name) !== null) return;
  root.addJSON({ [name]: descriptor });
  compileWhenUsed(root.get(name));
  for (const field of Object.values(descriptor.fields ?? {})) addWithParts(root, field.type);
}

/** Left to itself protobufjs compiles five functions for a message at its first use: of these we call one at a time, or two. */
function compileWhenUsed(type: protobuf.ReflectionObject | null): void {
  if (!(type instanceof protobuf.Type)) return;
  const { Reader, Writer, util } = protobuf;
  const types = (): unknown[] => type.fieldsArray.map(field => field.resolve().resolvedType);
  type.encode = (...args) => {
    type.encode = protobuf.encoder(type)({ Writer, types: types(), util }) as protobuf.Type['encode'];
    return type.encode(...args);
  };
  type.decode = (...args) => {
    type.decode = protobuf.decoder(type)({ Reader, types: types(), util }) as protobuf.Type['decode'];
    return type.decode(...args);
  };
}

function wireType(type: protobuf.Type, codecs: Map<protobuf.Type, TypeCodec>): WireType<unknown> {
  const codec = codecOf(type, codecs);
  return {
    encode: message => type.encode(codec.toPlain(message as Plain)).finish(),
    decode: bytes => {
      let plain: Plain;
      try {
        plain = type.decode(bytes) as unknown as Plain;
      } catch (cause) {
        throw new CoveyError('unknown-value', `Cannot decode a ${type.name} of ${bytes.length} bytes`, { cause });
      }
      return codec.toDomain(plain);
    },
  };
}

function codecOf(type: protobuf.Type, codecs: Map<protobuf.Type, TypeCodec>): TypeCodec {
  const known = codecs.get(type);
  if (known !== undefined) return known;
  const fields: FieldCodec[] = [];
  const codec: TypeCodec = {
    toPlain: from => apply(fields, 'toPlain', from),
    toDomain: from => apply(fields, 'toDomain', from),
  };
  codecs.set(type, codec); // before its fields: messages may contain themselves
  const oneofs = type.oneofsArray.filter(one => !isOptionalScalar(one));
  const inOneof = new Set(oneofs.flatMap(one => one.fieldsArray));
  for (const field of type.fieldsArray) {
    field.resolve();
    if (!inOneof.has(field)) fields.push(fieldCodec(field, codecs));
  }
  for (const one of oneofs) fields.push(oneofCodec(type, one, codecs));
  return codec;
}

function apply(fields: readonly FieldCodec[], direction: keyof FieldCodec, from: Plain): Plain {
  const to: Plain = {};
  for (const field of fields) field[direction](from, to);
  return to;
}

/** proto3 `optional` is a oneof of one field by convention. */
function isOptionalScalar(one: protobuf.OneOf): boolean {
  return one.fieldsArray.length === 1 && one.name.startsWith('_');
}

function fieldCodec(field: protobuf.Field, codecs: Map<protobuf.Type, TypeCodec>): FieldCodec {
  const { name } = field;
  const scalar = scalarOf(field, codecs);
  if (field.map) return mapCodec(name, scalar);
  if (field.repeated) {
    return {
      toPlain: (from, to) => {
        const list = from[name] as readonly unknown[];
        if (list.length > 0) to[name] = list.map(scalar.toPlain);
      },
      toDomain: (from, to) => {
        to[name] = (from[name] as readonly unknown[]).map(scalar.toDomain);
      },
    };
  }
  if (field.resolvedType instanceof protobuf.Type) return messageCodec(field, scalar);
  return field.options?.['proto3_optional'] === true ? optionalCodec(name, scalar) : plainCodec(name, scalar);
}

function plainCodec(name: string, scalar: Scalar): FieldCodec {
  return {
    toPlain: (from, to) => {
      const value = scalar.toPlain(from[name]);
      if (value !== scalar.zero && value !== undefined) to[name] = value;
    },
    toDomain: (from, to) => {
      to[name] = scalar.toDomain(from[name]);
    },
  };
}

function optionalCodec(name: string, scalar: Scalar): FieldCodec {
  return {
    toPlain: (from, to) => {
      if (from[name] !== undefined) to[name] = scalar.toPlain(from[name]);
    },
    toDomain: (from, to) => {
      if (Object.hasOwn(from, name) && from[name] !== null) to[name] = scalar.toDomain(from[name]);
    },
  };
}

function messageCodec(field: protobuf.Field, scalar: Scalar): FieldCodec {
  const { name } = field;
  const required = field.options?.['(required)'] === true;
  return {
    toPlain: (from, to) => {
      if (from[name] !== undefined) to[name] = scalar.toPlain(from[name]);
    },
    toDomain: (from, to) => {
      if (Object.hasOwn(from, name) && from[name] !== null) to[name] = scalar.toDomain(from[name]);
      else if (required)
        throw new CoveyError('unknown-value', `Cannot decode a ${field.parent?.name ?? 'message'} without its ${name}`);
    },
  };
}

function mapCodec(name: string, scalar: Scalar): FieldCodec {
  const each = (map: unknown, convert: (value: unknown) => unknown): Plain =>
    Object.fromEntries(Object.entries(map as Plain).map(([key, value]) => [key, convert(value)]));
  return {
    toPlain: (from, to) => {
      to[name] = each(from[name], scalar.toPlain);
    },
    toDomain: (from, to) => {
      to[name] = each(from[name], scalar.toDomain);
    },
  };
}

function oneofCodec(type: protobuf.Type, one: protobuf.OneOf, codecs: Map<protobuf.Type, TypeCodec>): FieldCodec {
  const cases = new Map(
    one.fieldsArray.map(field => [
      field.name,
      { scalar: scalarOf(field.resolve(), codecs), message: field.resolvedType instanceof protobuf.Type },
    ]),
  );
  return {
    toPlain: (from, to) => {
      const value = from[one.name] as { readonly kind: string; readonly value?: unknown };
      const found = cases.get(value.kind);
      if (found === undefined)
        throw new CoveyError('bug', `Cannot encode ${type.name}.${one.name} of kind "${value.kind}"`);
      // Empty bytes are a case like any other: that they are there says which.
      to[value.kind] = found.scalar.toPlain(found.message ? value : value.value) ?? new Uint8Array(0);
    },
    toDomain: (from, to) => {
      for (const [name, { scalar, message }] of cases) {
        if (!Object.hasOwn(from, name) || from[name] === null) continue;
        const value = scalar.toDomain(from[name]);
        to[one.name] = message ? { ...(value as Plain), kind: name } : { kind: name, value };
        return;
      }
      throw new CoveyError('unknown-value', `Cannot decode a ${type.name} whose ${one.name} is of no known kind`);
    },
  };
}

function scalarOf(field: protobuf.Field, codecs: Map<protobuf.Type, TypeCodec>): Scalar {
  const resolved = field.resolvedType;
  if (resolved instanceof protobuf.Type) {
    let codec: TypeCodec | undefined;
    const known = (): TypeCodec => {
      codec ??= codecOf(resolved, codecs);
      return codec;
    };
    return {
      toPlain: value => known().toPlain(value as Plain),
      toDomain: value => known().toDomain(value as Plain),
      zero: undefined,
    };
  }
  if (resolved instanceof protobuf.Enum) return enumScalar(resolved);
  if (/^(?:u?int64|sint64|s?fixed64)$/.test(field.type)) return { toPlain: same, toDomain: toNumber, zero: 0 };
  if (field.type === 'bytes') return { toPlain: bytesOrNothing, toDomain: toBytes, zero: undefined };
  return { toPlain: same, toDomain: same, zero: field.type === 'string' ? '' : field.type === 'bool' ? false : 0 };
}

function enumScalar(resolved: protobuf.Enum): Scalar {
  const prefix = `${resolved.name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()}_`;
  const byName = new Map<unknown, number>();
  const byNumber = new Map<unknown, string>();
  for (const [name, number] of Object.entries(resolved.values)) {
    const kebab = name.slice(prefix.length).toLowerCase().replaceAll('_', '-');
    byName.set(kebab, number);
    byNumber.set(number, kebab);
  }
  const find = <Out>(map: Map<unknown, Out>, value: unknown): Out => {
    const found = map.get(value);
    if (found === undefined)
      throw new CoveyError('unknown-value', `Cannot use "${String(value)}" as a ${resolved.name}`);
    return found;
  };
  return { toPlain: value => find(byName, value), toDomain: value => find(byNumber, value), zero: 0 };
}

function same(value: unknown): unknown {
  return value;
}

/** protobufjs gives Long objects when the package "long" is at hand, else numbers. */
function toNumber(value: unknown): number {
  return typeof value === 'number' ? value : Number(String(value));
}

function bytesOrNothing(value: unknown): unknown {
  return (value as Uint8Array).length > 0 ? value : undefined;
}

function toBytes(value: unknown): Uint8Array {
  return Array.isArray(value) ? new Uint8Array(0) : (value as Uint8Array);
}
