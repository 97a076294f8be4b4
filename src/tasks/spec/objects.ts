/**
 * The top level of a stack file: networks, volumes, secrets, configs, and the file as a whole.
 *
 * Not here: services (service.ts), merging of files (merge.ts).
 */
import {
  type Field,
  problem,
  readChoice,
  readEntries,
  readFlag,
  readItems,
  readKeys,
  readPairs,
  readText,
} from './fields.js';
import type { FileModel, NetworkModel, StackModel, VolumeModel } from './model.js';
import { type ReadingContext, readService } from './service.js';

export function readStack(field: Field, context: ReadingContext): StackModel {
  const find = readKeys(field, {
    what: 'a stack file',
    known: ['version', 'name', 'services', 'networks', 'volumes', 'secrets', 'configs'],
    notHonoured: ['include', 'models'],
  });
  const all = <Model>(key: string, read: (field: Field) => Model): ReadonlyMap<string, Model> =>
    new Map(readEntries(find(key)).map(([name, entry]) => [name, read(entry)] as const));
  const services = all('services', service => readService(checkName(service), context));
  return {
    name: readText(find('name')),
    services,
    networks: all('networks', readNetwork),
    volumes: all('volumes', readVolume),
    secrets: all('secrets', secret => readFileObject(secret, 'secret', context)),
    configs: all('configs', config => readFileObject(config, 'config', context)),
  };
}

function checkName(service: Field): Field {
  const name = service.path.slice('services.'.length);
  if (!/^[a-zA-Z0-9._-]+$/u.test(name))
    problem(service, 'stack-type', 'has a name with other characters than letters, digits, ".", "_" and "-"');
  return service;
}

/** `external: true`, or the older `external: {name: …}`. */
function readExternal(field: Field | undefined): { readonly external: boolean; readonly name: string | undefined } {
  if (field?.tree.kind !== 'map') return { external: readFlag(field) ?? false, name: undefined };
  const find = readKeys(field, { what: 'external', known: ['name'], notHonoured: [] });
  return { external: true, name: readText(find('name')) };
}

function readNetwork(field: Field): NetworkModel {
  const find = readKeys(field, {
    what: 'a network',
    known: ['name', 'external', 'driver', 'internal', 'attachable', 'labels', 'ipam'],
    notHonoured: ['driver_opts', 'enable_ipv4', 'enable_ipv6'],
  });
  const external = readExternal(find('external'));
  return {
    external: external.external,
    name: readText(find('name')) ?? external.name,
    driver: readChoice(find('driver'), ['overlay', 'host', 'none']) ?? 'overlay',
    subnets: readSubnets(find('ipam')),
    internal: readFlag(find('internal')) ?? false,
    attachable: readFlag(find('attachable')) ?? false,
    labels: new Map(readPairs(find('labels'))),
  };
}

function readSubnets(field: Field | undefined): readonly string[] {
  if (field === undefined) return [];
  const find = readKeys(field, { what: 'ipam', known: ['driver', 'config'], notHonoured: ['options'] });
  readChoice(find('driver'), ['default']);
  return readItems(find('config')).flatMap(item => {
    const keys = readKeys(item, {
      what: 'an ipam config',
      known: ['subnet'],
      notHonoured: ['aux_addresses', 'gateway', 'ip_range'],
    });
    return readText(keys('subnet')) ?? [];
  });
}

function readVolume(field: Field): VolumeModel {
  const find = readKeys(field, {
    what: 'a volume',
    known: ['name', 'external', 'driver', 'driver_opts', 'labels'],
    notHonoured: ['x-cluster-spec'],
  });
  const driver = find('driver');
  const name = readText(driver);
  if (driver !== undefined && name !== undefined && name !== 'local') {
    problem(driver, 'stack-not-honoured', `is "${name}"; covey has volumes of the node only`, 'remove driver');
  }
  const external = readExternal(find('external'));
  const options = readPairs(find('driver_opts'));
  const unknown = options.find(([key]) => !['type', 'device', 'o'].includes(key));
  if (unknown !== undefined)
    problem(field, 'stack-not-honoured', `has the option "${unknown[0]}"; the driver local has type, device and o`);
  return {
    external: external.external,
    name: readText(find('name')) ?? external.name,
    options: new Map(options),
    labels: new Map(readPairs(find('labels'))),
  };
}

function readFileObject(field: Field, what: 'secret' | 'config', context: ReadingContext): FileModel {
  const content = what === 'config' ? ['content'] : [];
  const find = readKeys(field, {
    what: `a ${what}`,
    known: ['name', 'external', 'labels', 'file', 'environment', ...content],
    notHonoured: ['driver', 'driver_opts', 'template_driver'],
  });
  const external = readExternal(find('external'));
  const sources = ['file', 'environment', ...content].filter(key => find(key) !== undefined);
  const model = {
    external: external.external,
    name: readText(find('name')) ?? external.name,
    labels: new Map(readPairs(find('labels'))),
  };
  if (external.external) {
    if (sources.length > 0) problem(field, 'stack-type', `is external and has ${sources.join(' and ')} as well`);
    return { ...model, data: undefined };
  }
  if (sources.length !== 1) {
    const choices = ['file', 'environment', ...content, 'external'].join(', ');
    problem(
      field,
      'stack-type',
      `needs exactly one of ${choices}, and has ${sources.length === 0 ? 'none' : sources.join(' and ')}`,
    );
    return { ...model, data: undefined };
  }
  return {
    ...model,
    data: readContent(find('content')) ?? readVariable(find('environment'), context) ?? readFile(find('file'), context),
  };
}

function readContent(field: Field | undefined): Uint8Array | undefined {
  const text = readText(field);
  return text === undefined ? undefined : new TextEncoder().encode(text);
}

function readVariable(field: Field | undefined, context: ReadingContext): Uint8Array | undefined {
  const name = readText(field);
  if (field === undefined || name === undefined) return undefined;
  const value = context.findVariable(name);
  if (value === undefined) return problem(field, 'stack-variable', `takes the variable "${name}", which is not set`);
  return new TextEncoder().encode(value);
}

function readFile(field: Field | undefined, context: ReadingContext): Uint8Array | undefined {
  const path = readText(field);
  if (field === undefined || path === undefined) return undefined;
  return (
    context.findFile(context.resolvePath(path)) ??
    problem(field, 'stack-file', `names the file "${path}", which is not there`)
  );
}
