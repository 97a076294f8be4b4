/**
 * Makes the containers of a task, up to the point where each waits to be started: network, root file systems, users,
 * volumes, secrets, bundles, monitors. And gives all of it back.
 *
 * Every step is named by the task's id and may be done again; `releaseTask` undoes whatever there is, in whatever state the
 * daemon died.
 *
 * Called by controller.ts. Not here: when (task.ts), the content of the bundle (runtime/bundle.ts).
 */
import { CoveyError } from '../errors.js';
import type { ContainerSpec, Task } from '../gen/types.js';
import { endProcesses } from './containers.js';
import type { Engine } from './engine.js';
import type { ImageRecord, RootLook } from './images.js';
import {
  chooseIsolation,
  gatherIsolation,
  hideSys,
  type Isolation,
  mapVolumes,
  networkPrefix,
  openWay,
  ownFiles,
  whileCreating,
} from './isolation.js';
import type { NetworkAttached } from './network.js';
import { namedVolumes, type PreparedVolumes, prepareVolumes } from './prepare-volumes.js';
import { quickFiles } from './quick-files.js';
import { planRelabel, relabel } from './relabel.js';
import { type BundleInput, hostnameOf, planBundle, renderHosts, renderResolvConf } from './runtime/bundle.js';
import { planCapabilities } from './runtime/capabilities.js';
import { awaitMonitorEnd, createMonitored, type Monitored } from './runtime/conmon.js';
import { forgetContainer, isHybridRefusal } from './runtime/crun.js';
import { type BoundFile, parseTarget } from './runtime/mounts.js';
import { renderConfig } from './runtime/oci.js';
import { defaultPath, initPath, planArgs, planDirectory } from './runtime/process.js';
import { hasExtras, noLimits, planLimits, type TaskLimits } from './runtime/resources.js';
import {
  checkCommand,
  checkMountPoints,
  makeWorkingDirectory,
  nestedMountPoints,
  runtimeMountPoints,
} from './runtime/rootfs.js';
import { resolveTargets } from './runtime/targets.js';
import { mountSides, releaseSides } from './side-mounts.js';
import { removeSmallTree } from './small-tree.js';

/** Small inits that need no libraries of the image they are mounted into. */
const initPrograms = ['docker-init', 'tini-static', 'catatonit'];

export async function prepareTask(engine: Engine, task: Task, signal: AbortSignal): Promise<readonly Monitored[]> {
  const { runtime } = engine.place;
  if (task.spec.runtime !== '' && task.spec.runtime !== runtime.name) {
    throw new CoveyError('bad-bundle', `Cannot use runtime "${task.spec.runtime}": this node runs ${runtime.name}`, {
      hint: `leave the runtime to the node, or start its daemon with --runtime ${task.spec.runtime}`,
    });
  }
  const images = task.spec.containers.map(container => findImage(engine, task, container));
  const limits = planLimits(task.spec, engine.limitsHost);
  if (images.length > 1) engine.cgroups.makeTask(task.id, limits);
  const attaching = engine.network.attach(task, signal);
  const mounting = images.map((image, index) => mountRoot(engine, { task, image, index }));
  await Promise.allSettled([attaching, ...mounting]); // nothing goes on behind the back of a clean-up
  const attached = await attaching;
  const roots = await Promise.all(mounting);
  const monitored: Monitored[] = [];
  for (const [index, root] of roots.entries()) {
    signal.throwIfAborted();
    const place: ContainerPlace = { task, index, image: images[index]!, ...root, attached, limits };
    await writeBundle(engine, place);
    monitored.push(await createContainer(engine, { task, index, signal }));
  }
  if (images.length === 1 && hasExtras(limits)) engine.cgroups.addLimits(task.id, limits);
  return monitored;
}

function findImage(engine: Engine, task: Task, container: ContainerSpec): ImageRecord {
  const image = engine.images.find(container.image);
  if (image === undefined) {
    throw new CoveyError('image-not-found', `Cannot find image "${container.image}" on this node`, {
      hint: 'covey image import FILE',
    });
  }
  engine.images.acquire(task.id, image.digest);
  return image;
}

