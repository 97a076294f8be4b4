/**
 * The flags that add to lists of a spec and remove from them. What is added replaces what has the same key: a variable of the
 * name, a mount at the target, a port with the published number, a network.
 *
 * Not here: single values (spec-flags.ts).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../../errors.js';
import type {
  ContainerSpec,
  FileReference,
  Mount,
  NetworkAttachment,
  PortSpec,
  ServiceSpec,
  Ulimit,
} from '../../../gen/types.js';
import { parseEnvFile } from '../../../tasks/spec/env-file.js';
import { parseMountKeys, parseTmpfs, splitKeys } from '../../../tasks/spec/mounts.js';
import { parsePort, parsePortKeys } from '../../../tasks/spec/ports.js';
import { inlineProfile, parseDevice, parseDeviceRule } from '../../../tasks/spec/security.js';
import {
  bad,
  ok,
  type Parsed,
  parseFileMode,
  parseInteger,
  parseUlimit,
  splitPair,
} from '../../../tasks/spec/values.js';
import { type Flags, orBadValue } from '../../flags.js';
import { withContainer, withTask } from './spec-edit.js';

export interface FlagWorld {
  readonly directory: string;
  readonly homeDirectory: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly findFile: (path: string) => Uint8Array | undefined;
  /** The id of a network, secret or config by its name: a stored spec has ids. */
  readonly findId: (kind: 'network' | 'secret' | 'config', name: string) => string | undefined;
}

export interface ListWorld extends FlagWorld {
  /** "" for create (--env), "-add" for update (--env-add). */
  readonly adds: '' | '-add';
}

export function changedLists(spec: ServiceSpec, flags: Flags, world: ListWorld): ServiceSpec {
  const { adds } = world;
  const constraints = changeTexts(spec.task.placement.constraints, flags, { name: 'constraint', adds });
  const withLists: ServiceSpec = {
    ...spec,
    labels: changeRecord(spec.labels, flags, { name: 'label', adds }),
    ports: changePorts(spec.ports, flags, adds),
  };
  const placed = withTask(withLists, task => ({
    ...task,
    placement: { ...task.placement, constraints, spread: changeSpread(task.placement.spread, flags, adds) },
    networks: changeNetworks(task.networks, flags, world),
  }));
  return withContainer(placed, container => changeContainer(container, flags, world));
}

function changeContainer(container: ContainerSpec, flags: Flags, world: ListWorld): ContainerSpec {
  const { adds } = world;
  const texts = (list: readonly string[], name: string): readonly string[] => changeTexts(list, flags, { name, adds });
  return {
    ...container,
    env: changeEnv(container.env, flags, world),
    labels: changeRecord(container.labels, flags, { name: 'container-label', adds }),
    sysctls: changeRecord(container.sysctls, flags, { name: 'sysctl', adds }),
    mounts: changeMounts(container.mounts, flags, world),
    ulimits: changeUlimits(container.ulimits, flags, adds),
    devices: changeChecked(container.devices, flags, { name: 'device', adds, check: parseDevice }),
    deviceCgroupRules: changeChecked(container.deviceCgroupRules, flags, {
      name: 'device-cgroup-rule',
      adds,
      check: parseDeviceRule,
    }),
    securityOpt: changeSecurity(container.securityOpt, flags, world),
    secrets: changeFiles(container.secrets, flags, { ...world, kind: 'secret' }),
    configs: changeFiles(container.configs, flags, { ...world, kind: 'config' }),
    extraHosts: texts(container.extraHosts, 'host'),
    dns: texts(container.dns, 'dns'),
    dnsOptions: texts(container.dnsOptions, 'dns-option'),
    dnsSearch: texts(container.dnsSearch, 'dns-search'),
    groups: texts(container.groups, 'group'),
  };
}

interface ListName {
  readonly name: string;
  readonly adds: '' | '-add';
}

function removed(flags: Flags, list: ListName): readonly string[] {
  return list.adds === '' ? [] : flags.list(`${list.name}-rm`);
}

function changeTexts(texts: readonly string[], flags: Flags, list: ListName): readonly string[] {
  const gone = removed(flags, list);
  return [...new Set([...texts.filter(text => !gone.includes(text)), ...flags.list(`${list.name}${list.adds}`)])];
}

