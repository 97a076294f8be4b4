/**
 * Signals by name and number, and whether a process surely does not react to one.
 *
 * The kernel drops signals to a namespace's process 1 that it has no handler for, so waiting for such a one to end is waiting
 * for SIGKILL. `isDeafTo` says so only when it is sure: a signal that is caught, blocked (signalfd, a thread about to wait),
 * ignored on purpose, or waited for with sigtimedwait, whose real mask the kernel hides, counts as heard.
 *
 * Pure. Not here: sending (controller.ts), exit codes (task.ts).
 */
import { CoveyError } from '../../errors.js';

const names: readonly string[] = (
  'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG ' +
  'XCPU XFSZ VTALRM PROF WINCH IO PWR SYS'
).split(' ');

const aliases: Readonly<Record<string, number>> = { IOT: 6, CLD: 17, POLL: 29 };
const realTimeFirst = 34;
const realTimeLast = 64;

/** "SIGTERM", "term", "15", "SIGRTMIN+3" (systemd's stop signal). */
export function parseSignal(text: string): number {
  const upper = text.trim().toUpperCase().replace(/^SIG/, '');
  const number = /^\d+$/.test(upper) ? Number(upper) : signalByName(upper);
  if (number !== undefined && number >= 1 && number <= realTimeLast) return number;
  throw new CoveyError('bad-bundle', `Cannot use stop signal "${text}": there is none of that name`, {
    hint: 'SIGTERM, SIGINT, SIGQUIT, SIGRTMIN+3 and the like, or a number from 1 to 64',
  });
}

function signalByName(name: string): number | undefined {
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (realTime !== null) {
    const offset = Number(realTime[3] ?? '0') * (realTime[2] === '-' ? -1 : 1);
    const number = (realTime[1] === 'MIN' ? realTimeFirst : realTimeLast) + offset;
    return number >= realTimeFirst ? number : undefined;
  }
  const index = names.indexOf(name);
  return index >= 0 ? index + 1 : aliases[name];
}

/** What /proc says of one thread: status, and syscall before and after that was read. */
export interface ThreadLook {
  readonly status: string;
  readonly syscallBefore: string;
  readonly syscallAfter: string;
}

const sigtimedwait: Readonly<Record<string, readonly number[]>> = { x64: [128], arm64: [137] };
/** 32 bit programs number their calls differently: theirs count as heard. */
const compatSigtimedwait = [177, 421];

/** True only when no thread can react to the signal: it would be dropped. */
export function isDeafTo(signal: number, threads: readonly ThreadLook[], architecture: string): boolean {
  const waits = sigtimedwait[architecture];
  if (waits === undefined || threads.length === 0) return false;
  return threads.every(thread => {
    if (hasSignal(thread.status, signal)) return false;
    const before = parseSyscall(thread.syscallBefore);
    // Not inside one and the same call all the while: what the masks said may have been true of no single moment.
    if (before === undefined || thread.syscallBefore !== thread.syscallAfter) return false;
    return !waits.includes(before) && !compatSigtimedwait.includes(before);
  });
}

/** Whether the signal is caught, blocked or ignored; true as well when the text does not say. */
function hasSignal(status: string, signal: number): boolean {
  return ['SigBlk', 'SigIgn', 'SigCgt'].some(field => {
    const mask = new RegExp(`^${field}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1];
    return mask === undefined || ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
  });
}

/** The number at the head of /proc/PID/task/TID/syscall; undefined for "running" and for what cannot be read. */
function parseSyscall(text: string): number | undefined {
  const number = /^(\d+) /.exec(text)?.[1];
  return number === undefined ? undefined : Number(number);
}
