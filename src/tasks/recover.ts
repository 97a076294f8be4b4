/**
 * At the start of the daemon: reads every task that was written down, looks at what is left of it on the machine, and says
 * with what its controller goes on. What cannot be gone on with is taken away first.
 *
 *   monitor lives, container made or running   adopted
 *   exit file                                  ended, with that code
 *   runs without a monitor                     adopted as failed (monitor-lost), then killed
 *   made without a monitor, half made          taken away; made anew
 *   another boot                               failed (node-rebooted) if it had been started, else made anew
 *
 * Not here: what no task owns (sweep.ts).
 */
import { codeOf, messageOf } from '../errors.js';
import { asId, isId, type TaskId } from '../ids.js';
import {
  type Adoption,
  adoptContainer,
  type ContainerSeen,
  type Found,
  killHelpers,
  noContainers,
  readTold,
} from './containers.js';
import type { Engine } from './engine.js';
import { endStrayExecs } from './exec.js';
import { findTaskOf } from './paths.js';
import { releaseTask } from './prepare.js';
import { clearStray, type RemakePlace } from './remake.js';
import { isFinal, monitorLost, rankOf } from './task.js';
import { parseTaskFile, type TaskFile } from './task-file.js';

export interface Recovered {
  readonly file: TaskFile;
  readonly found: Found;
}

export async function recoverTasks(engine: Engine, bootId: string): Promise<readonly Recovered[]> {
  await endUnadopted(engine);
  const names = await engine.host.files.list(engine.paths.tasks);
  const recovered: Recovered[] = [];
  for (const name of names.filter(isId)) {
    const file = await readTask(engine, asId<TaskId>(name));
    if (file !== undefined) recovered.push({ file, found: await findTask(engine, file, bootId) });
  }
  return recovered;
}

/**
 * A daemon that died right after it had started a monitor left it in its own group, where it goes on to create a container
 * that nobody will hear of. Its exec's are there too. All must be gone before anything is looked at.
 */
async function endUnadopted(engine: Engine): Promise<void> {
  const { files, processes, clock } = engine.host;
  const adopted = engine.cgroups.monitors();
  const isHelper = (pid: number): boolean => {
    const [program = '', ...args] = files.findTextSync(`/proc/${pid}/cmdline`)?.split('\0') ?? [];
    return (
      /(?:^|\/)(?:conmon|crun|runc)$/.test(program) && args.some(arg => findTaskOf(arg, engine.prefix) !== undefined)
    );
  };
  const pids = files.listSync('/proc').filter(name => /^\d+$/.test(name));
  const helpers = pids.map(Number).filter(pid => !adopted.has(pid) && isHelper(pid) && !isInContainer(engine, pid));
  for (const pid of helpers) processes.kill(pid, 9);
  const untilMs = clock.monotonicMs() + endWaitMaxMs;
  while (helpers.some(isHelper) && clock.monotonicMs() < untilMs) {
    await clock.sleep(endWaitMs, AbortSignal.timeout(endWaitMaxMs));
  }
}

/** A created container's process 1 bears the runtime's name until it is started. */
function isInContainer(engine: Engine, pid: number): boolean {
  return engine.host.files.findTextSync(`/proc/${pid}/cgroup`)?.includes(`:/${engine.prefix}/`) ?? false;
}

const endWaitMs = 5;
const endWaitMaxMs = 2_000;

/** A task that cannot be read is left to the sweep: the managers assign it again if they still want it. */
async function readTask(engine: Engine, id: TaskId): Promise<TaskFile | undefined> {
  const path = engine.paths.taskFile(id);
  try {
    const text = await engine.host.files.findText(path);
    return text === undefined ? undefined : parseTaskFile(path, text);
  } catch (error) {
    engine.log.error('cannot read a task; it is taken away', {
      task: id,
      code: codeOf(error),
      error: messageOf(error),
    });
    return undefined;
  }
}

async function findTask(engine: Engine, file: TaskFile, bootId: string): Promise<Found> {
  const { task } = file;
  const blank = noContainers(engine, task);
  if (isFinal(file.status.state)) return { containers: blank, failure: undefined, told: undefined };
  const image = task.spec.containers.map(container => engine.images.find(container.image));
  for (const found of image) if (found !== undefined) engine.images.acquire(task.id, found.digest);
  if (file.bootId !== bootId) return await findRebooted(engine, file, blank);
  return await findAlive(engine, file, blank);
}

async function findRebooted(engine: Engine, file: TaskFile, blank: readonly ContainerSeen[]): Promise<Found> {
  await releaseTask(engine, file.task);
  const started = rankOf(file.status.state) >= rankOf('starting') || file.task.desired !== 'ready';
  const failure = started
    ? { code: 'node-rebooted', message: 'Cannot keep the task: the machine was started anew' }
    : undefined;
  return { containers: blank, failure, told: failure === undefined ? undefined : 'starting' };
}

/**
 * A monitor whose answer nobody read lives on for a moment, and then dies of it. That it was read is sure only of what was told
 * to be ready.
 */
function withoutDoubt(adoption: Adoption, told: Found['told']): Adoption {
  const made = adoption.kind === 'found' && adoption.container.phase === 'created';
  return made && told === undefined ? { kind: 'stray' } : adoption;
}

/** A sidecar that was just being made anew is ended, and is made anew again: the rest of the task goes on. */
async function adoptMember(engine: Engine, place: RemakePlace): Promise<Adoption> {
  const adoption = adoptContainer(engine, place);
  const { role, restart } = place.task.spec.containers[place.index] ?? {};
  const made = adoption.kind === 'found' && adoption.container.phase === 'created';
  const isHalf = made || adoption.kind === 'stray';
  if (!isHalf || place.index === 0 || role !== 'sidecar' || restart === 'never') return adoption;
  const main = adoptContainer(engine, { ...place, index: 0 });
  if (main.kind !== 'found' || main.container.phase !== 'running') return adoption;
  return { kind: 'found', container: await clearStray(engine, place) };
}

async function findAlive(engine: Engine, file: TaskFile, blank: readonly ContainerSeen[]): Promise<Found> {
  const { task } = file;
  const told = readTold(engine, task.id);
  const adoptions: Adoption[] = [];
  for (const index of blank.keys()) adoptions.push(withoutDoubt(await adoptMember(engine, { task, index }), told));
  if (adoptions.some(({ kind }) => kind === 'orphan')) {
    const containers = adoptions.map((adoption, index) =>
      'container' in adoption ? adoption.container : blank[index]!,
    );
    return { containers, failure: monitorLost, told: told ?? 'starting' };
  }
  if (adoptions.every(({ kind }) => kind === 'found')) {
    for (const index of adoptions.keys()) {
      endStrayExecs(engine, { taskId: task.id, bundle: engine.paths.bundle(task.id, index) });
    }
    const containers = adoptions.flatMap(adoption => ('container' in adoption ? [adoption.container] : []));
    const begun = containers.some(({ phase }) => phase === 'running' || phase === 'ended');
    return { containers, failure: undefined, told: told ?? (begun ? 'starting' : 'preparing') };
  }
  // Something is missing, so the task never was whole: away with it, and from the beginning.
  for (const { containerId } of blank) await killHelpers(engine, containerId);
  if (adoptions.some(({ kind }) => kind !== 'none') || told !== undefined) await releaseTask(engine, task);
  const failure =
    told === undefined || rankOf(told) < rankOf('starting')
      ? undefined
      : {
          code: monitorLost.code,
          message: 'Cannot find the container of the task: it and its monitor are gone; its exit code is unknown',
        };
  return { containers: blank, failure, told };
}
