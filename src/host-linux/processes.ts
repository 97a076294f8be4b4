/**
 * Processes: run to the end (execa), spawn with descriptors of our choice (spawn.ts), look at and signal what others started.
 *
 * A child gets the environment it is given and nothing else of ours.
 */
import * as fs from 'node:fs';
import { delimiter, join } from 'node:path';
import { execa } from 'execa';
import { CoveyError, errnoOf } from '../errors.js';
import type { Processes, RunOptions, RunResult } from '../host.js';
import { spawnProcess } from './spawn.js';

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export const linuxProcesses: Processes = {
  pid: process.pid,
  run,
  spawn: spawnProcess,
  kill: (pid, signal) => {
    try {
      process.kill(pid, signal);
      return true;
    } catch (cause) {
      if (errnoOf(cause) === 'ESRCH') return false;
      throw new CoveyError('internal', `Cannot send signal ${signal} to process ${pid}`, { cause });
    }
  },
  findStart: pid => {
    try {
      return parseStat(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch (cause) {
      if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ESRCH') return undefined;
      throw new CoveyError('internal', `Cannot look at process ${pid}`, { cause });
    }
  },
  findOnPath: program => {
    for (const folder of (process.env['PATH'] ?? systemPath).split(delimiter)) {
      const path = join(folder, program);
      try {
        fs.accessSync(path, fs.constants.X_OK);
        return path;
      } catch (error) {
        if (errnoOf(error) === undefined) throw error; // not there or not ours to run: look on
      }
    }
    return undefined;
  },
  bootId: () => fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
};

/** Fields of /proc/PID/stat (proc(5)); the name may hold blanks and parentheses, so count from its end. */
export function parseStat(text: string): {
  readonly startTicks: number;
  readonly state: string;
  readonly parent: number;
} {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', parent: Number(fields[1]), startTicks: Number(fields[19]) };
}

async function run(argv: readonly string[], options: RunOptions): Promise<RunResult> {
  const [program = '', ...args] = argv;
  const result = await execa(program, args, {
    reject: false,
    timeout: options.timeoutMs,
    killSignal: 'SIGKILL',
    cancelSignal: options.signal,
    env: { PATH: process.env['PATH'] ?? systemPath, ...options.env },
    extendEnv: false,
    maxBuffer: options.outputMaxBytes ?? 2 ** 20,
    stripFinalNewline: false,
    ...(options.input === undefined ? { stdin: 'ignore' } : { input: options.input }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  if (result.isCanceled) throw new CoveyError('cancelled', `Cannot finish ${program}: cancelled`);
  const started = result.exitCode !== undefined || result.signal !== undefined || result.timedOut;
  if (!started) {
    const missing = result.code === 'ENOENT';
    throw new CoveyError(
      missing ? 'not-found' : 'internal',
      `Cannot start ${program}: ${result.code ?? 'unknown error'}`,
    );
  }
  return {
    exitCode: result.exitCode,
    signalName: result.signal,
    timedOut: result.timedOut,
    stdout: text(result.stdout),
    stderr: text(result.stderr),
  };
}

function text(output: unknown): string {
  return typeof output === 'string' ? output : '';
}
