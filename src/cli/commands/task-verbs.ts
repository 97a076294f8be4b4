/**
 * Verbs for single tasks, with Docker's names: pause, unpause, stop, kill, restart, wait, top. Each waits until it is so, on
 * whichever node the task runs, and prints the names of the tasks that it was done to.
 *
 * Not here: lists (task.ts), what goes in which state (tasks/verbs.ts, in the daemon).
 */
import { CoveyError } from '../../errors.js';
import type { Task, TaskProcess, TaskVerbRequest } from '../../gen/types.js';
import { parseInteger } from '../../tasks/spec/values.js';
import type { CliContext } from '../context.js';
import {
  type CommandDefinition,
  formatOption,
  type Invocation,
  localOption,
  type OptionDefinition,
  waitOptions,
} from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { type ListView, printList } from '../output/list.js';
import { renderBytes, renderTime } from '../output/values.js';
import { isLive } from '../records.js';
import { waitForServices, watchUntil } from '../wait.js';
import { getTasks } from './task.js';

const tasksArgument = { name: 'TASK', needed: true, many: true, completes: 'task' } as const;
const containerOption: OptionDefinition = {
  flags: '--container <name>',
  says: 'Container of the task (default: the main one)',
};
const timeoutOption: OptionDefinition = {
  flags: '--timeout <duration>',
  says: 'Wait no longer than this; then the exit code is 3',
};

export const taskVerbCommands: readonly CommandDefinition[] = [
  {
    path: ['task', 'pause'],
    says: 'Hold all processes of tasks still',
    about: 'Health checks stand still with them. A task that is told to end goes on first.',
    args: [tasksArgument],
    options: [],
    examples: [
      { says: 'one task', line: 'covey task pause web.1' },
      { says: 'what is paused', line: 'covey task ls -f paused=true' },
    ],
    run: (invocation, context) => runEach(invocation, context, { verb: 'pause' }),
  },
  {
    path: ['task', 'unpause'],
    says: 'Let paused tasks go on',
    args: [tasksArgument],
    options: [],
    examples: [
      { says: 'one task', line: 'covey task unpause web.1' },
      { says: 'several', line: 'covey task unpause web.1 web.2' },
    ],
    run: (invocation, context) => runEach(invocation, context, { verb: 'unpause' }),
  },
  {
    path: ['task', 'stop'],
    says: 'Ask tasks to end, and kill what is left after their grace',
    about:
      'The task counts as completed, whatever its exit code. Its restart policy says what follows: with "any" another one is started after the delay, with "on-failure" and "none" the slot stays empty. covey service scale makes it stay so. With --local its node starts no other in its place by itself; the managers do by the policy once they answer.',
    args: [tasksArgument],
    options: [
      { flags: '-t, --time <seconds>', says: 'Time from the stop signal to SIGKILL (default: that of the service)' },
      localOption,
    ],
    examples: [
      { says: 'with the grace of its service', line: 'covey task stop web.1' },
      { says: 'on this node, with all managers away', line: 'covey task stop --local web.1' },
      { says: 'quickly', line: 'covey task stop -t 1 web.1 web.2' },
    ],
    run: runStop,
  },
  {
    path: ['task', 'kill'],
    says: 'Send a signal to process 1 of tasks',
    about: 'With SIGKILL it waits for the end. The restart policy of the service says what follows.',
    args: [tasksArgument],
    options: [
      { flags: '-s, --signal <signal>', says: 'Which one, by name or number (default: SIGKILL)' },
      localOption,
      containerOption,
    ],
    examples: [
      { says: 'at once', line: 'covey task kill web.1' },
      { says: 'read the configuration anew', line: 'covey task kill -s HUP proxy.1' },
    ],
    run: (invocation, context) =>
      runEach(invocation, context, { verb: 'kill', signal: invocation.flags.text('signal') ?? '' }),
  },
  {
    path: ['task', 'restart'],
    says: 'Put new tasks in the place of tasks, and wait until they run',
    about: 'A task is started once; a new one takes its slot, on whichever node fits best. Works for ended tasks too.',
    args: [tasksArgument],
    options: waitOptions,
    examples: [
      { says: 'one task', line: 'covey task restart web.1' },
      { says: 'two, without waiting', line: 'covey task restart -d web.1 web.2' },
    ],
    run: runRestart,
  },
  {
    path: ['task', 'wait'],
    says: 'Wait until tasks have ended, and print their exit codes',
    args: [tasksArgument],
    options: [timeoutOption],
    examples: [
      { says: 'one task', line: 'covey task wait import.1' },
      { says: 'no longer than a minute', line: 'covey task wait --timeout 1m import.1' },
    ],
    run: runWait,
  },
  {
    path: ['task', 'top'],
    says: 'List the processes of a task',
    args: [{ name: 'TASK', needed: true, completes: 'task' }],
    options: [
      { ...containerOption, says: 'Container of the task (default: all)' },
      localOption,
      { ...formatOption, says: "json, yaml, name, table or '{{.field.path}}'" },
      { flags: '--no-trunc', says: 'Cut nothing to fit the screen' },
      { flags: '-q, --quiet', says: 'Process ids only' },
      { flags: '-f, --filter <filter>', says: 'Show only what fits, such as uid=0 or state!=S', many: true },
      { flags: '--sort <column>', says: 'Sort by a column or field; -column for the other way round' },
    ],
    examples: [
      { says: 'oldest first', line: 'covey task top web.1' },
      { says: 'by memory', line: 'covey task top --sort -rss web.1' },
    ],
    run: runTop,
  },
];

