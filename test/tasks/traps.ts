/** Waits until a process, or a child of it, has set up what it does at a signal: only then may a test send it. */
import * as fs from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitMaxMs } from './fixtures.js';

export async function untilTrapped(pid: number | undefined, signal: 'SIGTERM' | 'SIGUSR1' = 'SIGTERM'): Promise<void> {
  const bit = 1n << BigInt(constants.signals[signal] - 1);
  const end = performance.now() + waitMaxMs;
  while (pid === undefined || !family(pid).some(one => (maskOf(one) & bit) !== 0n)) {
    if (performance.now() > end) throw new Error(`process ${pid} has not trapped ${signal} after ${waitMaxMs} ms`);
    await sleep(5);
  }
}

/** An init waits for signals rather than catching them: its child counts. */
function family(pid: number): readonly number[] {
  return [pid, ...read(`/proc/${pid}/task/${pid}/children`).trim().split(' ').filter(Boolean).map(Number)];
}

/** Signals that are caught or ignored (proc(5), status). */
function maskOf(pid: number): bigint {
  return [...read(`/proc/${pid}/status`).matchAll(/^Sig(?:Cgt|Ign):\s+([0-9a-f]+)/gm)]
    .map(([, mask]) => BigInt(`0x${mask}`))
    .reduce((all, mask) => all | mask, 0n);
}

function read(path: string): string {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended
  }
}