interface ContainerPlace {
  readonly task: Task;
  readonly index: number;
  readonly image: ImageRecord;
  readonly rootPath: string;
  readonly isolation: Isolation;
  readonly volumes: PreparedVolumes;
  readonly attached: NetworkAttached;
  readonly limits: TaskLimits;
}

type MountedRoot = Pick<ContainerPlace, 'rootPath' | 'isolation' | 'volumes'>;
type RootRequest = Pick<ContainerPlace, 'task' | 'image' | 'index'>;

/**
 * Volumes are filled from a root whose owners are those of the disk; so one that is shown mapped is mounted a second time.
 */
async function mountRoot(engine: Engine, request: RootRequest): Promise<MountedRoot> {
  const { task, image, index } = request;
  const isolation = await chooseIsolation(engine, task, index);
  const { map } = isolation;
  const look = { map, label: isolation.labels.mountLabel };
  const folder = engine.paths.root(task.id, index);
  if (map !== undefined) await openWay(engine, task.id, map);
  if (map === undefined || !hasVolumes(request)) {
    const { rootPath } = await engine.images.mountRoot(image, folder, look);
    const volumes = await prepareVolumes(engine, { ...request, rootPath });
    return { rootPath, isolation, volumes: await withSides(engine, request, { volumes, look }) };
  }
  const { rootPath } = await engine.images.mountRoot(image, folder);
  const volumes = await prepareVolumes(engine, { ...request, rootPath });
  await engine.images.unmountRoot(folder);
  await engine.images.mountRoot(image, folder, look);
  const mapped = { ...volumes, paths: await mapVolumes(engine, volumes.paths, map) };
  return { rootPath, isolation, volumes: await withSides(engine, request, { volumes: mapped, look }) };
}

async function withSides(
  engine: Engine,
  { task, index }: RootRequest,
  { volumes, look }: { readonly volumes: PreparedVolumes; readonly look: RootLook },
): Promise<PreparedVolumes> {
  return { ...volumes, paths: await mountSides(engine, { task, index, look, paths: volumes.paths }) };
}

function hasVolumes({ task, image, index }: RootRequest): boolean {
  const { mounts } = task.spec.containers[index]!;
  return image.config.volumes.length > 0 || mounts.some(mount => mount.kind === 'volume' || mount.kind === 'shared');
}

async function writeBundle(engine: Engine, place: ContainerPlace): Promise<void> {
  const { task, index } = place;
  const { files } = engine.host;
  const bundle = engine.paths.bundle(task.id, index);
  files.makeDirectorySync(`${bundle}/persist`);
  const input = await gatherBundle(engine, place);
  files.writeSync(`${bundle}/config.json`, renderConfig(planBundle(input)));
}

async function gatherBundle(engine: Engine, place: ContainerPlace): Promise<BundleInput> {
  const { task, index, image, rootPath } = place;
  const container = task.spec.containers[index]!;
  await checkSources(engine, container);
  const userText = container.user === '' ? image.config.user : container.user;
  const user = await engine.images.resolveUser(rootPath, userText, container.groups);
  const { volumes, isolation } = place;
  const secrets = await engine.secrets.write(task, index, isolation.map);
  await checkRoot(engine, place, volumes);
  const bound = [...writeEtc(engine, place), ...initFile(engine, container)];
  await ownFiles(engine, bound, isolation.map);
  const files = [...bound, ...secrets];
  await labelFiles(engine, place, files);
  const targets = [...volumes.mounts, ...files].map(({ target }) => target);
  const capabilities = isolation.privileged
    ? engine.limits.capabilities
    : planCapabilities(container, engine.limits.capabilities);
  const networkPath = place.attached.namespacePath;
  return {
    task,
    index,
    container,
    image: image.config,
    user,
    rootPath,
    networkPath,
    cgroupPath: engine.cgroups.containerPath(task.id, index, task.spec.containers.length),
    cgroupNamespace: engine.cgroups.version === 'v2',
    mounts: {
      mounts: volumes.mounts,
      volumePaths: volumes.paths,
      files,
      places: await resolveTargets(quickFiles(engine.host.files), rootPath, targets),
      shmBytes: container.shmBytes,
    },
    // A container that shares the group of its task with others has its limits there.
    limits: task.spec.containers.length === 1 ? place.limits : { ...noLimits, pidsMax: place.limits.pidsMax },
    host: engine.limits,
    capabilities,
    isolation: await gatherIsolation(engine, { task, index, isolation, capabilities, networkPath }),
  };
}

