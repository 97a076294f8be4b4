/**
 * Volumes of this node: directories that outlive the containers that use them.
 *
 *     volumes/<name>/_data                 made when first named, never removed unasked
 *     volumes/<name>/volume.json           options and labels, when it has any
 *     volumes/<name>/uses/<task id>        written before the task may use it, so that a crash forgets no user
 *     volumes/_<task id>.<hash>/_data      anonymous (no user's name begins with "_"); ends with its task
 *     volumes/_<task id>.s-<name>/_data    shared by the containers of the task; ends with it
 *     volumes/.making-…, .removing-…       under way when the daemon died; removed at the next use
 *
 * A fresh volume takes over what the image has at its place, with owners and modes, unless told not to. It appears under its
 * name only when all of that is in it and on disk.
 *
 * Not here: mounting them into containers (runtime/mounts.ts), which volumes an image asks for (prepare.ts).
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { CoveyError } from '../errors.js';
import type { Files, Host } from '../host.js';
import { asId, type TaskId } from '../ids.js';
import type { Logger } from '../telemetry.js';
import { findInRoot } from './image/index.js';
import type { TaskVolumes } from './images.js';
import { factsName, readFacts, renderFacts, type VolumeFacts } from './volume-facts.js';
import { isMounted, mountLocal } from './volume-mount.js';

export interface VolumeOptions {
  /** `<data dir>/volumes`. */
  readonly directory: string;
  readonly host: Pick<Host, 'clock' | 'files' | 'processes' | 'kernel'>;
  readonly log: Logger;
}

export interface KeptVolume extends VolumeFacts {
  readonly name: string;
  readonly path: string;
  /** Ends with its task. */
  readonly isAnonymous: boolean;
  readonly isMounted: boolean;
  /** Ids of the tasks that use it. */
  readonly users: readonly string[];
}

export interface Volumes extends TaskVolumes {
  list(): Promise<readonly KeptVolume[]>;
  /** Made empty. Refused with already-exists. */
  create(wish: { readonly name: string } & Omit<VolumeFacts, 'createdAtMs'>): Promise<void>;
  /** With all that is in it. Refused with volume-in-use while a task uses it. */
  remove(name: string): Promise<void>;
}

type Request = Parameters<TaskVolumes['prepare']>[0];

const copyTimeoutMs = 30 * 60_000;
const makingPrefix = '.making-';
const removingPrefix = '.removing-';
const usesName = 'uses';
const nameForm = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$/;

interface State extends VolumeOptions {
  /** Being made, by name: who comes second waits for the first. */
  readonly making: Map<string, Promise<{ readonly path: string }>>;
  cleaned: Promise<void> | undefined;
}

export function openVolumes(options: VolumeOptions): Volumes {
  const state: State = { ...options, making: new Map(), cleaned: undefined };
  return {
    prepare: request => prepare(state, request),
    release: taskId => release(state, taskId),
    list: () => list(state),
    create: wish => create(state, wish),
    remove: name => remove(state, name),
  };
}

async function prepare(state: State, request: Request): Promise<{ readonly path: string }> {
  const name = request.name === '' ? anonymousName(request) : checkedName(request.name);
  const underWay = state.making.get(name);
  if (underWay !== undefined) {
    await underWay;
    return await use(state, name, request);
  }
  const made = findOrMake(state, name, request).then(() => use(state, name, request));
  state.making.set(name, made);
  try {
    return await made;
  } finally {
    state.making.delete(name);
  }
}

function checkedName(name: string): string {
  if (nameForm.test(name)) return name;
  throw new CoveyError('bad-argument', `Cannot use "${name}" as the name of a volume`, {
    hint: 'up to 200 letters, digits, "_", "." and "-", the first a letter or digit',
  });
}

/** The same for the same place of the same task, so that a second attempt finds what the first one made. */
function anonymousName(request: Request): string {
  if (request.shared !== undefined) return `${anonymousPrefix(request.taskId)}s-${checkedName(request.shared)}`;
  const hash = createHash('sha256').update(`${request.rootPath}\0${request.target}`).digest('hex');
  return `${anonymousPrefix(request.taskId)}${hash.slice(0, 12)}`;
}

