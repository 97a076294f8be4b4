/**
 * Secrets and configs of this node's tasks: kept in memory as the managers sent them, and shown to containers as files of a
 * tmpfs. Their content is never written to a disk; after a restart of the daemon it comes again with the assignments.
 *
 * Not here: which node gets which (daemon/dispatcher), the mounts themselves (runtime/mounts.ts).
 */
import { CoveyError } from '../errors.js';
import type { Config, ContainerSpec, FileReference, Secret, Task } from '../gen/types.js';
import type { Host } from '../host.js';
import type { Paths } from './paths.js';
import type { BoundFile } from './runtime/mounts.js';
import { parseTarget } from './runtime/mounts.js';
import { removeSmallTree } from './small-tree.js';
import { hostId, type IdRange } from './userns.js';

export interface Secrets {
  /** What the managers sent; replaces what had the same id. */
  readonly take: (secrets: readonly Secret[], configs: readonly Config[]) => void;
  /** Forgets what this task named and none of the others does. */
  readonly forgetFor: (gone: Task, others: () => readonly Task[]) => void;
  /** The first that a task names and that did not come yet. */
  readonly findMissing: (task: Task) => string | undefined;
  /** With which its images are pulled, in the form of Docker's config.json; undefined: as the node does by itself. */
  readonly findPullCredentials: (task: Task) => string | undefined;
  /** Writes the files of a container and says where they go. */
  readonly write: (task: Task, index: number, range?: IdRange) => Promise<readonly BoundFile[]>;
  readonly remove: (task: Task) => void;
  /** Task directories there. */
  readonly tasks: () => readonly string[];
  readonly removeOf: (taskId: string) => void;
  /** For leave: unmounts the tmpfs. */
  readonly close: () => Promise<void>;
}

interface Named {
  readonly spec: { readonly name: string };
  readonly data: Uint8Array;
}

const tmpfsFlags = 2 | 4 | 8; // nosuid, nodev, noexec
const modeDefault = 0o444;

export function openSecrets(host: Pick<Host, 'files' | 'kernel'>, paths: Paths): Secrets {
  const known = new Map<string, Named>();
  let mounted: Promise<void> | undefined;
  const directory = (taskId: string): string => `${paths.secrets}/${taskId}`;

  return {
    take: (secrets, configs) => {
      for (const item of [...secrets, ...configs]) known.set(item.id, item);
    },
    forgetFor: (gone, others) => {
      const mine = [...namedBy(gone)].filter(id => known.has(id));
      if (mine.length === 0) return;
      const named = new Set(others().flatMap(other => [...namedBy(other)]));
      for (const id of mine) if (!named.has(id)) known.delete(id);
    },
    findMissing: task => referencesOf(task).find(reference => !known.has(reference.source))?.source,
    findPullCredentials: task => {
      const text = Buffer.from(known.get(task.serviceId)?.data ?? []).toString('utf8');
      return text === '' ? undefined : text;
    },
    write: async (task, index, range) => {
      const container = task.spec.containers[index];
      if (container === undefined || container.secrets.length + container.configs.length === 0) return [];
      mounted ??= mountOnce(host, paths);
      await mounted;
      const folder = `${directory(task.id)}/${index}`;
      await host.files.makeDirectory(folder, { mode: 0o700 });
      const files = planFiles(container, known);
      return Promise.all(files.map(async (file, at) => await writeOne(host, `${folder}/${at}`, mapped(file, range))));
    },
    remove: task => removeSmallTree(host.files, directory(task.id)),
    tasks: () => host.files.listSync(paths.secrets),
    removeOf: taskId => removeSmallTree(host.files, directory(taskId)),
    close: async () => {
      mounted = undefined;
      known.clear();
      if (await isMounted(host, paths)) host.kernel.unmount(paths.secrets);
      host.files.removeDirectorySync(paths.secrets);
    },
  };
}

function referencesOf(task: Task): readonly FileReference[] {
  return task.spec.containers.flatMap(container => [...container.secrets, ...container.configs]);
}

/** The credentials of pulls have the id of the service. */
function namedBy(task: Task): readonly string[] {
  return [task.serviceId, ...referencesOf(task).map(({ source }) => source)];
}

interface PlannedFile {
  readonly target: string;
  readonly data: Uint8Array;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Secrets go below /run/secrets unless their target is absolute; configs to "/<name>". */
function planFiles(container: ContainerSpec, known: ReadonlyMap<string, Named>): readonly PlannedFile[] {
  const plan = (reference: FileReference, folder: string): PlannedFile => {
    const item = known.get(reference.source);
    if (item === undefined) {
      throw new CoveyError('secret-not-found', `Cannot show "${reference.source}": the managers did not send it`);
    }
    const target = reference.target === '' ? item.spec.name : reference.target;
    return {
      target: parseTarget(target.startsWith('/') ? target : `${folder}/${target}`),
      data: item.data,
      uid: reference.uid,
      gid: reference.gid,
      mode: reference.mode ?? modeDefault,
    };
  };
  return [
    ...container.secrets.map(reference => plan(reference, '/run/secrets')),
    ...container.configs.map(reference => plan(reference, '')),
  ];
}

/** Owners are those that the container sees. */
function mapped(file: PlannedFile, range: IdRange | undefined): PlannedFile {
  return { ...file, uid: hostId(range, file.uid, 'owner'), gid: hostId(range, file.gid, 'group') };
}

async function writeOne(host: Pick<Host, 'files'>, source: string, file: PlannedFile): Promise<BoundFile> {
  await host.files.write(source, file.data, { mode: 0o600 });
  await host.files.changeOwner(source, file.uid, file.gid);
  await host.files.changeMode(source, file.mode);
  return { source, target: file.target, readOnly: true, noExec: true };
}

async function mountOnce(host: Pick<Host, 'files' | 'kernel'>, paths: Paths): Promise<void> {
  await host.files.makeDirectory(paths.secrets, { mode: 0o700 });
  if (await isMounted(host, paths)) return;
  host.kernel.mount({
    source: 'tmpfs',
    target: paths.secrets,
    type: 'tmpfs',
    flags: tmpfsFlags,
    data: 'mode=0700,size=64m',
  });
}

async function isMounted(host: Pick<Host, 'files'>, paths: Paths): Promise<boolean> {
  const own = await host.files.findStat(paths.secrets);
  const above = await host.files.findStat(paths.secrets.slice(0, paths.secrets.lastIndexOf('/')));
  return own !== undefined && own.device !== above?.device;
}
