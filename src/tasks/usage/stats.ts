/**
 * What running tasks use, in figures for people: read when asked for, from a few small files a task.
 *
 * Called by agent.ts for `covey stats`. Not here: watching limits (limits-watch.ts), the way to the asker (daemon/bulk).
 */
import type { BulkFrame, StatsStart, TaskFigures } from '../../gen/types.js';
import type { TaskId } from '../../ids.js';
import type { GroupUsage } from '../cgroup/usage.js';
import type { Engine } from '../engine.js';
import type { WatchedTask } from './limits-watch.js';

const intervalDefaultMs = 1_000;
const intervalMinMs = 200;
/** Between the two looks that the first share of CPU comes from. */
const firstGapMs = 250;

export interface StatsOptions {
  readonly start: StatsStart;
  readonly tasks: () => ReadonlyMap<TaskId, WatchedTask>;
  readonly signal: AbortSignal;
}

interface Look {
  readonly atMs: number;
  readonly usage: GroupUsage;
}

export async function* readStats(engine: Engine, options: StatsOptions): AsyncIterable<BulkFrame> {
  const { clock } = engine.host;
  const { start, signal } = options;
  const everyMs = Math.max(intervalMinMs, start.intervalMs || intervalDefaultMs);
  const hostMemory = memoryOf(engine);
  let before = lookAtAll(engine, options);
  await clock.sleep(firstGapMs, signal);
  for (;;) {
    const now = lookAtAll(engine, options);
    const figures = [...now].map(([id, look]) => {
      const watched = options.tasks().get(id);
      return figuresOf(id, look, {
        before: before.get(id),
        limitBytes: watched?.task.spec.limits?.memoryBytes || hostMemory,
        network: watched === undefined ? noTraffic : trafficOf(engine, watched),
        wallMs: clock.wallMs(),
      });
    });
    yield { body: { kind: 'figures', tasks: figures } };
    if (start.once) break;
    before = now;
    await clock.sleep(everyMs, signal);
  }
  yield { body: { kind: 'end' } };
}

function lookAtAll(engine: Engine, { start, tasks }: StatsOptions): ReadonlyMap<TaskId, Look> {
  const looks = new Map<TaskId, Look>();
  for (const [id, { task, isWatched }] of tasks()) {
    const isAsked =
      start.taskIds.length > 0
        ? start.taskIds.includes(id)
        : start.serviceId === '' || task.serviceId === start.serviceId;
    if (!isAsked || !isWatched) continue;
    const usage = engine.cgroups.readUsage(id, { parts: 'all', containers: task.spec.containers.length });
    looks.set(id, { atMs: engine.host.clock.monotonicMs(), usage });
  }
  return looks;
}

interface Around {
  readonly before: Look | undefined;
  readonly limitBytes: number;
  readonly network: Traffic;
  readonly wallMs: number;
}

export function figuresOf(
  taskId: TaskId,
  { atMs, usage }: Look,
  { before, limitBytes, network, wallMs }: Around,
): TaskFigures {
  const spentNanos = before === undefined ? 0 : usage.cpuNanos - before.usage.cpuNanos;
  const passedMs = before === undefined ? 0 : atMs - before.atMs;
  return {
    taskId,
    atMs: wallMs,
    cpuPercent: passedMs <= 0 ? 0 : Math.max(0, (spentNanos / 1e6 / passedMs) * 100),
    memoryBytes: Math.max(0, usage.memoryBytes - usage.inactiveFileBytes),
    memoryLimitBytes: limitBytes,
    receivedBytes: network.receivedBytes,
    sentBytes: network.sentBytes,
    readBytes: usage.readBytes,
    writtenBytes: usage.writeBytes,
    pids: usage.pids,
  };
}

interface Traffic {
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

const noTraffic: Traffic = { receivedBytes: 0, sentBytes: 0 };

/** As its main process sees it; on the host's network it would be everybody's. */
function trafficOf({ host }: Engine, { task, containers }: WatchedTask): Traffic {
  const [main] = containers;
  if (main === undefined || task.endpoints.length === 0) return noTraffic;
  return parseTraffic(host.files.findTextSync(`/proc/${main.pid}/net/dev`) ?? '');
}

/** All interfaces but the loopback. */
export function parseTraffic(text: string): Traffic {
  let receivedBytes = 0;
  let sentBytes = 0;
  for (const [, name, numbers] of text.matchAll(/^\s*([^\s:]+):\s*([\d ]+)$/gm)) {
    if (name === 'lo') continue;
    const fields = (numbers ?? '').trim().split(/ +/);
    receivedBytes += Number(fields[0] ?? 0);
    sentBytes += Number(fields[8] ?? 0);
  }
  return { receivedBytes, sentBytes };
}

function memoryOf({ host }: Engine): number {
  return Number(/^MemTotal:\s+(\d+) kB$/m.exec(host.files.findTextSync('/proc/meminfo') ?? '')?.[1] ?? '0') * 1_024;
}