/** "spread=KEY", Docker's form. */
function changeSpread(keys: readonly string[], flags: Flags, adds: ListWorld['adds']): readonly string[] {
  const list = { name: 'placement-pref', adds };
  const add = flags.parsedList(`${list.name}${adds}`, parseSpread);
  const gone = removed(flags, list).map(text => text.replace(/^spread=/u, ''));
  return [...new Set([...keys.filter(key => !gone.includes(key)), ...add])];
}

function parseSpread(text: string): Parsed<string> {
  const [, key] = /^spread=(.+)$/u.exec(text) ?? [];
  return key === undefined ? bad('spread=KEY, such as spread=node.labels.zone') : ok(key);
}

/** Items by key: removed by key, then added, in place where the key is there already. */
function changeByKey<Item>(
  items: readonly Item[],
  change: { readonly add: readonly Item[]; readonly remove: readonly string[]; readonly keyOf: (item: Item) => string },
): readonly Item[] {
  const all = new Map(items.map(item => [change.keyOf(item), item]));
  for (const key of change.remove) all.delete(key);
  for (const item of change.add) all.set(change.keyOf(item), item);
  return [...all.values()];
}

function changeRecord(
  record: Readonly<Record<string, string>>,
  flags: Flags,
  list: ListName,
): Readonly<Record<string, string>> {
  const parse = (text: string): Parsed<readonly [string, string]> => {
    const { name, value = '' } = splitPair(text);
    return name === '' ? bad('KEY=VALUE') : ok([name, value]);
  };
  const add = flags.parsedList(`${list.name}${list.adds}`, parse);
  const pairs = changeByKey<readonly [string, string]>(Object.entries(record), {
    add,
    remove: removed(flags, list),
    keyOf: ([key]) => key,
  });
  return Object.fromEntries(pairs);
}

function changeEnv(env: readonly string[], flags: Flags, world: ListWorld): readonly string[] {
  const find = (name: string): string | undefined => world.env[name];
  const fromFiles = (world.adds === '' ? flags.list('env-file') : []).flatMap(path => {
    const data = world.findFile(posix.resolve(world.directory, path));
    if (data === undefined)
      throw new CoveyError('not-found', `Cannot read "${path}" for --env-file: there is no such file`);
    return orBadValue('--env-file', path, parseEnvFile(new TextDecoder().decode(data), find)).map(
      ([name, value]) => `${name}=${value}`,
    );
  });
  const own = flags.list(`env${world.adds}`).flatMap(text => {
    const { name, value = find(name) } = splitPair(text);
    if (name === '')
      throw new CoveyError('bad-argument', `Cannot use "${text}" for --env`, { hint: 'give NAME=VALUE' });
    return value === undefined ? [] : [`${name}=${value}`];
  });
  return changeByKey(env, {
    add: [...fromFiles, ...own],
    remove: removed(flags, { name: 'env', adds: world.adds }),
    keyOf: text => splitPair(text).name,
  });
}

function changePorts(ports: readonly PortSpec[], flags: Flags, adds: '' | '-add'): readonly PortSpec[] {
  const add = flags
    .parsedList(`publish${adds}`, text => (text.includes('=') ? parsePortKeys(text) : parsePort(text)))
    .flat();
  const gone = removed(flags, { name: 'publish', adds }).flatMap(text =>
    orBadValue('--publish-rm', text, text.includes('=') ? parsePortKeys(text) : parsePort(text)),
  );
  const kept = ports.filter(port => !gone.some(one => one.target === port.target && one.protocol === port.protocol));
  const keyOf = (port: PortSpec): string =>
    port.published === 0 ? `to ${port.target}/${port.protocol}` : `${port.published}/${port.protocol}`;
  return changeByKey(kept, { add, remove: [], keyOf });
}

function changeMounts(mounts: readonly Mount[], flags: Flags, world: ListWorld): readonly Mount[] {
  const resolvePath = (path: string): string =>
    /^~(?:\/|$)/u.test(path) && world.homeDirectory !== undefined
      ? posix.join(world.homeDirectory, path.slice(1))
      : path === ''
        ? ''
        : posix.resolve(world.directory, path);
  const add = flags.parsedList(`mount${world.adds}`, text => parseMountKeys(text, { resolvePath }));
  const temporary = flags.parsedList(`tmpfs${world.adds}`, parseTmpfs);
  return changeByKey(mounts, {
    add: [...add, ...temporary],
    remove: ['mount', 'tmpfs'].flatMap(name => removed(flags, { name, adds: world.adds })),
    keyOf: mount => mount.target,
  });
}

