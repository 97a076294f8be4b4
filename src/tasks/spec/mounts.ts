/**
 * Mounts in Docker's short form ("data:/var/lib/data:ro"), and the form with keys ("type=bind,source=/a,target=/b").
 *
 * Not here: the YAML map form (service-lists.ts), making the mounts (tasks/runtime/bundle.ts).
 */
import type { Mount, MountKind } from '../../gen/types.js';
import { bad, ok, type Parsed, parseBytes, parseFileMode } from './values.js';

/** A mount with nothing asked but its kind and target. */
export function plainMount(kind: MountKind, target: string): Mount {
  return {
    kind,
    source: '',
    target,
    readOnly: false,
    tmpfsBytes: 0,
    tmpfsMode: 0,
    propagation: '',
    noCopy: false,
    subpath: '',
    volumeOptions: {},
    volumeLabels: {},
    relabel: '',
  };
}

const mountKinds = ['bind', 'volume', 'tmpfs', 'image', 'shared'] as const;
const propagations: readonly string[] = ['rprivate', 'private', 'rshared', 'shared', 'rslave', 'slave'];
/** Hints for machines whose containers run inside a virtual machine; on Linux they mean nothing. */
const consistencies: readonly string[] = ['consistent', 'cached', 'delegated', 'default'];

export function parsePropagation(text: string): Parsed<string> {
  return propagations.includes(text) ? ok(text) : bad(`one of ${propagations.join(', ')}`);
}

/** Docker's letters. */
export function relabelOf(letter: 'z' | 'Z'): string {
  return letter === 'z' ? 'shared' : 'private';
}

export function isConsistency(text: string): boolean {
  return consistencies.includes(text);
}

export interface ShortMountOptions {
  /** Makes "." and "~" absolute. */
  readonly resolvePath: (path: string) => string;
}

/** "[SOURCE:]TARGET[:OPTIONS]". A source that begins with "/", "." or "~" is a path, any other the name of a volume. */
export function parseShortMount(text: string, options: ShortMountOptions): Parsed<Mount> {
  const valid = '[SOURCE:]TARGET[:ro|rw|z|Z|nocopy|PROPAGATION] with an absolute target, such as data:/var/lib/data:ro';
  const parts = text.split(':');
  if (parts.length > 3 || parts.some(part => part === '')) return bad(valid);
  const [only = ''] = parts;
  if (parts.length === 1) return only.startsWith('/') ? ok(plainMount('volume', only)) : bad(valid);
  const [source = '', target = '', modes] = parts;
  if (!target.startsWith('/')) return bad(valid);
  const isPath = /^[/.~]/u.test(source);
  let mount: Mount = isPath
    ? { ...plainMount('bind', target), source: options.resolvePath(source) }
    : { ...plainMount('volume', target), source };
  for (const mode of modes?.split(',') ?? []) {
    const changed = withMode(mount, mode);
    if (changed.kind === 'bad') return changed;
    mount = changed.value;
  }
  return ok(mount);
}

function withMode(mount: Mount, mode: string): Parsed<Mount> {
  if (mode === 'rw') return ok(mount);
  if (mode === 'ro') return ok({ ...mount, readOnly: true });
  if (mode === 'z' || mode === 'Z') return ok({ ...mount, relabel: relabelOf(mode) });
  if (mode === 'nocopy' && mount.kind === 'volume') return ok({ ...mount, noCopy: true });
  if (mount.kind === 'bind' && propagations.includes(mode)) return ok({ ...mount, propagation: mode });
  if (isConsistency(mode)) return ok(mount);
  return bad(mount.kind === 'bind' ? `ro, rw, z, Z or one of ${propagations.join(', ')}` : 'ro, rw, z, Z or nocopy');
}

/** "/run" or "/run:size=64m,mode=1777,ro". */
export function parseTmpfs(text: string): Parsed<Mount> {
  const at = text.indexOf(':');
  const target = at < 0 ? text : text.slice(0, at);
  const valid = bad('an absolute path, if wanted with :size=SIZE,mode=OCTAL,ro');
  if (!target.startsWith('/')) return valid;
  let mount = plainMount('tmpfs', target);
  for (const option of at < 0 ? [] : text.slice(at + 1).split(',')) {
    const [key = '', value = ''] = option.split('=', 2);
    if (key === 'ro') mount = { ...mount, readOnly: true };
    else if (key === 'size') {
      const size = parseBytes(value);
      if (size.kind === 'bad') return size;
      mount = { ...mount, tmpfsBytes: size.value };
    } else if (key === 'mode') {
      const mode = parseFileMode(value);
      if (mode.kind === 'bad') return mode;
      mount = { ...mount, tmpfsMode: mode.value };
    } else if (key !== 'rw') return valid;
  }
  return ok(mount);
}

/** The form with keys, of the command line; comma separated, a value with a comma in double quotes. */
export function parseMountKeys(text: string, options: ShortMountOptions): Parsed<Mount> {
  let kind: MountKind = 'volume';
  let mount = plainMount('volume', '');
  for (const { key, value } of splitKeys(text)) {
    if (key === 'type') {
      const found = mountKinds.find(one => one === value);
      if (found === undefined) return bad(`type=${mountKinds.join(', type=')}`);
      kind = found;
    } else {
      const changed = withKey(mount, key, value);
      if (changed.kind === 'bad') return changed;
      mount = changed.value;
    }
  }
  return checkMount({
    ...mount,
    kind,
    source: kind === 'bind' && mount.source !== '' ? options.resolvePath(mount.source) : mount.source,
  });
}

