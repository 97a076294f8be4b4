/**
 * How much a volume holds, in bytes and inodes, without load: a file system of its own is asked; a directory is walked by du
 * in the idle classes of CPU and disk, one walk at a time, and the answer is kept for a minute. One that takes longer than
 * half a minute is given up and not tried again for ten minutes.
 *
 * Not here: which volumes there are (volumes.ts).
 */
import { messageOf } from '../errors.js';
import type { FileSystemSpace, Host } from '../host.js';
import type { Logger } from '../telemetry.js';
import { openGate } from './gate.js';

export interface VolumeUsage {
  readonly bytes: number;
  readonly inodes: number;
  readonly asOfMs: number;
}

export interface UsageMeter {
  /** At most a minute old; undefined when it cannot be had in time. */
  readonly measure: (volume: MeasuredVolume) => Promise<VolumeUsage | undefined>;
  /** Of the file system that it lies on: one call. */
  readonly space: (path: string) => Promise<FileSystemSpace>;
}

export interface MeasuredVolume {
  readonly name: string;
  readonly path: string;
  readonly isMounted: boolean;
}

const usageKeptMs = 60_000;
const walkMaxMs = 30_000;
const refusedKeptMs = 600_000;

interface Kept {
  readonly usage: VolumeUsage | undefined;
  readonly untilMs: number;
}

export function openUsageMeter(host: Pick<Host, 'clock' | 'files' | 'processes'>, log: Logger): UsageMeter {
  const kept = new Map<string, Kept>();
  const running = new Map<string, Promise<VolumeUsage | undefined>>();
  const gate = openGate(1);
  const measure = async (volume: MeasuredVolume): Promise<VolumeUsage | undefined> => {
    const asOfMs = host.clock.wallMs();
    if (!volume.isMounted)
      return await gate.pass(AbortSignal.timeout(10 * walkMaxMs), () => walk(host, volume, asOfMs));
    const { totalBytes, freeBytes, totalInodes, freeInodes } = await host.files.space(volume.path);
    return { bytes: totalBytes - freeBytes, inodes: totalInodes - freeInodes, asOfMs };
  };
  return {
    space: path => host.files.space(path),
    measure: async volume => {
      const known = kept.get(volume.name);
      if (known !== undefined && known.untilMs > host.clock.monotonicMs()) return known.usage;
      const underWay = running.get(volume.name);
      if (underWay !== undefined) return await underWay;
      const measured = measure(volume)
        .catch((error: unknown) => {
          log.warn('cannot measure a volume', { volume: volume.name, error: messageOf(error) });
          return undefined;
        })
        .finally(() => running.delete(volume.name));
      running.set(volume.name, measured);
      const usage = await measured;
      const keptMs = usage === undefined ? refusedKeptMs : usageKeptMs;
      kept.set(volume.name, { usage, untilMs: host.clock.monotonicMs() + keptMs });
      return usage;
    },
  };
}

async function walk(
  host: Pick<Host, 'processes'>,
  { path }: MeasuredVolume,
  asOfMs: number,
): Promise<VolumeUsage | undefined> {
  const counts: number[] = [];
  for (const unit of ['--block-size=1', '--inodes']) {
    const argv = ['nice', '-n', '19', 'ionice', '-c', '3', 'du', '-s', '-x', unit, '--', path];
    const signal = new AbortController().signal; // bounded by the timeout
    const result = await host.processes.run(argv, { signal, timeoutMs: walkMaxMs });
    const count = /^\d+/.exec(result.stdout)?.[0];
    if (result.timedOut || count === undefined) return undefined; // files that went meanwhile make du end with 1
    counts.push(Number(count));
  }
  const [bytes = 0, inodes = 0] = counts;
  return { bytes, inodes, asOfMs };
}
