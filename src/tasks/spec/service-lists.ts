/**
 * The lists of a service that have a short and a long form: ports, volumes, tmpfs, secrets, configs and networks.
 *
 * Not here: the short forms themselves (ports.ts, mounts.ts), whether a name is defined (request.ts).
 */
import type { Mount, MountKind, PortSpec } from '../../gen/types.js';
import {
  type Field,
  type FindField,
  problem,
  readChoice,
  readEntries,
  readFlag,
  readItems,
  readKeys,
  readPairs,
  readParsed,
  readText,
  readTextOrTexts,
  readTexts,
  scalarOf,
} from './fields.js';
import type { FileUse, MountModel, NetworkUse, Reference } from './model.js';
import {
  checkMount,
  isConsistency,
  parsePropagation,
  parseShortMount,
  parseTmpfs,
  plainMount,
  relabelOf,
} from './mounts.js';
import { pairPorts, parsePort, parseProtocol, parseRange } from './ports.js';
import { bad, ok, type Parsed, parseBytes, parseFileMode, parseInteger } from './values.js';

export function readPorts(field: Field | undefined): readonly PortSpec[] {
  return readItems(field).flatMap(item =>
    item.tree.kind === 'map' ? readLongPort(item) : (readParsed(item, parsePort) ?? []),
  );
}

function readLongPort(field: Field): readonly PortSpec[] {
  const find = readKeys(field, {
    what: 'a port',
    known: ['target', 'published', 'protocol', 'mode'],
    notHonoured: ['host_ip', 'name', 'app_protocol'],
  });
  const target = readParsed(find('target'), parsePortRange);
  const publishedField = find('published');
  const published = isZero(publishedField) ? undefined : readParsed(publishedField, parsePortRange);
  const protocol = readParsed(find('protocol'), parseProtocol) ?? 'tcp';
  const mode = readChoice(find('mode'), ['ingress', 'host', 'local']) ?? 'ingress';
  if (find('target') === undefined) return problem(field, 'stack-type', 'has no target') ?? [];
  if (target === undefined || (publishedField !== undefined && published === undefined && !isZero(publishedField)))
    return [];
  const paired = pairPorts({ target, published, protocol, mode });
  return paired.kind === 'ok' ? paired.value : (problem(field, 'stack-type', `has to be ${paired.valid}`) ?? []);
}

/** Docker writes 0, or nothing at all, for a port that the cluster chooses. */
function isZero(field: Field | undefined): boolean {
  return field === undefined || (field.tree.kind === 'scalar' && /^0?$/u.test(field.tree.text));
}

function parsePortRange(text: string): Parsed<{ readonly first: number; readonly last: number }> {
  const range = parseRange(text);
  return range === undefined ? bad('a port from 1 to 65535, or a range such as 8000-8010') : ok(range);
}

export interface PathContext {
  readonly resolvePath: (path: string) => string;
}

export function readMounts(
  volumes: Field | undefined,
  tmpfs: Field | undefined,
  context: PathContext,
): readonly MountModel[] {
  const listed = readItems(volumes).flatMap(item => readMount(item, context) ?? []);
  const texts = readTextOrTexts(tmpfs) ?? [];
  const temporary = texts.flatMap(text => {
    const parsed = parseTmpfs(text);
    if (parsed.kind === 'ok') return [{ mount: parsed.value, volume: undefined }];
    return (tmpfs && problem(tmpfs, 'stack-type', `holds "${text}", and has to hold ${parsed.valid}`)) ?? [];
  });
  return [...listed, ...temporary];
}

function readMount(field: Field, context: PathContext): MountModel | undefined {
  const mount =
    field.tree.kind === 'map'
      ? readLongMount(field, context)
      : readParsed(field, text => parseShortMount(text, context));
  if (mount === undefined) return undefined;
  const named = mount.kind === 'volume' && mount.source !== '';
  return { mount, volume: named ? { name: mount.source, path: field.path, place: field.tree.place } : undefined };
}

const mountKinds: readonly MountKind[] = ['bind', 'volume', 'tmpfs', 'image'];

