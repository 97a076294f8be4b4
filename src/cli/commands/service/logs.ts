/**
 * Logs of a service or of tasks: each line with the task it comes from, as it was written, or followed as it is written.
 *
 * Not here: where the lines lie (tasks/logs.ts, in the daemon).
 */
import { CoveyError } from '../../../errors.js';
import type { LogsLine, LogsRequest } from '../../../gen/types.js';
import { parseDurationMs, parseInteger } from '../../../tasks/spec/values.js';
import type { CliContext } from '../../context.js';
import { type Invocation, localOption, type OptionDefinition } from '../../definition.js';
import { type Flags, orBadValue } from '../../flags.js';
import { exitCodes } from '../../output/errors.js';
import { renderTime } from '../../output/values.js';

export const logsOptions: readonly OptionDefinition[] = [
  { flags: '-f, --follow', says: 'Go on as new lines come' },
  { flags: '-n, --tail <lines>', says: 'Only the last lines of each task (default: all)' },
  {
    flags: '--since <time>',
    says: 'Only lines after this: a duration such as 10m, or a time such as 2026-11-20T12:00:00Z',
  },
  { flags: '--until <time>', says: 'Only lines before this; a follower ends there' },
  { flags: '-t, --timestamps', says: 'Begin each line with its time' },
  { flags: '--no-task-ids', says: 'Leave the names of the tasks out' },
  { flags: '--no-trunc', says: 'Name each task with its whole id' },
  { flags: '--container <name>', says: 'Container of the tasks (default: the main one)' },
  localOption,
  { flags: '--raw', says: 'Print the lines only, as they were written' },
];

/** "10m" ago, or a point in time. */
export function parseMoment(flag: string, text: string, nowMs: number): number {
  const duration = parseDurationMs(text);
  if (duration.kind === 'ok') return Math.max(1, Math.round(nowMs - duration.value));
  const seconds = /^\d{9,11}(?:\.\d+)?$/u.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (Number.isFinite(seconds)) return Math.max(1, Math.round(seconds));
  throw new CoveyError('bad-argument', `Cannot use "${text}" for ${flag}`, {
    hint: 'give a duration such as 10m, or a time such as 2026-11-20T12:00:00Z',
  });
}

export function logsRequest(args: readonly string[], flags: Flags, nowMs: number): LogsRequest {
  const isTask = args.length > 1 || /\.[^.]+$/u.test(args[0] ?? '');
  const tail = flags.text('tail') ?? 'all';
  const since = flags.text('since');
  const until = flags.text('until');
  return {
    service: isTask ? '' : (args[0] ?? ''),
    tasks: isTask ? args : [],
    follow: flags.isOn('follow'),
    tail: tail === 'all' ? -1 : orBadValue('--tail', tail, parseInteger(tail, { min: -1, max: 10_000_000 })),
    sinceMs: since === undefined ? 0 : parseMoment('--since', since, nowMs),
    untilMs: until === undefined ? 0 : parseMoment('--until', until, nowMs),
    container: flags.text('container') ?? '',
  };
}

export async function runLogs({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const calls = await context.tasks();
  const request = logsRequest(args, flags, context.console.clock.wallMs());
  const painter = openLinePrinter(flags);
  let [told, failed] = [false, false];
  for await (const line of logLines(request, context, calls)) {
    told ||= line.data !== undefined;
    if (line.problem !== undefined) {
      failed ||= line.problem.code !== 'log-lost';
      await context.note(`${line.taskName}@${line.nodeName}: ${line.problem.message}`);
    }
    const { stdout, stderr } = context.console;
    const bytes = painter.print(line);
    if (bytes.length > 0) await (line.data?.stream === 'stderr' ? stderr : stdout).write(bytes);
  }
  // A node that is away makes the answer partial, not wrong: what could be had is there, and the note says what could not.
  return failed && !told ? exitCodes.failed : exitCodes.done;
}

/** A service whose name holds a dot looks like a task; what is not found as the one is tried as the other. */
async function* logLines(
  request: LogsRequest,
  context: CliContext,
  calls: Awaited<ReturnType<CliContext['tasks']>>,
): AsyncGenerator<LogsLine> {
  const [only] = request.tasks;
  try {
    yield* calls.logs(request, { signal: context.signal });
  } catch (error) {
    const retry =
      error instanceof CoveyError && error.code === 'not-found' && request.tasks.length === 1 && only !== undefined;
    if (!retry) throw error;
    try {
      yield* calls.logs({ ...request, tasks: [], service: only }, { signal: context.signal });
    } catch (second) {
      throw second instanceof CoveyError && second.code === 'not-found' ? error : second;
    }
  }
}

export interface LinePrinter {
  readonly print: (line: LogsLine) => Uint8Array;
}

/**
 * Prefixes for lines. A piece without a line feed at its end is a part of a line: what follows from the same task and stream
 * belongs to it and gets no prefix.
 */
export function openLinePrinter(flags: Flags): LinePrinter {
  const open = new Set<string>();
  const width = { name: 0 };
  return {
    print: line => {
      if (line.data === undefined || line.data.data.length === 0) return new Uint8Array(0);
      if (flags.isOn('raw')) return line.data.data;
      const source = `${line.taskId}/${line.data.stream}`;
      const task = flags.isOn('no-trunc') ? `${line.taskName}.${line.taskId}` : line.taskName;
      const name = flags.isOn('no-task-ids') ? '' : `${task}@${line.nodeName}`;
      width.name = Math.max(width.name, name.length);
      const time = flags.isOn('timestamps') ? `${renderTime(line.data.atMs)} ` : '';
      const prefix = open.has(source) ? '' : `${time}${name === '' ? '' : `${name.padEnd(width.name)} | `}`;
      const { data } = line.data;
      if (data.at(-1) === 0x0a) open.delete(source);
      else open.add(source);
      const head = new TextEncoder().encode(prefix);
      const bytes = new Uint8Array(head.length + data.length);
      bytes.set(head);
      bytes.set(data, head.length);
      return bytes;
    },
  };
}