function anonymousPrefix(taskId: TaskId): string {
  return `_${taskId}.`;
}

async function findOrMake(state: State, name: string, request: Request): Promise<{ readonly path: string }> {
  const { files } = state.host;
  const path = join(state.directory, name, '_data');
  if ((await files.findStat(path)) !== undefined) return { path };
  state.cleaned ??= clean(state);
  try {
    await state.cleaned;
  } catch (error) {
    state.cleaned = undefined; // tried again by the next volume
    throw error;
  }
  const making = join(state.directory, `${makingPrefix}${name}`);
  // Volumes hold what containers wrote, setuid programs too: only root may look in.
  try {
    await files.makeDirectory(making, { mode: 0o700 });
    await files.makeDirectory(join(making, '_data'), { mode: 0o755 });
    await files.changeMode(join(making, '_data'), 0o755);
    const { options = {}, labels = {} } = request;
    const facts = { options, labels, createdAtMs: state.host.clock.wallMs() };
    const isOwn = Object.keys(options).length > 0; // what the image has would lie below the mount
    if (nameForm.test(name)) await files.replace(join(making, factsName), renderFacts(facts));
    else if (isOwn) files.writeSync(join(making, factsName), renderFacts(facts)); // ends with its task
    if (!request.noCopy && !isOwn) await copyFromImage(state, request, join(making, '_data'));
    await files.rename(making, join(state.directory, name));
  } catch (error) {
    await files.removeTree(making);
    throw error;
  }
  await files.syncDirectory(state.directory);
  state.log.info('volume made', { volume: name });
  return { path };
}

/** Notes the user, and mounts what has to be mounted. */
async function use(state: State, name: string, request: Request): Promise<{ readonly path: string }> {
  const { host } = state;
  const folder = join(state.directory, name);
  const path = join(folder, '_data');
  const { options } = await readFacts(host.files, folder);
  if (Object.entries(request.options ?? {}).some(([key, value]) => options[key] !== value)) {
    throw new CoveyError('mount-source', `Cannot use volume "${name}" with these options: it was made with others`, {
      state:
        Object.entries(options)
          .map(([key, value]) => `${key}=${value}`)
          .join(', ') || 'it has none',
    });
  }
  await host.files.makeDirectory(join(folder, usesName), { mode: 0o700 });
  host.files.writeSync(join(folder, usesName, request.taskId), '');
  await mountLocal(host, { name, path, options });
  return { path };
}

async function copyFromImage(state: State, request: Request, to: string): Promise<void> {
  const { files } = state.host;
  const from = await findInRoot(files, request.rootPath, request.target);
  if (from === undefined || from.stat.kind !== 'directory') return;
  if ((await files.list(from.path)).length === 0) {
    await files.changeOwner(to, from.stat.uid, from.stat.gid);
    await files.changeMode(to, from.stat.mode);
    return;
  }
  await run(
    state,
    ['cp', '--archive', '--reflink=auto', '--one-file-system', '--no-target-directory', '--', from.path, to],
    request,
  );
  await run(state, ['sync', '--file-system', to], request);
}

async function run(state: State, argv: readonly string[], request: Request): Promise<void> {
  const signal = new AbortController().signal; // bounded by the timeout alone: half a copy is of no use to anybody
  const result = await state.host.processes.run(argv, { signal, timeoutMs: copyTimeoutMs });
  if (result.exitCode === 0) return;
  const isFull = /No space left on device|Disk quota exceeded/.test(result.stderr);
  const volume = request.name === '' ? 'an anonymous volume' : `volume "${request.name}"`;
  throw new CoveyError(
    isFull ? 'no-space' : 'mount-source',
    `Cannot fill ${volume} with what the image has at "${request.target}"`,
    {
      state: result.timedOut
        ? `${argv[0]} took more than ${copyTimeoutMs / 60_000} minutes`
        : result.stderr.trim().slice(0, 400),
    },
  );
}

