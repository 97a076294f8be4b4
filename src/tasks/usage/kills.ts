/**
 * Whether a program that was run inside a task was killed for memory: the kernel's counter of the task's group rose while it
 * ran, and it ended as one that was killed.
 *
 * Called by exec.ts for `covey exec` and health checks. Not here: the main program (ending.ts), children (limits-watch.ts, which
 * asks here whether it was the main one).
 */
import { CoveyError } from '../../errors.js';
import type { Host } from '../../host.js';
import type { Engine } from '../engine.js';
import { sizeText } from '../task.js';

/** Called before the program is started; the answer is asked for when it has ended. */
export function watchKills(engine: Engine, taskId: string): (exitCode: number | undefined) => CoveyError | undefined {
  const before = engine.cgroups.countOomKills(taskId);
  return exitCode => {
    if (exitCode !== 137 || engine.cgroups.countOomKills(taskId) <= before) return undefined;
    const { memoryBytes } = engine.cgroups.readLimits(taskId);
    return new CoveyError('out-of-memory', 'Cannot let the program go on: it was killed for memory', {
      state:
        memoryBytes === undefined
          ? 'the task has no limit: the node ran out of memory'
          : `the task, with all that is run in it, is limited to ${sizeText(memoryBytes)}`,
    });
  };
}

/** PF_EXITING of the kernel's process flags. */
const exitingFlag = 0x4;
const killBit = 1n << 8n;

/**
 * Whether a process has been killed already, although it may not be gone yet: between the kernel's counter and the end of the
 * process there are some milliseconds.
 */
export function isDying({ files }: Pick<Host, 'files'>, pid: number): boolean {
  const stat = files.findTextSync(`/proc/${pid}/stat`);
  const status = files.findTextSync(`/proc/${pid}/status`);
  if (stat === undefined || status === undefined) return true;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X' || (Number(fields[6]) & exitingFlag) !== 0) return true;
  return [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)].some(
    ([, mask]) => (BigInt(`0x${mask}`) & killBit) !== 0n,
  );
}
