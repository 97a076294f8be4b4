/**
 * User namespaces of containers: one range of host ids for all containers of this node that have one. Each container gets a
 * namespace of its own, made by the runtime; the range only says who its users are outside.
 *
 *     inside 0..65535  =  outside firstId..firstId+65535     (1879048192 is the first that systemd gives to nobody)
 *
 * Layers and volumes stay on disk as they are: a bind mount below <run dir>/mapped shows each folder's owners through the
 * range. It is made once by the first container that needs it, serves all, and goes with `close`.
 *
 * Called by prepare.ts; opened by engine.ts. Not here: which containers have one (isolation.ts), the kernel's calls
 * (host-linux/user-namespaces.ts).
 */
import { CoveyError, messageOf } from '../errors.js';
import type { Finding } from '../gen/types.js';
import type { Host } from '../host.js';
import type { OwnerMap } from './images.js';

export interface IdRange {
  readonly firstId: number;
  readonly count: number;
}

export interface UserNamespaces {
  readonly range: IdRange;
  /** Undefined when the node can do it, else why not. Tried once. */
  readonly findObstacle: () => Promise<string | undefined>;
  readonly map: OwnerMap;
  /** crun hands the host's /dev/null to root of such a container: taken back before anything runs in it. */
  readonly mendNull: () => Promise<void>;
  /** For leave: unmounts all. */
  readonly close: () => Promise<void>;
}

export const defaultRange: IdRange = { firstId: 1_879_048_192, count: 65_536 };

interface Options {
  readonly host: Pick<Host, 'files' | 'kernel'>;
  readonly range: IdRange;
  readonly dataDir: string;
  readonly runDir: string;
}

export function openUserNamespaces(options: Options): UserNamespaces {
  const { host, range, dataDir, runDir } = options;
  const folder = `${runDir}/mapped`;
  const views = new Map<string, Promise<string>>();
  let descriptor: Promise<number> | undefined;
  let tried: Promise<string | undefined> | undefined;
  const show = async (source: string): Promise<string> => {
    descriptor ??= host.kernel.openUserNamespace(range);
    descriptor.catch(() => {
      descriptor = undefined; // asked for again, tried again
    });
    return await makeView(host, { source, target: viewOf(folder, source), namespaceFd: await descriptor });
  };
  const map: OwnerMap = {
    ...range,
    view: source => {
      const view = views.get(source) ?? show(source);
      views.set(source, view);
      view.catch(() => views.delete(source)); // asked for again, tried again
      return view;
    },
  };
  return {
    range,
    findObstacle: () => {
      tried ??= tryOverlay(host, { folder, dataDir, map });
      return tried;
    },
    map,
    mendNull: () => mendNull(host.files),
    close: async () => {
      views.clear();
      tried = undefined;
      for (const name of host.files.listSync(folder)) {
        host.kernel.unmount(`${folder}/${name}`, { detach: true });
        host.files.removeDirectorySync(`${folder}/${name}`);
      }
      host.files.removeDirectorySync(folder);
      if (descriptor !== undefined) host.kernel.closeFd(await descriptor);
      descriptor = undefined;
    },
  };
}

function viewOf(folder: string, source: string): string {
  return `${folder}/${source.split('/').filter(Boolean).join('-')}`;
}

interface View {
  readonly source: string;
  readonly target: string;
  readonly namespaceFd: number;
}

/** One that an earlier daemon left may have another range: it is replaced. What it serves keeps its own copy of it. */
async function makeView(host: Options['host'], { source, target, namespaceFd }: View): Promise<string> {
  await host.files.makeDirectory(target.slice(0, target.lastIndexOf('/')), { mode: 0o711 });
  host.kernel.unmount(target, { detach: true });
  await host.files.makeDirectory(source, { mode: 0o700 });
  await host.files.makeDirectory(target);
  host.kernel.bindMapped({ source, target, namespaceFd });
  return target;
}

/** The whole way: a map, a tree shown through it, an overlay on that, a file copied up with the owner that it should have. */
async function tryOverlay(
  host: Options['host'],
  place: { readonly folder: string; readonly dataDir: string; readonly map: OwnerMap },
): Promise<string | undefined> {
  const { files, kernel } = host;
  const scratch = `${place.dataDir}/userns-trial`;
  const [lower, merged] = [`${scratch}/lower`, `${scratch}/merged`];
  try {
    for (const name of ['lower', 'upper', 'work', 'merged']) await files.makeDirectory(`${scratch}/${name}`);
    await files.write(`${lower}/file`, '');
    const view = await place.map.view(lower);
    const data = `lowerdir=${view},upperdir=${scratch}/upper,workdir=${scratch}/work`;
    kernel.mount({ source: 'overlay', target: merged, type: 'overlay', flags: 0, data });
    await files.changeMode(`${merged}/file`, 0o600);
    const owner = (await files.findStat(`${merged}/file`))?.uid;
    return owner === place.map.firstId ? undefined : `a mapped file has owner ${owner}, not ${place.map.firstId}`;
  } catch (error) {
    return messageOf(error);
  } finally {
    kernel.unmount(merged, { detach: true });
    const view = viewOf(place.folder, lower);
    kernel.unmount(view, { detach: true });
    files.removeDirectorySync(view);
    await files.removeTree(scratch);
  }
}

const nullMode = 0o666;

async function mendNull(files: Host['files']): Promise<void> {
  const stat = await files.findStat('/dev/null');
  if (stat === undefined || (stat.uid === 0 && stat.gid === 0 && stat.mode === nullMode)) return;
  await files.changeOwner('/dev/null', 0, 0);
  await files.changeMode('/dev/null', nullMode);
}

/** For `covey doctor`. */
export async function usernsFinding(userns: UserNamespaces, wanted: 'auto' | 'host'): Promise<Finding> {
  const obstacle = await userns.findObstacle();
  const { firstId, count } = userns.range;
  if (obstacle === undefined) {
    const who = wanted === 'auto' ? 'unless a service says otherwise' : 'where a service asks for it';
    const message = `user namespaces: root inside is user ${firstId} (of ${count}) outside, ${who}`;
    return { level: 'ok', code: '', message, hint: '' };
  }
  const message = `containers cannot have a user namespace here: ${obstacle}`;
  const hint = 'a data directory on ext4, xfs or btrfs; Linux 5.19; user.max_user_namespaces above 0';
  return { level: 'warn', code: 'no-user-namespace', message, hint };
}

/** The host's id of one inside; refused outside of the range. */
export function hostId(range: IdRange | undefined, id: number, what: string): number {
  if (range === undefined) return id;
  if (id < range.count) return range.firstId + id;
  throw new CoveyError(
    'bad-bundle',
    `Cannot use ${what} ${id} in a user namespace: it has ids up to ${range.count - 1}`,
    {
      hint: '--userns host, or an id below that',
    },
  );
}
