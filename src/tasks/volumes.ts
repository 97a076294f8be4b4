/**
 * Volumes of this node: directories that outlive the containers that use them.
 *
 *     volumes/<name>/_data                 made when first named, never removed unasked
 *     volumes/_<task id>.<hash>/_data      anonymous (no user's name begins with "_"); ends with its task
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
import type { TaskId } from '../ids.js';
import type { Logger } from '../telemetry.js';
import { findInRoot } from './image/index.js';
import type { TaskVolumes } from './images.js';

export interface VolumeOptions {
  /** `<data dir>/volumes`. */
  readonly directory: string;
  readonly host: Pick<Host, 'files' | 'processes'>;
  readonly log: Logger;
}

interface Volume {
  readonly name: string;
  readonly path: string;
  /** Ends with its task. */
  readonly isAnonymous: boolean;
}

export interface Volumes extends TaskVolumes {
  list(): Promise<readonly Volume[]>;
}

type Request = Parameters<TaskVolumes['prepare']>[0];

const copyTimeoutMs = 30 * 60_000;
const makingPrefix = '.making-';
const removingPrefix = '.removing-';
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
  };
}

async function prepare(state: State, request: Request): Promise<{ readonly path: string }> {
  const name = request.name === '' ? anonymousName(request) : checkedName(request.name);
  const underWay = state.making.get(name);
  if (underWay !== undefined) return await underWay;
  const made = findOrMake(state, name, request);
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
    if (!request.noCopy) await copyFromImage(state, request, join(making, '_data'));
    await files.rename(making, join(state.directory, name));
  } catch (error) {
    await files.removeTree(making);
    throw error;
  }
  await files.syncDirectory(state.directory);
  state.log.info('volume made', { volume: name });
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

async function release(state: State, taskId: TaskId): Promise<void> {
  const { files } = state.host;
  const prefix = anonymousPrefix(taskId);
  for (const name of await files.list(state.directory)) {
    if (![prefix, makingPrefix + prefix, removingPrefix + prefix].some(start => name.startsWith(start))) continue;
    const away = name.startsWith(prefix) ? `${removingPrefix}${name}` : name;
    // Out of its name at once: what is half removed is never taken for a volume.
    if (away !== name) await files.rename(join(state.directory, name), join(state.directory, away));
    await files.removeTree(join(state.directory, away));
  }
}

/** Names of the volumes that outlive their tasks. */
export async function listNamedVolumes(files: Pick<Files, 'list'>, directory: string): Promise<readonly string[]> {
  return (await files.list(directory)).filter(name => nameForm.test(name)).sort();
}

async function list(state: State): Promise<readonly Volume[]> {
  const names = await state.host.files.list(state.directory);
  return names
    .filter(name => !name.startsWith('.'))
    .sort()
    .map(name => ({ name, path: join(state.directory, name, '_data'), isAnonymous: name.startsWith('_') }));
}