/** What only fits one kind stands only there, and the target is absolute. */
export function checkMount(mount: Mount): Parsed<Mount> {
  if (!mount.target.startsWith('/')) return bad('an absolute target');
  if (mount.kind === 'bind' && !mount.source.startsWith('/')) return bad('an absolute source for a bind mount');
  if (mount.kind === 'tmpfs' && mount.source !== '') return bad('a tmpfs without a source');
  if (mount.kind !== 'bind' && mount.propagation !== '') return bad('a propagation on bind mounts only');
  if (mount.relabel !== '' && mount.kind !== 'bind' && mount.kind !== 'volume')
    return bad('relabel on bind mounts and volumes only');
  if (mount.kind !== 'volume' && mount.noCopy) return bad('nocopy on volumes only');
  if (mount.kind !== 'tmpfs' && mount.tmpfsMode > 0) return bad('a mode on tmpfs only');
  if (mount.kind !== 'tmpfs' && mount.kind !== 'shared' && mount.tmpfsBytes > 0)
    return bad('a size on tmpfs and shared only');
  if ((mount.kind === 'image' || mount.kind === 'shared') && mount.source === '')
    return bad(`a source for ${mount.kind}`);
  return checkWithin(mount);
}

function checkWithin(mount: Mount): Parsed<Mount> {
  const { kind, subpath } = mount;
  if (subpath !== '' && kind !== 'volume' && kind !== 'image') return bad('a subpath on volumes and images only');
  if (subpath.startsWith('/') || subpath.split('/').includes('..')) return bad('a relative subpath without ".."');
  const named = kind === 'volume' && mount.source !== '';
  const options = Object.keys(mount.volumeOptions);
  if (!named && options.length + Object.keys(mount.volumeLabels).length > 0)
    return bad('volume options and labels on named volumes only');
  if (options.some(key => !['type', 'device', 'o'].includes(key))) return bad('the volume options type, device and o');
  return ok(mount);
}

function withKey(mount: Mount, key: string, value: string | undefined): Parsed<Mount> {
  switch (key) {
    case 'source':
    case 'src':
      return ok({ ...mount, source: value ?? '' });
    case 'target':
    case 'dst':
    case 'destination':
      return ok({ ...mount, target: value ?? '' });
    case 'readonly':
    case 'ro':
      return mapParsed(parseSwitch(value), readOnly => ({ ...mount, readOnly }));
    case 'volume-nocopy':
      return mapParsed(parseSwitch(value), noCopy => ({ ...mount, noCopy }));
    case 'bind-propagation':
      return mapParsed(parsePropagation(value ?? ''), propagation => ({ ...mount, propagation }));
    case 'relabel':
      return value === 'shared' || value === 'private'
        ? ok({ ...mount, relabel: value })
        : bad('relabel=shared or =private');
    case 'tmpfs-size':
      return mapParsed(parseBytes(value ?? ''), tmpfsBytes => ({ ...mount, tmpfsBytes }));
    case 'volume-subpath':
    case 'image-subpath':
      return ok({ ...mount, subpath: value ?? '' });
    case 'volume-driver':
      return value === 'local' ? ok(mount) : bad('the volume-driver local');
    case 'volume-opt':
    case 'volume-label': {
      const at = value?.indexOf('=') ?? -1;
      if (value === undefined || at < 1) return bad(`${key}=NAME=VALUE`);
      const field = key === 'volume-opt' ? 'volumeOptions' : 'volumeLabels';
      return ok({ ...mount, [field]: { ...mount[field], [value.slice(0, at)]: value.slice(at + 1) } });
    }
    case 'tmpfs-mode':
      return mapParsed(parseFileMode(value ?? ''), tmpfsMode => ({ ...mount, tmpfsMode }));
    case 'consistency':
      return isConsistency(value ?? '') ? ok(mount) : bad(`one of ${consistencies.join(', ')}`);
    default:
      return bad(`the keys ${mountKeys}`);
  }
}

const mountKeys =
  'type, source, target, readonly, bind-propagation, relabel, volume-nocopy, volume-subpath, volume-opt, volume-label, image-subpath, tmpfs-size, tmpfs-mode';

function mapParsed<From, To>(parsed: Parsed<From>, change: (value: From) => To): Parsed<To> {
  return parsed.kind === 'bad' ? parsed : ok(change(parsed.value));
}

function parseSwitch(value: string | undefined): Parsed<boolean> {
  if (value === undefined || value === 'true' || value === '1') return ok(true);
  return value === 'false' || value === '0' ? ok(false) : bad('true or false');
}

/** Fields of a comma separated line: "a=1", "b", and "c=1,2" within double quotes. */
export function splitKeys(text: string): readonly { readonly key: string; readonly value: string | undefined }[] {
  return [...text.matchAll(/(?:"((?:[^"]|"")*)"|([^,]*))(?:,|$)/gu)]
    .map(found => found[1]?.replaceAll('""', '"') ?? found[2] ?? '')
    .filter(field => field !== '')
    .map(field => {
      const at = field.indexOf('=');
      return at < 0 ? { key: field, value: undefined } : { key: field.slice(0, at), value: field.slice(at + 1) };
    });
}
