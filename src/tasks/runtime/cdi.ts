/**
 * Container Device Interface, specification 1.1: files that vendors write say which nodes, mounts, variables and hooks a
 * named device needs ("vendor.com/gpu=0"). Pure: texts in, edits out. A name that no file has is refused, never skipped.
 *
 * A hook runs as root on the host, so it counts only from a file that root alone could have written (`trusted`).
 *
 * Called by devices.ts. Not here: reading the folders, numbers of device nodes (devices.ts).
 */
import { parse } from 'yaml';
import { CoveyError } from '../../errors.js';

/** In the order of precedence: a later folder's file wins over an earlier one's for the same device. */
export const cdiFolders: readonly string[] = ['/etc/cdi', '/var/run/cdi'];

export interface CdiFile {
  readonly path: string;
  readonly text: string;
  /** Owned by root and not writable by anybody else. */
  readonly trusted: boolean;
}

export interface CdiNode {
  readonly path: string;
  readonly hostPath: string;
  readonly access: string;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly fileMode: number | undefined;
}

export interface CdiHook {
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly timeout: number | undefined;
}

export interface CdiEdits {
  readonly env: readonly string[];
  readonly nodes: readonly CdiNode[];
  readonly mounts: readonly {
    readonly source: string;
    readonly target: string;
    readonly type: string;
    readonly options: readonly string[];
  }[];
  readonly hooks: readonly CdiHook[];
  readonly groups: readonly number[];
}

interface Spec {
  readonly file: CdiFile;
  readonly kind: string;
  readonly common: CdiEdits;
  readonly devices: ReadonlyMap<string, CdiEdits>;
}

const hookNames = ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'];

/** What the named devices need, each file's common part once. */
export function planCdi(names: readonly string[], files: readonly CdiFile[]): CdiEdits {
  const specs = files.map(readSpec);
  const used = new Set<Spec>();
  const edits: CdiEdits[] = [];
  for (const name of names) {
    const [kind = '', device = ''] = name.split('=');
    const spec = specs.findLast(one => one.kind === kind && one.devices.has(device));
    const found = spec?.devices.get(device);
    if (spec === undefined || found === undefined) throw unknownDevice(name, specs);
    if (!used.has(spec)) edits.push(spec.common);
    used.add(spec);
    edits.push(found);
  }
  return {
    env: edits.flatMap(one => one.env),
    nodes: edits.flatMap(one => one.nodes),
    mounts: edits.flatMap(one => one.mounts),
    hooks: edits.flatMap(one => one.hooks),
    groups: [...new Set(edits.flatMap(one => one.groups))].filter(id => id !== 0),
  };
}

function unknownDevice(name: string, specs: readonly Spec[]): CoveyError {
  const known = specs.flatMap(({ kind, devices }) => [...devices.keys()].map(device => `${kind}=${device}`));
  return new CoveyError('device-not-found', `Cannot give device "${name}": no CDI specification names it`, {
    state: known.length === 0 ? `nothing in ${cdiFolders.join(' or ')}` : `known: ${known.slice(0, 20).join(', ')}`,
  });
}

type Fields = Readonly<Record<string, unknown>>;

function readSpec(file: CdiFile): Spec {
  const reader = new Reader(file);
  let value: unknown;
  try {
    value = parse(file.text);
  } catch (cause) {
    throw new CoveyError('device-not-found', `Cannot read "${file.path}": it is neither JSON nor YAML`, { cause });
  }
  const top = reader.fields(value, 'the file', ['cdiVersion', 'kind', 'annotations', 'devices', 'containerEdits']);
  const kind = reader.text(top['kind'], 'kind');
  if (!/^[\w.-]+\/[\w-]+$/.test(kind)) reader.refuse('kind has to be vendor/class');
  const devices = reader.list(top['devices'], 'devices').map(item => {
    const device = reader.fields(item, 'a device', ['name', 'annotations', 'containerEdits']);
    return [reader.text(device['name'], 'name'), reader.edits(device['containerEdits'])] as const;
  });
  if (devices.length === 0) reader.refuse('it names no device');
  return { file, kind, common: reader.edits(top['containerEdits']), devices: new Map(devices) };
}

/** Typed access to one file, with its name in every refusal. */
class Reader {
  readonly #file: CdiFile;

  constructor(file: CdiFile) {
    this.#file = file;
  }

