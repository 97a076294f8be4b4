/**
 * Asks one container to end: its stop signal, and as long as it asked for to act on it. A process 1 that would surely not
 * notice the signal is killed at once: waiting for it would be in vain.
 *
 * Called by stop-order.ts. Not here: SIGKILL to what is left after the grace (cgroup/), when to stop (task.ts).
 */
import { messageOf } from '../errors.js';
import type { Task } from '../gen/types.js';
import { type ContainerSeen, isAlive } from './containers.js';
import type { Engine } from './engine.js';
import { isDeafTo, parseSignal, type ThreadLook } from './runtime/signals.js';

const graceDefaultMs = 10_000;
const SIGKILL = 9;
const SIGTERM = 15;

/** The time that a container has between the word to stop and SIGKILL. */
export function graceOf(task: Task, index: number): number {
  return task.spec.containers[index]?.stopGraceMs ?? graceDefaultMs;
}

/** True when it was asked and may take its time; false when it is dead or dying. */
export function stopContainer(
  engine: Engine,
  container: ContainerSeen,
  { task, index }: { readonly task: Task; readonly index: number },
): boolean {
  if ((container.phase !== 'running' && container.phase !== 'created') || !isAlive(engine, container)) return false;
  const signal = container.phase === 'created' ? SIGKILL : stopSignalOf(engine, task, index);
  const deaf = signal === SIGKILL || isDeaf(engine, container, signal);
  engine.host.processes.kill(container.pid, deaf ? SIGKILL : signal);
  return !deaf;
}

/** SIGKILL to its process 1, and with it to all in its pid namespace. */
export function killContainer(engine: Engine, container: ContainerSeen): void {
  const lives = container.phase === 'running' || container.phase === 'created';
  if (lives && isAlive(engine, container)) engine.host.processes.kill(container.pid, SIGKILL);
}

function stopSignalOf(engine: Engine, task: Task, index: number): number {
  const spec = task.spec.containers[index];
  const image = spec === undefined ? undefined : engine.images.find(spec.image);
  try {
    return parseSignal(spec?.stopSignal || image?.config.stopSignal || 'SIGTERM');
  } catch (error) {
    engine.log.warn('a stop signal is unknown; SIGTERM is used', { task: task.id, error: messageOf(error) });
    return SIGTERM;
  }
}

/** Whether process 1 would surely not notice the signal, so that waiting for it is in vain. */
function isDeaf(engine: Engine, container: ContainerSeen, signal: number): boolean {
  const { files } = engine.host;
  const folder = `/proc/${container.pid}/task`;
  const read = (thread: string, name: string): string => files.findTextSync(`${folder}/${thread}/${name}`) ?? '';
  const threads = files.listSync(folder).map((thread): ThreadLook => {
    const syscallBefore = read(thread, 'syscall');
    return { syscallBefore, status: read(thread, 'status'), syscallAfter: read(thread, 'syscall') };
  });
  return isDeafTo(signal, threads, process.arch);
}
