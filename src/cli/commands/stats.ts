/**
 * `covey stats`: what running tasks use, on whichever node they run, with Docker's columns: again and again, or once.
 *
 * Not here: where the figures come from (tasks/usage/stats.ts, in the daemon).
 */
import type { NamedFigures, StatsAnswer } from '../../gen/types.js';
import { parseDurationMs } from '../../tasks/spec/values.js';
import type { CliContext } from '../context.js';
import type { CommandDefinition, Invocation } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import { parseFormat } from '../output/format.js';
import { compareNames, type ListView, printList } from '../output/list.js';
import { openLive } from '../output/live.js';
import { renderTable } from '../output/table.js';
import { renderBytes, renderTime } from '../output/values.js';

export const statsCommands: readonly CommandDefinition[] = [
  {
    path: ['stats'],
    says: 'Show what running tasks use, as it changes',
    args: [{ name: 'TASK', needed: false, many: true, completes: 'task' }],
    options: [
      { flags: '--service <service>', says: 'Only of this service', completes: 'service' },
      { flags: '--no-stream', says: 'Once, not again and again' },
      { flags: '--interval <duration>', says: 'Time between two looks (default 1s)' },
      {
        flags: '--format <format>',
        says: "json, yaml, name, table or '{{.field.path}}'",
        completes: ['json', 'yaml', 'name', 'table'],
      },
      { flags: '--no-trunc', says: 'Cut nothing to fit the screen' },
    ],
    examples: [
      { says: 'all tasks of one service', line: 'covey stats --service web' },
      { says: 'one task, once, for a program', line: 'covey stats --no-stream --format json web.1' },
    ],
    run: runStats,
  },
];

/** A task's figures with the node they come from. */
interface Row extends NamedFigures {
  readonly nodeName: string;
}

const view: ListView<Row> = {
  columns: [
    { header: 'TASK', cutTo: 16 },
    { header: 'NODE', cutTo: 8 },
    { header: 'CPU %', align: 'right' },
    { header: 'MEM USAGE / LIMIT', align: 'right' },
    { header: 'MEM %', align: 'right' },
    { header: 'NET I/O', align: 'right' },
    { header: 'BLOCK I/O', align: 'right' },
    { header: 'PIDS', align: 'right' },
  ],
  row: ({ taskName, nodeName, figures }) => [
    taskName,
    nodeName,
    `${figures.cpuPercent.toFixed(2)}%`,
    `${renderBytes(figures.memoryBytes)} / ${renderBytes(figures.memoryLimitBytes)}`,
    `${memoryPercent(figures).toFixed(2)}%`,
    `${renderBytes(figures.receivedBytes)} / ${renderBytes(figures.sentBytes)}`,
    `${renderBytes(figures.readBytes)} / ${renderBytes(figures.writtenBytes)}`,
    String(figures.pids),
  ],
  record: ({ taskName, nodeName, figures }) => ({
    id: figures.taskId,
    name: taskName,
    node: nodeName,
    cpuPercent: Math.round(figures.cpuPercent * 100) / 100,
    memoryBytes: figures.memoryBytes,
    memoryLimitBytes: figures.memoryLimitBytes,
    memoryPercent: Math.round(memoryPercent(figures) * 100) / 100,
    receivedBytes: figures.receivedBytes,
    sentBytes: figures.sentBytes,
    readBytes: figures.readBytes,
    writtenBytes: figures.writtenBytes,
    pids: figures.pids,
    at: renderTime(figures.atMs),
  }),
  id: ({ figures }) => figures.taskId,
  name: ({ taskName }) => taskName,
};

function memoryPercent(figures: NamedFigures['figures']): number {
  return figures.memoryLimitBytes === 0 ? 0 : (figures.memoryBytes / figures.memoryLimitBytes) * 100;
}

function rowsOf({ nodeName, tasks }: StatsAnswer): readonly Row[] {
  return tasks.map(named => ({ ...named, nodeName }));
}

function sorted(rows: Iterable<Row>): readonly Row[] {
  return [...rows].sort((a, b) => compareNames(a.taskName, b.taskName));
}

async function runStats({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const once = flags.isOn('no-stream');
  const { control } = await context.connect();
  const request = {
    tasks: args,
    service: flags.text('service') ?? '',
    once,
    intervalMs: flags.parsed('interval', parseDurationMs) ?? 0,
  };
  const answers = control.stats(request, { signal: context.signal });
  const format = parseFormat(flags.text('format') ?? 'table');
  if (once) return await printOnce(context, flags, answers);
  return format.kind === 'table' && context.isInteractive
    ? await showLive(context, flags, answers)
    : await printEach(context, flags, answers);
}

async function noteProblem(context: CliContext, { nodeName, problem }: StatsAnswer): Promise<boolean> {
  if (problem !== undefined) await context.note(`${nodeName}: ${problem.message}`);
  return problem !== undefined;
}

async function printOnce(context: CliContext, flags: Flags, answers: AsyncIterable<StatsAnswer>): Promise<number> {
  const rows: Row[] = [];
  let failed = false;
  for await (const answer of answers) {
    rows.push(...rowsOf(answer));
    failed = (await noteProblem(context, answer)) || failed;
  }
  await printList(context, flags, { view, items: sorted(rows) });
  return failed ? exitCodes.failed : exitCodes.done;
}

/** One picture of all nodes, drawn over. */
async function showLive(context: CliContext, flags: Flags, answers: AsyncIterable<StatsAnswer>): Promise<number> {
  const { stdout, clock } = context.console;
  const live = openLive(stdout, clock);
  const byNode = new Map<string, readonly Row[]>();
  const draw = (): void => {
    const width = flags.isOn('no-trunc') ? undefined : stdout.size().columns;
    const rows = sorted([...byNode.values()].flat());
    live.show(renderTable(view.columns, rows.map(view.row), { width, colours: context.colours }));
  };
  draw(); // the columns, while nothing runs
  for await (const answer of answers) {
    byNode.set(answer.nodeName, rowsOf(answer));
    await noteProblem(context, answer);
    draw();
  }
  await live.end();
  return exitCodes.done;
}

/** For a pipe: the figures of each node as they come. */
async function printEach(context: CliContext, flags: Flags, answers: AsyncIterable<StatsAnswer>): Promise<number> {
  let failed = false;
  for await (const answer of answers) {
    failed = (await noteProblem(context, answer)) || failed;
    if (answer.tasks.length > 0) await printList(context, flags, { view, items: sorted(rowsOf(answer)) });
  }
  return failed ? exitCodes.failed : exitCodes.done;
}
