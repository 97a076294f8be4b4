// Turns proto/covey/v1/*.proto into src/gen/{protos.json,methods.json,types.ts,services.ts}: the descriptors that src/wire.ts
// and src/grpc.ts load, and the domain types of the whole program. proto is the one source of all.
//
// Rules of the mapping (src/wire.ts does the same at run time):
//   enum FOO_BAR values of Foo          -> 'bar' (kebab case, prefix cut); the zero value is the default
//   message field                       -> optional, or required with [(required) = true]
//   oneof of messages                   -> { kind: 'name', ...fields }; of scalars -> { kind: 'name', value }
//   int64, uint64                       -> number · bytes -> Uint8Array · map -> Readonly<Record<…>>
//   string with [(brand) = "TaskId"]    -> the branded type of src/ids.ts
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const protoDir = join(root, 'proto');
const outDir = join(root, 'src/gen');
const files = readdirSync(join(protoDir, 'covey/v1'))
  .filter(name => name.endsWith('.proto'))
  .sort();

const space = new protobuf.Root();
space.resolvePath = (_origin, target) =>
  target.startsWith('google/')
    ? join(root, 'node_modules/protobufjs', target)
    : join(protoDir, target.replace(/^.*proto\//, ''));
for (const name of files) {
  space.loadSync(join(protoDir, 'covey/v1', name), { keepCase: false, alternateCommentMode: true });
}
space.resolveAll();
const ns = space.lookup('covey.v1');

const scalars = {
  double: 'number',
  float: 'number',
  int32: 'number',
  uint32: 'number',
  sint32: 'number',
  fixed32: 'number',
  sfixed32: 'number',
  int64: 'number',
  uint64: 'number',
  sint64: 'number',
  fixed64: 'number',
  sfixed64: 'number',
  bool: 'boolean',
  string: 'string',
  bytes: 'Uint8Array',
};
const kebab = text => text.toLowerCase().replaceAll('_', '-');
const screaming = text => text.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase();
const camel = text => text[0].toLowerCase() + text.slice(1);
const option = (thing, name) => thing.options?.[`(${name})`] ?? thing.options?.[`(covey.v1.${name})`];
const doc = (thing, indent = '') =>
  thing.comment ? `${indent}/** ${thing.comment.replaceAll('*/', '*\\/').split('\n').join(`\n${indent} * `)} */\n` : '';

const brands = new Set();
function scalarOrName(field) {
  const brand = option(field, 'brand');
  if (brand) {
    brands.add(brand);
    return brand;
  }
  return field.resolvedType ? field.resolvedType.name : scalars[field.type];
}
function fieldLine(field) {
  const base = scalarOrName(field);
  const head = doc(field, '  ');
  if (field.map) return `${head}  readonly ${field.name}: Readonly<Record<string, ${base}>>;`;
  if (field.repeated) return `${head}  readonly ${field.name}: readonly ${base}[];`;
  const message = field.resolvedType instanceof protobuf.Type;
  const optional = message ? !option(field, 'required') : field.options?.proto3_optional;
  return `${head}  readonly ${field.name}${optional ? `?: ${base} | undefined` : `: ${base}`};`;
}
function oneofLine(oneof) {
  const cases = oneof.fieldsArray.map(field => {
    const type = scalarOrName(field);
    if (!(field.resolvedType instanceof protobuf.Type))
      return `{ readonly kind: '${field.name}'; readonly value: ${type} }`;
    if (field.resolvedType.fields.kind || field.resolvedType.oneofs?.kind)
      throw new Error(`${type} has a field "kind" and stands in a oneof`);
    return `({ readonly kind: '${field.name}' } & ${type})`;
  });
  return `${doc(oneof, '  ')}  readonly ${oneof.name}: ${cases.join(' | ')};`;
}
function interfaceOf(type) {
  const oneofs = type.oneofsArray.filter(one => !one.isProto3Optional);
  const inOneof = new Set(oneofs.flatMap(one => one.fieldsArray));
  const lines = [...type.fieldsArray.filter(field => !inOneof.has(field)).map(fieldLine), ...oneofs.map(oneofLine)];
  return lines.length
    ? `${doc(type)}export interface ${type.name} {\n${lines.join('\n')}\n}\n`
    : `${doc(type)}export type ${type.name} = Readonly<Record<never, never>>;\n`;
}
function enumOf(en) {
  const prefix = `${screaming(en.name)}_`;
  const names = Object.keys(en.values).map(name => {
    if (!name.startsWith(prefix)) throw new Error(`${en.name}.${name} does not begin with ${prefix}`);
    return kebab(name.slice(prefix.length));
  });
  return `${doc(en)}export type ${en.name} = ${names.map(name => `'${name}'`).join(' | ')};\n`;
}

const types = [],
  messages = [],
  services = [];
for (const thing of ns.nestedArray) {
  if (thing instanceof protobuf.Enum) types.push(enumOf(thing));
  if (thing instanceof protobuf.Type) {
    types.push(interfaceOf(thing));
    messages.push(thing.name);
  }
  if (thing instanceof protobuf.Service) services.push(thing);
}
const header = '// Generated from proto/ by scripts/gen.mjs. Do not edit.\n';
const serviceText = services.map(service => {
  const methods = service.methodsArray.map(method => {
    const shape = method.requestStream
      ? method.responseStream
        ? 'bidi'
        : 'clientStream'
      : method.responseStream
        ? 'serverStream'
        : 'unary';
    return `${doc(method, '  ')}  readonly ${camel(method.name)}: { readonly shape: '${shape}'; readonly request: types.${method.resolvedRequestType.name}; readonly response: types.${method.resolvedResponseType.name} };`;
  });
  return `${doc(service)}export interface ${service.name} {\n${methods.join('\n')}\n}\n`;
});
mkdirSync(outDir, { recursive: true });
const write = (name, text) => {
  const path = join(outDir, name);
  let old;
  try {
    old = readFileSync(path, 'utf8');
  } catch {
    old = undefined;
  }
  if (old !== text) writeFileSync(path, text);
};
const imports = brands.size ? `import type { ${[...brands].sort().join(', ')} } from '../ids.js';\n\n` : '';
write(
  'types.ts',
  `${header}${imports}${types.join('\n')}\n/** Every message by its name. */\nexport interface Messages {\n${messages.map(name => `  readonly ${name}: ${name};`).join('\n')}\n}\n`,
);
write(
  'services.ts',
  `${header}import type * as types from './types.js';\n\n${serviceText.join('\n')}\n/** Every service by its name. */\nexport interface Services {\n${services.map(s => `  readonly ${s.name}: ${s.name};`).join('\n')}\n}\n`,
);
const v1 = ns.toJSON({ keepComments: false });
for (const [name, thing] of Object.entries(v1.nested)) if (thing.extend !== undefined) delete v1.nested[name];
write('protos.json', `${JSON.stringify({ nested: { covey: { nested: { v1 } } } })}\n`);

// What proto-loader makes of each method. Asked here and not at run time: it resolves all types of all protos for it (60 ms).
const loaded = loadSync(
  files.map(name => `covey/v1/${name}`),
  { includeDirs: [protoDir] },
);
const methodsOf = service =>
  Object.entries(loaded[`covey.v1.${service.name}`]).map(([name, method]) => {
    const { path, requestStream, responseStream, requestType, responseType } = method;
    const [request, response] = [requestType.type.name, responseType.type.name];
    return [camel(name), { path, requestStream, responseStream, request, response }];
  });
write(
  'methods.json',
  `${JSON.stringify(Object.fromEntries(services.map(one => [one.name, Object.fromEntries(methodsOf(one))])))}\n`,
);