/** What a daemon that died left behind. */
async function clean(state: State): Promise<void> {
  const { files } = state.host;
  await files.makeDirectory(state.directory, { mode: 0o700 });
  for (const name of await files.list(state.directory)) {
    if (name.startsWith(makingPrefix) || name.startsWith(removingPrefix))
      await files.removeTree(join(state.directory, name));
  }
}

async function release(state: State, taskId: TaskId, named?: readonly string[]): Promise<void> {
  const { files, kernel } = state.host;
  const prefix = anonymousPrefix(taskId);
  const present = await files.list(state.directory);
  for (const name of named ?? present.filter(one => nameForm.test(one))) leave(state, name, taskId);
  for (const name of present) {
    if (![prefix, makingPrefix + prefix, removingPrefix + prefix].some(start => name.startsWith(start))) continue;
    kernel.unmount(join(state.directory, name, '_data'), { detach: true });
    await moveAway(state, name);
  }
}

/** The last user of a file system of its own takes the mount with it. */
function leave(state: State, name: string, taskId: TaskId): void {
  const { files, kernel } = state.host;
  const folder = join(state.directory, name);
  files.removeFileSync(join(folder, usesName, taskId));
  if (files.listSync(join(folder, usesName)).length > 0 || files.findTextSync(join(folder, factsName)) === undefined)
    return;
  if (isMounted(state.host, join(folder, '_data'))) kernel.unmount(join(folder, '_data'), { detach: true });
}

/** Out of its name at once: what is half removed is never taken for a volume. */
async function moveAway(state: State, name: string): Promise<void> {
  const { files } = state.host;
  const away = /^\.(?:making|removing)-/.test(name) ? name : `${removingPrefix}${name}`;
  if (away !== name) await files.rename(join(state.directory, name), join(state.directory, away));
  await files.removeTree(join(state.directory, away));
}

async function create(state: State, wish: Parameters<Volumes['create']>[0]): Promise<void> {
  const { files } = state.host;
  const { options, labels } = wish;
  const name = checkedName(wish.name);
  if ((await files.findStat(join(state.directory, name))) !== undefined)
    throw new CoveyError('already-exists', `Cannot make volume "${name}": there is one of that name on this node`);
  const none = { rootPath: '/', target: '/', noCopy: true };
  await findOrMake(state, name, { ...none, taskId: asId<TaskId>(''), name, options, labels });
}

async function remove(state: State, name: string): Promise<void> {
  const volume = (await list(state)).find(one => one.name === name);
  if (volume === undefined)
    throw new CoveyError('not-found', `Cannot find volume "${name}" on this node`, { hint: 'covey volume ls' });
  if (volume.users.length > 0) {
    throw new CoveyError('volume-in-use', `Cannot remove volume "${name}": tasks of this node use it`, {
      state: `tasks ${volume.users.join(', ')}`,
    });
  }
  if (volume.isMounted) state.host.kernel.unmount(volume.path);
  await moveAway(state, name);
  await state.host.files.syncDirectory(state.directory);
  state.log.info('volume removed', { volume: name });
}

/** Names of the volumes that outlive their tasks. */
export async function listNamedVolumes(files: Pick<Files, 'list'>, directory: string): Promise<readonly string[]> {
  return (await files.list(directory)).filter(name => nameForm.test(name)).sort();
}

async function list(state: State): Promise<readonly KeptVolume[]> {
  const { host, directory } = state;
  const names = (await host.files.list(directory)).filter(name => !name.startsWith('.')).sort();
  const facts = await Promise.all(names.map(name => readFacts(host.files, join(directory, name))));
  return names.map((name, at) => {
    const path = join(directory, name, '_data');
    const users = host.files.listSync(join(directory, name, usesName));
    return { ...facts[at]!, name, path, isAnonymous: name.startsWith('_'), isMounted: isMounted(host, path), users };
  });
}
