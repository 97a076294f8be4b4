/**
 * Devices of a container beyond the harmless ones: by path, by the name of a CDI device, or all of them for a privileged
 * one. What is asked for and not there is refused.
 *
 * Called by ../isolation.ts. Not here: the harmless ones (resources.ts), what CDI files mean (cdi.ts).
 */
import { CoveyError } from '../../errors.js';
import type { FileStat, Files } from '../../host.js';
import type { DeviceRequest, DeviceRule } from '../spec/security.js';
import { type CdiEdits, type CdiFile, planCdi } from './cdi.js';
import { parseTarget } from './mounts.js';
import type { OciDevice, OciDeviceRule, OciHook, OciMount } from './oci.js';

type DeviceFiles = Pick<Files, 'findStat' | 'findLink' | 'findText' | 'list'>;

export interface DevicePlan {
  readonly devices: readonly OciDevice[];
  readonly rules: readonly OciDeviceRule[];
  readonly env: readonly string[];
  readonly mounts: readonly OciMount[];
  readonly groups: readonly number[];
  readonly hooks: Readonly<Record<string, readonly OciHook[]>>;
}

export const noDevices: DevicePlan = { devices: [], rules: [], env: [], mounts: [], groups: [], hooks: {} };

interface DeviceWish {
  readonly requests: readonly DeviceRequest[];
  /** Allowed besides, whether or not there are such devices. */
  readonly rules: readonly DeviceRule[];
  readonly privileged: boolean;
  /** In a user namespace nobody makes device nodes: those of the host are shown. */
  readonly asMounts: boolean;
  readonly cdiFolders: readonly string[];
}

export async function planDevices(files: DeviceFiles, wish: DeviceWish): Promise<DevicePlan> {
  const names = wish.requests.flatMap(request => (request.kind === 'cdi' ? [request.name] : []));
  const edits = names.length === 0 ? undefined : planCdi(names, await readCdi(files, wish.cdiFolders));
  const found: Found[] = [];
  for (const request of wish.requests) if (request.kind === 'path') found.push(...(await findByPath(files, request)));
  for (const node of edits?.nodes ?? []) {
    found.push(await findNode(files, { source: node.hostPath, target: node.path, access: node.access, like: node }));
  }
  const all = wish.privileged ? await listNodes(files, '/dev', 0) : [];
  const named = new Set(found.map(({ device }) => device.path));
  return {
    devices: wish.asMounts
      ? []
      : [...all.filter(({ device }) => !named.has(device.path)), ...found].map(({ device }) => device),
    rules: wish.privileged
      ? [{ allow: true, type: 'a', access: 'rwm' }]
      : [...found.flatMap(({ rule }) => rule), ...wish.rules.map(allowed)],
    env: edits?.env ?? [],
    mounts: [...(edits?.mounts ?? []).map(mountOf), ...(wish.asMounts ? found.map(nodeMount) : [])],
    groups: edits?.groups ?? [],
    hooks: planHooks(edits),
  };
}

function allowed({ type, major, minor, access }: DeviceRule): OciDeviceRule {
  return {
    allow: true,
    type,
    ...(major === undefined ? {} : { major }),
    ...(minor === undefined ? {} : { minor }),
    access,
  };
}

function mountOf({ source, target, type, options }: CdiEdits['mounts'][number]): OciMount {
  return { destination: parseTarget(target), type, source, options };
}

function nodeMount({ source, device }: Found): OciMount {
  return { destination: device.path, type: 'bind', source, options: ['bind', 'nosuid', 'noexec', 'rprivate'] };
}

interface Found {
  /** On the host. */
  readonly source: string;
  readonly device: OciDevice;
  readonly rule: readonly OciDeviceRule[];
}

interface Wanted {
  readonly source: string;
  readonly target: string;
  readonly access: string;
  readonly like?: { readonly [Key in 'uid' | 'gid' | 'fileMode']: number | undefined } | undefined;
}