  refuse(why: string): never {
    throw new CoveyError('device-not-found', `Cannot use CDI specification "${this.#file.path}": ${why}`);
  }

  fields(value: unknown, what: string, known: readonly string[]): Fields {
    if (typeof value !== 'object' || !value || Array.isArray(value)) return this.refuse(`${what} is no object`);
    const unknown = Object.keys(value).find(key => !known.includes(key));
    if (unknown !== undefined) this.refuse(`${what} has the unknown field "${unknown}"`);
    return Object.fromEntries(Object.entries(value));
  }

  list(value: unknown, what: string): readonly unknown[] {
    if (value === undefined) return [];
    return Array.isArray(value) ? value : this.refuse(`${what} is no list`);
  }

  text(value: unknown, what: string): string {
    return typeof value === 'string' && value !== '' ? value : this.refuse(`${what} is missing`);
  }

  texts(value: unknown, what: string): readonly string[] {
    return this.list(value, what).map(item => this.text(item, what));
  }

  path(value: unknown, what: string): string {
    const path = this.text(value, what);
    return path.startsWith('/') && !path.includes('\0') ? path : this.refuse(`${what} "${path}" is not absolute`);
  }

  number(value: unknown, what: string): number | undefined {
    if (value === undefined) return undefined;
    return typeof value === 'number' && Number.isInteger(value) && value >= 0
      ? value
      : this.refuse(`${what} is no number`);
  }

  edits(value: unknown): CdiEdits {
    const known = ['env', 'deviceNodes', 'mounts', 'hooks', 'additionalGids'];
    const fields = value === undefined ? {} : this.fields(value, 'containerEdits', known);
    return {
      env: this.texts(fields['env'], 'env').filter(text => text.indexOf('=') > 0 || this.refuse(`"${text}" in env`)),
      nodes: this.list(fields['deviceNodes'], 'deviceNodes').map(item => this.#node(item)),
      mounts: this.list(fields['mounts'], 'mounts').map(item => this.#mount(item)),
      hooks: this.list(fields['hooks'], 'hooks').map(item => this.#hook(item)),
      groups: this.list(fields['additionalGids'], 'additionalGids').flatMap(id => this.number(id, 'a gid') ?? []),
    };
  }

  #node(item: unknown): CdiNode {
    const known = ['path', 'hostPath', 'type', 'major', 'minor', 'fileMode', 'permissions', 'uid', 'gid'];
    const node = this.fields(item, 'a device node', known);
    const path = this.path(node['path'], 'path');
    const access = node['permissions'] === undefined ? 'rwm' : this.text(node['permissions'], 'permissions');
    if (access !== 'none' && !/^[rwm]{1,3}$/.test(access)) this.refuse(`permissions "${access}"`);
    return {
      path,
      hostPath: node['hostPath'] === undefined ? path : this.path(node['hostPath'], 'hostPath'),
      access: access === 'none' ? '' : access,
      uid: this.number(node['uid'], 'uid'),
      gid: this.number(node['gid'], 'gid'),
      fileMode: this.number(node['fileMode'], 'fileMode'),
    };
  }

  #mount(item: unknown): CdiEdits['mounts'][number] {
    const mount = this.fields(item, 'a mount', ['hostPath', 'containerPath', 'type', 'options']);
    const options = this.texts(mount['options'], 'options');
    return {
      source: this.path(mount['hostPath'], 'hostPath'),
      target: this.path(mount['containerPath'], 'containerPath'),
      type: mount['type'] === undefined ? 'bind' : this.text(mount['type'], 'type'),
      options: options.length === 0 ? ['rbind', 'ro', 'nosuid', 'nodev'] : options,
    };
  }

  #hook(item: unknown): CdiHook {
    const hook = this.fields(item, 'a hook', ['hookName', 'path', 'args', 'env', 'timeout']);
    const name = this.text(hook['hookName'], 'hookName');
    if (!hookNames.includes(name)) this.refuse(`there is no hook "${name}"`);
    if (!this.#file.trusted) this.refuse('it has hooks, and others than root can write it');
    return {
      name,
      path: this.path(hook['path'], 'path'),
      args: this.texts(hook['args'], 'args'),
      env: this.texts(hook['env'], 'env'),
      timeout: this.number(hook['timeout'], 'timeout'),
    };
  }
}