/** Files of the machine (/etc/resolv.conf, the init) keep their labels. */
async function labelFiles(engine: Engine, place: ContainerPlace, files: readonly BoundFile[]): Promise<void> {
  const { paths } = engine;
  const own = files.map(({ source }) => source).filter(source => isBelow(source, [paths.bundles, paths.secrets]));
  const { volumes, isolation } = place;
  const wanted = { label: isolation.labels.mountLabel, mounts: volumes.mounts, paths: volumes.paths, files: own };
  await relabel(engine.host, planRelabel(wanted));
}

function isBelow(path: string, folders: readonly string[]): boolean {
  return folders.some(folder => path.startsWith(`${folder}/`));
}

async function checkSources(engine: Engine, container: ContainerSpec): Promise<void> {
  for (const mount of container.mounts) {
    if (mount.kind !== 'bind') continue;
    if (!mount.source.startsWith('/')) {
      throw new CoveyError('mount-source', `Cannot mount "${mount.source}": a bind source is an absolute path`);
    }
    if ((await engine.host.files.findStat(mount.source)) !== undefined) continue;
    throw new CoveyError('mount-source', `Cannot mount "${mount.source}" at "${mount.target}": it is not on this node`);
  }
}

async function checkRoot(engine: Engine, place: ContainerPlace, volumes: PreparedVolumes): Promise<void> {
  const files = quickFiles(engine.host.files);
  const { rootPath, image, task, index } = place;
  const container = task.spec.containers[index]!;
  const mountTargets = volumes.mounts.map(mount => parseTarget(mount.target));
  const cwd = planDirectory(container, image.config);
  const [command = ''] = planArgs(container, image.config);
  await checkMountPoints(files, rootPath, runtimeMountPoints);
  await checkMountPoints(files, rootPath, nestedMountPoints);
  await makeWorkingDirectory(files, rootPath, { path: cwd, mountTargets, ownerId: place.isolation.map?.firstId ?? 0 });
  const env = [`PATH=${defaultPath}`, ...image.config.env, ...container.env].toReversed();
  await checkCommand(files, rootPath, { command, env, cwd, mountTargets });
}

/** hosts, hostname, resolv.conf: of the host where the container is on its network. */
function writeEtc(engine: Engine, place: ContainerPlace): readonly BoundFile[] {
  const { task, index, attached } = place;
  const container = task.spec.containers[index]!;
  const bundle = engine.paths.bundle(task.id, index);
  const hostname = hostnameOf(task, container);
  const contents = [
    ['hosts', renderHosts(hostname, task.endpoints, container.extraHosts)],
    ['hostname', `${hostname}\n`],
    ['resolv.conf', renderResolvConf(container, attached)],
  ] as const;
  const own = attached.namespacePath !== undefined || attached.nameservers.length > 0 || container.dns.length > 0;
  return contents.map(([name, content]) => {
    if (name === 'resolv.conf' && !own)
      return { source: '/etc/resolv.conf', target: '/etc/resolv.conf', readOnly: true };
    engine.host.files.writeSync(`${bundle}/${name}`, content, { mode: 0o644 });
    return { source: `${bundle}/${name}`, target: `/etc/${name}`, readOnly: false };
  });
}