const depthMax = 3;
const nodesMax = 512;

/** A folder stands for all devices in it, as with Docker. */
async function findByPath(
  files: DeviceFiles,
  { source, target, access }: DeviceRequest & { kind: 'path' },
): Promise<readonly Found[]> {
  const stat = await files.findStat(source);
  if (stat?.kind !== 'directory') return [await findNode(files, { source, target, access })];
  const nodes = await listNodes(files, source, 0);
  if (nodes.length === 0) throw missing(source, 'the folder has no device in it');
  return nodes.map(({ device, rule, ...more }) => ({
    ...more,
    device: { ...device, path: `${target}${device.path.slice(source.length)}` },
    rule: rule.map(one => ({ ...one, access })),
  }));
}

async function findNode(files: DeviceFiles, { source, target, access, like }: Wanted): Promise<Found> {
  let stat = await files.findStat(source);
  let path = source;
  for (let links = 0; stat?.kind === 'symlink' && links < 8; links += 1) {
    const link = (await files.findLink(path)) ?? '';
    path = link.startsWith('/') ? link : `${path.slice(0, path.lastIndexOf('/'))}/${link}`;
    stat = await files.findStat(path);
  }
  if (stat === undefined) throw missing(source, 'there is no such file on this node');
  if (stat.node === undefined) throw missing(source, 'it is no device');
  return nodeAt(path, stat, { target, access, like });
}

function missing(source: string, why: string): CoveyError {
  return new CoveyError('device-not-found', `Cannot give device "${source}": ${why}`);
}

function nodeAt(source: string, stat: FileStat, { target, access, like }: Omit<Wanted, 'source'>): Found {
  const { type, major, minor } = stat.node!;
  return {
    source,
    device: {
      path: target,
      type,
      major,
      minor,
      fileMode: like?.fileMode ?? stat.mode,
      uid: like?.uid ?? stat.uid,
      gid: like?.gid ?? stat.gid,
    },
    rule: access === '' ? [] : [{ allow: true, type, major, minor, access }],
  };
}

/** Mounts of their own in a container, or of no use outside of the host. */
const skipped = ['/dev/pts', '/dev/shm', '/dev/mqueue', '/dev/fd', '/dev/console', '/dev/ptmx', '/dev/hugepages'];

async function listNodes(files: DeviceFiles, folder: string, depth: number): Promise<readonly Found[]> {
  const found: Found[] = [];
  for (const name of await files.list(folder)) {
    const path = `${folder}/${name}`;
    if (skipped.includes(path)) continue;
    const stat = await files.findStat(path);
    if (stat?.node !== undefined) found.push(nodeAt(path, stat, { target: path, access: 'rwm' }));
    else if (stat?.kind === 'directory' && depth < depthMax) found.push(...(await listNodes(files, path, depth + 1)));
    if (found.length > nodesMax) break;
  }
  return found;
}

async function readCdi(files: DeviceFiles, folders: readonly string[]): Promise<readonly CdiFile[]> {
  const read: CdiFile[] = [];
  for (const folder of folders) {
    for (const name of [...(await files.list(folder))].sort()) {
      if (!/\.(?:json|ya?ml)$/.test(name)) continue;
      const path = `${folder}/${name}`;
      const [stat, text] = [await files.findStat(path), await files.findText(path)];
      if (stat?.kind !== 'file' || text === undefined) continue;
      read.push({ path, text, trusted: stat.uid === 0 && (stat.mode & 0o022) === 0 });
    }
  }
  return read;
}

function planHooks(edits: CdiEdits | undefined): DevicePlan['hooks'] {
  const hooks: Record<string, OciHook[]> = {};
  for (const { name, path, args, env, timeout } of edits?.hooks ?? []) {
    hooks[name] = [
      ...(hooks[name] ?? []),
      { path, args, env, ...(timeout === undefined || timeout === 0 ? {} : { timeout }) },
    ];
  }
  return hooks;
}