type Verb = Pick<TaskVerbRequest, 'verb'> & Partial<TaskVerbRequest>;

/** One after the other; the first refusal ends it, and those before are printed already. */
async function runEach({ args, flags }: Invocation, context: CliContext, verb: Verb): Promise<number> {
  const calls = await context.tasks();
  const container = verb.verb === 'kill' ? (flags.text('container') ?? '') : '';
  for (const task of args) {
    await calls.runTaskVerb({ task, container, signal: '', ...verb }, { signal: context.signal });
    await context.print(task);
  }
  return exitCodes.done;
}

async function runStop(invocation: Invocation, context: CliContext): Promise<number> {
  const seconds = invocation.flags.parsed('time', text => parseInteger(text, { min: 0, max: 86_400 }));
  return await runEach(invocation, context, {
    verb: 'stop',
    ...(seconds === undefined ? {} : { graceMs: seconds * 1_000 }),
  });
}

async function runRestart({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const { control } = await context.connect();
  const found = await getTasks(context, args);
  await control.restartTasks({ tasks: found.map(({ task }) => task.id) }, { signal: context.signal });
  if (flags.isOn('detach')) {
    for (const name of args) await context.print(name);
    return exitCodes.done;
  }
  const ids = [...new Set(found.map(({ task }) => task.serviceId))];
  const { services } = await control.listServices({ objects: ids, stack: '' }, { signal: context.signal });
  return await waitForServices(context, {
    request: { tables: ['task', 'service', 'node'], service: ids.length === 1 ? (ids[0] ?? '') : '', stack: '' },
    what: `tasks ${args.join(', ')}`,
    look: `covey service ps ${services.map(service => service.spec.name).join(' ')}`,
    flags,
    startedMs,
    services,
  });
}

async function runWait({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const found = await getTasks(context, args);
  const known = new Map<string, Task>(found.map(({ task }) => [task.id, task]));
  const result = await watchUntil(
    context,
    {
      request: { tables: ['task'], service: '', stack: '' },
      what: `the end of ${args.join(', ')}`,
      look: 'covey task ls -a',
      flags,
      startedMs: 0,
    },
    async seen => {
      for (const [id, last] of known) {
        const task = seen.tasks.get(id);
        if (task !== undefined) known.set(id, task);
        else if (isLive(last)) throw goneError(id);
      }
      return [...known.values()].some(isLive) ? undefined : known;
    },
  );
  if (result === 'interrupted') return exitCodes.interrupted;
  for (const [at, { task }] of found.entries())
    await context.print(`${exitCodeOfTask(args[at] ?? '', known, task.id)}`);
  return exitCodes.done;
}

function goneError(id: string): CoveyError {
  return new CoveyError('not-found', `Cannot wait for task ${id}: it was deleted before its end was seen`, {
    hint: 'covey task ls -a',
  });
}

function exitCodeOfTask(name: string, known: ReadonlyMap<string, Task>, id: string): number {
  const status = known.get(id)?.status;
  if (status?.exitCode !== undefined) return status.exitCode;
  throw new CoveyError('exit-code-unknown', `Cannot tell the exit code of task "${name}"`, {
    state: `it is ${status?.state ?? 'gone'}${status?.error ? `: ${status.error}` : ''}`,
  });
}

const topView: ListView<TaskProcess> = {
  columns: [
    { header: 'PID', align: 'right' },
    { header: 'PPID', align: 'right' },
    { header: 'UID', align: 'right' },
    { header: 'STATE' },
    { header: 'TIME', align: 'right' },
    { header: 'RSS', align: 'right' },
    { header: 'COMMAND', cutTo: 20 },
  ],
  row: one => [
    `${one.pid}`,
    `${one.parentPid}`,
    `${one.uid}`,
    one.state,
    `${(one.cpuMs / 1_000).toFixed(2)} s`,
    renderBytes(one.residentBytes),
    one.command,
  ],
  record: one => ({
    pid: one.pid,
    ppid: one.parentPid,
    uid: one.uid,
    state: one.state,
    cpuMs: one.cpuMs,
    rss: one.residentBytes,
    startedAt: renderTime(one.startedAtMs),
    command: one.command,
    container: one.container,
  }),
  id: one => `${one.pid}`,
  name: one => one.command,
};

async function runTop({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const calls = await context.tasks();
  const request = { task: args[0] ?? '', container: flags.text('container') ?? '', verb: 'top', signal: '' } as const;
  const { processes } = await calls.runTaskVerb(request, { signal: context.signal });
  await printList(context, flags, { view: topView, items: processes });
  return exitCodes.done;
}