function readLongMount(field: Field, context: PathContext): Mount | undefined {
  const find = readKeys(field, {
    what: 'a volume',
    known: ['type', 'source', 'target', 'read_only', 'consistency', 'bind', 'volume', 'tmpfs', 'image'],
    notHonoured: ['cluster'],
  });
  const kindField = find('type');
  const kindText = readText(kindField);
  if (kindField === undefined) return problem(field, 'stack-type', 'has no type (bind, volume, tmpfs or image)');
  const kind = mountKinds.find(one => one === kindText);
  if (kind === undefined) {
    const other = kindText === 'cluster' || kindText === 'npipe';
    return problem(
      kindField,
      other ? 'stack-not-honoured' : 'stack-type',
      `is "${kindText}"; covey has bind, volume, tmpfs and image`,
    );
  }
  const source = readText(find('source'));
  const consistency = readText(find('consistency'));
  if (consistency !== undefined && !isConsistency(consistency))
    problem(field, 'stack-type', 'has an unknown consistency');
  const mount: Mount = {
    ...plainMount(kind, readText(find('target')) ?? ''),
    source: source === undefined ? '' : kind === 'bind' ? context.resolvePath(source) : source,
    readOnly: readFlag(find('read_only')) ?? false,
    ...readMountOptions(find),
  };
  const checked = checkMount(mount);
  return checked.kind === 'ok' ? checked.value : problem(field, 'stack-type', `has to have ${checked.valid}`);
}

type MountOptions = Pick<
  Mount,
  'propagation' | 'relabel' | 'noCopy' | 'tmpfsBytes' | 'tmpfsMode' | 'subpath' | 'volumeLabels'
>;

function readMountOptions(find: FindField): MountOptions {
  const keys = (name: string, known: readonly string[], notHonoured: readonly string[]): FindField => {
    const field = find(name);
    return field === undefined ? () => undefined : readKeys(field, { what: `${name} options`, known, notHonoured });
  };
  const bind = keys('bind', ['propagation', 'selinux'], ['create_host_path', 'recursive']);
  const volume = keys('volume', ['nocopy', 'subpath', 'labels'], []);
  const image = keys('image', ['subpath'], []);
  const tmpfs = keys('tmpfs', ['size', 'mode'], []);
  const letter = readChoice(bind('selinux'), ['z', 'Z']);
  return {
    propagation: readParsed(bind('propagation'), parsePropagation) ?? '',
    relabel: letter === undefined ? '' : relabelOf(letter),
    noCopy: readFlag(volume('nocopy')) ?? false,
    subpath: readText(volume('subpath')) ?? readText(image('subpath')) ?? '',
    volumeLabels: Object.fromEntries(readPairs(volume('labels')).map(([name, value]) => [name, value ?? ''])),
    tmpfsBytes: readParsed(tmpfs('size'), parseBytes) ?? 0,
    tmpfsMode: readFileMode(tmpfs('mode')) ?? 0,
  };
}

/** A mode written as 0440 is a number already (octal by the rules of YAML 1.1); as a text it is octal too. */
function readFileMode(field: Field | undefined): number | undefined {
  if (field?.tree.kind === 'scalar') {
    const scalar = scalarOf(field.tree);
    if (scalar.kind === 'number' && scalar.integer && scalar.value >= 0 && scalar.value <= 0o7777) return scalar.value;
  }
  return readParsed(field, parseFileMode);
}

/** `secrets` and `configs` of a service. */
export function readConfigUses(field: Field | undefined): readonly FileUse[] {
  return readItems(field).flatMap(item => {
    if (item.tree.kind !== 'map') {
      const name = readText(item);
      if (name === undefined) return [];
      return [
        { reference: referenceTo(name, item), target: undefined, uid: undefined, gid: undefined, mode: undefined },
      ];
    }
    const find = readKeys(item, {
      what: 'a secret or config',
      known: ['source', 'target', 'uid', 'gid', 'mode'],
      notHonoured: [],
    });
    const source = readText(find('source'));
    if (find('source') === undefined) return problem(item, 'stack-type', 'has no source') ?? [];
    if (source === undefined) return [];
    const id = (key: string): number | undefined =>
      readParsed(find(key), text => parseInteger(text, { min: 0, max: 0xffff_fffe }));
    return [
      {
        reference: referenceTo(source, item),
        target: readText(find('target')),
        uid: id('uid'),
        gid: id('gid'),
        mode: readFileMode(find('mode')),
      },
    ];
  });
}

export function readNetworkUses(field: Field | undefined): ReadonlyMap<string, NetworkUse> {
  if (field === undefined) return new Map();
  if (field.tree.kind !== 'map') {
    const uses = readItems(field).flatMap(item => {
      const name = readText(item);
      return name === undefined ? [] : [[name, { reference: referenceTo(name, item), aliases: undefined }] as const];
    });
    return new Map(uses);
  }
  return new Map(
    readEntries(field).map(([name, use]) => {
      const find = readKeys(use, {
        what: 'a network of a service',
        known: ['aliases'],
        notHonoured: [
          'driver_opts',
          'gw_priority',
          'interface_name',
          'ipv4_address',
          'ipv6_address',
          'link_local_ips',
          'mac_address',
          'priority',
        ],
      });
      return [name, { reference: referenceTo(name, use), aliases: readTexts(find('aliases')) }] as const;
    }),
  );
}

function referenceTo(name: string, field: Field): Reference {
  return { name, path: field.path, place: field.tree.place };
}