function changeUlimits(ulimits: readonly Ulimit[], flags: Flags, adds: '' | '-add'): readonly Ulimit[] {
  const add = flags.parsedList(`ulimit${adds}`, parseUlimit);
  return changeByKey(ulimits, { add, remove: removed(flags, { name: 'ulimit', adds }), keyOf: limit => limit.name });
}

function changeChecked(
  texts: readonly string[],
  flags: Flags,
  { check, ...list }: ListName & { readonly check: (text: string) => Parsed<unknown> },
): readonly string[] {
  const add = flags.parsedList(`${list.name}${list.adds}`, text => {
    const parsed = check(text);
    return parsed.kind === 'ok' ? ok(text) : parsed;
  });
  return changeByKey(texts, { add, remove: removed(flags, list), keyOf: text => text });
}

/** Taken away by the whole option or by its name: a profile is long. */
function changeSecurity(options: readonly string[], flags: Flags, world: ListWorld): readonly string[] {
  const find = (path: string): Uint8Array | undefined => world.findFile(posix.resolve(world.directory, path));
  const add = flags.parsedList(`security-opt${world.adds}`, text => inlineProfile(text, find));
  const gone = removed(flags, { name: 'security-opt', adds: world.adds });
  const kept = options.filter(text => !gone.includes(text) && !gone.includes(text.split(/[=:]/, 1)[0] ?? ''));
  return [...new Set([...kept, ...add])];
}

/** "backend", or "name=backend,alias=db". */
function parseNetworkFlag(text: string): Parsed<NetworkAttachment> {
  if (!text.includes('=')) return text === '' ? bad('the name of a network') : ok({ network: text, aliases: [] });
  const keys = splitKeys(text);
  const unknown = keys.find(({ key }) => key !== 'name' && key !== 'alias');
  const name = keys.find(({ key }) => key === 'name')?.value;
  if (unknown !== undefined || name === undefined) return bad('NAME or name=NAME,alias=ALIAS');
  return ok({
    network: name,
    aliases: keys.flatMap(({ key, value }) => (key === 'alias' && value !== undefined ? [value] : [])),
  });
}

function changeNetworks(
  networks: readonly NetworkAttachment[],
  flags: Flags,
  world: ListWorld,
): readonly NetworkAttachment[] {
  const idOf = (name: string): string => world.findId('network', name) ?? name;
  const add = flags
    .parsedList(`network${world.adds}`, parseNetworkFlag)
    .map(one => ({ ...one, network: idOf(one.network) }));
  const remove = removed(flags, { name: 'network', adds: world.adds }).map(idOf);
  return changeByKey(networks, { add, remove, keyOf: one => one.network });
}

/** "db-password", or "source=db-password,target=password,uid=1000,mode=0400". */
function parseFileFlag(text: string, kind: 'secret' | 'config'): Parsed<FileReference> {
  const valid = bad('NAME or source=NAME,target=FILE,uid=N,gid=N,mode=OCTAL');
  const keys = text.includes('=') ? splitKeys(text) : [{ key: 'source', value: text }];
  const values = new Map(keys.map(({ key, value = '' }) => [key === 'src' ? 'source' : key, value]));
  const source = values.get('source') ?? '';
  const known = ['source', 'target', 'uid', 'gid', 'mode'];
  if (source === '' || [...values.keys()].some(key => !known.includes(key))) return valid;
  const id = (key: string): Parsed<number> => parseInteger(values.get(key) ?? '0', { min: 0, max: 0xffff_fffe });
  const uid = id('uid');
  const gid = id('gid');
  const mode = values.has('mode') ? parseFileMode(values.get('mode') ?? '') : ok(undefined);
  if (uid.kind === 'bad' || gid.kind === 'bad' || mode.kind === 'bad') return valid;
  const target = values.get('target') ?? (kind === 'config' ? `/${source}` : source);
  return ok({ source, target, uid: uid.value, gid: gid.value, mode: mode.value });
}

function changeFiles(
  files: readonly FileReference[],
  flags: Flags,
  world: ListWorld & { readonly kind: 'secret' | 'config' },
): readonly FileReference[] {
  const { kind, adds } = world;
  const idOf = (name: string): string => world.findId(kind, name) ?? name;
  const add = flags
    .parsedList(`${kind}${adds}`, text => parseFileFlag(text, kind))
    .map(file => ({ ...file, source: idOf(file.source) }));
  const gone = removed(flags, { name: kind, adds }).map(idOf);
  return changeByKey(
    files.filter(file => !gone.includes(file.source)),
    { add, remove: [], keyOf: file => file.target },
  );
}