function initFile(engine: Engine, container: ContainerSpec): readonly BoundFile[] {
  if (!container.init) return [];
  const source = initPrograms.map(name => engine.host.processes.findOnPath(name)).find(path => path !== undefined);
  if (source !== undefined) return [{ source, target: initPath, readOnly: true }];
  throw new CoveyError('bad-bundle', 'Cannot start with an init: none is installed on this node', {
    state: `looked for ${initPrograms.join(', ')}`,
    hint: 'apt-get install tini',
  });
}

interface CreateRequest {
  readonly task: Task;
  readonly index: number;
  readonly signal: AbortSignal;
}

export async function createContainer(engine: Engine, request: CreateRequest): Promise<Monitored> {
  return await whileCreating(engine, request, async () => await createOrMend(engine, request));
}

async function createOrMend(engine: Engine, request: CreateRequest): Promise<Monitored> {
  try {
    return await createOnce(engine, request);
  } catch (error) {
    if (!isHybridRefusal(error) || engine.place.runtime.mend?.() !== true) throw error;
    return await createOnce(engine, request);
  }
}

function createOnce(engine: Engine, { task, index, signal }: CreateRequest): Promise<Monitored> {
  const container = task.spec.containers[index]!;
  return createMonitored(engine.host, engine.place, {
    containerId: engine.paths.containerId(task.id, index),
    bundle: engine.paths.bundle(task.id, index),
    exits: engine.paths.exits,
    log: engine.paths.log(task.id, index),
    tty: container.tty,
    stdin: container.stdin,
    prefix: networkPrefix(engine, engine.paths.containerId(task.id, index), engine.paths.bundle(task.id, index)),
    adopt: engine.cgroups.adoptMonitor,
    signal,
  });
}

/**
 * Gives back all that a task holds but its directory with the log. Its processes have to be dead or dying. Goes on past
 * failures; calling it again does the rest.
 */
export async function releaseTask(engine: Engine, task: Task): Promise<void> {
  const { files } = engine.host;
  const { paths } = engine;
  const failures: unknown[] = [];
  const attempt = async (work: () => Promise<void> | void): Promise<void> => {
    try {
      await work();
    } catch (error) {
      failures.push(error);
    }
  };
  await attempt(() => endProcesses(engine, task.id));
  const indexes = task.spec.containers.map((_container, index) => index);
  await Promise.all([
    attempt(() => engine.network.detach(task.id)),
    ...indexes.map(index => attempt(() => engine.trash.discard(paths.root(task.id, index)))),
  ]);
  for (const index of indexes) {
    const containerId = paths.containerId(task.id, index);
    await attempt(() => forgetContainer(engine.host, paths.runtimeRoots, containerId));
    await attempt(() => awaitMonitorEnd(engine.host, { bundle: paths.bundle(task.id, index), containerId }));
    await attempt(() => files.removeFileSync(paths.exit(containerId)));
  }
  for (const index of indexes) await attempt(() => hideSys(engine, task.id, index));
  await attempt(() => removeSmallTree(files, paths.taskBundles(task.id)));
  await attempt(() => engine.secrets.remove(task));
  await attempt(() => releaseSides(engine, task.id));
  await attempt(async () => await engine.volumes?.release(task.id, namedVolumes(task)));
  await attempt(() => engine.images.release(task.id));
  if (failures.length > 0) throw new AggregateError(failures, `Cannot give back all of task ${task.id}`);
}

/** Deletes what `releaseTask` leaves: task.json, the logs. Never goes into a root file system that is still mounted. */
export async function forgetTask(engine: Engine, taskId: Task['id']): Promise<void> {
  const { files } = engine.host;
  const folder = engine.paths.task(taskId);
  for (const name of files.listSync(folder)) {
    if (/^\d+$/.test(name)) files.removeDirectorySync(`${folder}/${name}`);
    else files.removeFileSync(`${folder}/${name}`);
  }
  if (files.removeDirectorySync(folder) === 'busy') await files.removeTree(folder);
}
