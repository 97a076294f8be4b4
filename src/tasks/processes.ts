/**
 * The processes of a task, for `task top`: what /proc says of each member of its groups, at one moment.
 *
 * Not here: which groups (cgroup/), how it looks (cli).
 */
import type { Task, TaskProcess } from '../gen/types.js';
import type { Engine } from './engine.js';

/** USER_HZ: the same on all processors. */
const tickMs = 10;
const pageBytes = 4_096;
const commandMaxBytes = 4_096;

interface Moment {
  /** Unix time at which the machine started. */
  readonly bootMs: number;
}

/** By age. A process that ends meanwhile is left out. `only`: the index of one container. */
export function listProcesses(engine: Engine, task: Task, only: number | undefined): readonly TaskProcess[] {
  const { files, clock } = engine.host;
  const upMs = Number((files.findTextSync('/proc/uptime') ?? '0').split(' ')[0]) * 1_000;
  const moment = { bootMs: clock.wallMs() - upMs };
  return engine.cgroups
    .members(task.id)
    .flatMap(pid => {
      const index = indexOf(engine, task, pid);
      if (only !== undefined && index !== only) return [];
      const seen = parseProcess(readProcess(engine, pid), moment);
      return seen === undefined ? [] : [{ ...seen, container: task.spec.containers[index]?.name ?? '' }];
    })
    .sort((a, b) => a.startedAtMs - b.startedAtMs || a.pid - b.pid);
}

/** Of the container whose group it is in; a task with one container has no groups below its own. */
function indexOf(engine: Engine, task: Task, pid: number): number {
  const text = engine.host.files.findTextSync(`/proc/${pid}/cgroup`) ?? '';
  return Number(new RegExp(`/${task.id}/(\\d+)`).exec(text)?.[1] ?? '0');
}

export interface ProcessTexts {
  readonly stat: string;
  readonly status: string;
  readonly commandLine: string;
}

function readProcess(engine: Engine, pid: number): ProcessTexts {
  const read = (name: string): string => engine.host.files.findTextSync(`/proc/${pid}/${name}`) ?? '';
  return { stat: read('stat'), status: read('status'), commandLine: read('cmdline') };
}

/** Fields of proc(5); undefined when the process was gone before all was read. */
export function parseProcess(texts: ProcessTexts, moment: Moment): Omit<TaskProcess, 'container'> | undefined {
  const close = texts.stat.lastIndexOf(')');
  const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(texts.status)?.[1];
  if (close < 0 || uid === undefined) return undefined;
  const fields = texts.stat.slice(close + 2).split(' ');
  const name = texts.stat.slice(texts.stat.indexOf('(') + 1, close);
  const words = texts.commandLine.slice(0, commandMaxBytes).split('\0').filter(Boolean).join(' ');
  return {
    pid: Number(texts.stat.split(' ')[0]),
    parentPid: Number(fields[1]),
    uid: Number(uid),
    state: fields[0] ?? '',
    cpuMs: (Number(fields[11]) + Number(fields[12])) * tickMs,
    residentBytes: Number(fields[21]) * pageBytes,
    startedAtMs: Math.round(moment.bootMs + Number(fields[19]) * tickMs),
    command: words === '' ? `[${name}]` : words,
  };
}
