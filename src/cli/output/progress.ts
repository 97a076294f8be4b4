/**
 * Progress as lines: a bar for each service and, while it is not there yet, a line for each task. In a pipe the same as plain
 * lines, each written once, when something became different.
 *
 * Not here: what the state is (converge.ts), drawing over what was drawn (live.ts).
 */
import type { ServiceProgress, TaskLine } from '../converge.js';
import { paint, stateColour } from './colours.js';
import { cutText, padText, visibleText, widthOf } from './text.js';
import { renderDuration } from './values.js';

const barWidth = 21;

export interface ProgressScreen {
  readonly columns: number;
  /** Lines that may be used. */
  readonly rows: number;
  readonly colours: boolean;
}

/** The present picture, no longer than the screen. Tasks that do not run yet come first when there is not room for all. */
export function renderProgress(services: readonly ServiceProgress[], screen: ProgressScreen): readonly string[] {
  const nameWidth = Math.max(
    0,
    ...services.flatMap(one => [widthOf(one.name), ...one.lines.map(line => widthOf(line.name) + 2)]),
  );
  const nodeWidth = Math.max(0, ...services.flatMap(one => one.lines.map(line => widthOf(line.node))));
  const heads = services.map(
    one =>
      `${padText(one.name, nameWidth, 'left')}  ${renderBar(one.running, one.wanted)}  ${one.running} of ${one.wanted} ${one.isJob ? 'completed' : 'running'}${one.note === '' ? '' : ` · ${one.note}`}`,
  );
  const open = services.map(one => (one.outcome.kind === 'done' && services.length > 1 ? [] : one.lines));
  let room = Math.max(1, screen.rows - heads.length);
  const lines: string[] = [];
  for (const [at, head] of heads.entries()) {
    lines.push(cutText(head, screen.columns));
    const shown = pickLines(open[at] ?? [], room);
    room -= shown.lines.length + (shown.hidden > 0 ? 1 : 0);
    for (const line of shown.lines) lines.push(renderTaskLine(line, { nameWidth, nodeWidth, screen }));
    if (shown.hidden > 0) lines.push(`  and ${shown.hidden} more`);
  }
  return lines;
}

export function renderBar(running: number, wanted: number): string {
  const share = wanted === 0 ? 1 : Math.min(1, running / wanted);
  const full = Math.floor(share * barWidth);
  return '█'.repeat(full) + '░'.repeat(barWidth - full);
}

function pickLines(
  lines: readonly TaskLine[],
  room: number,
): { readonly lines: readonly TaskLine[]; readonly hidden: number } {
  if (lines.length <= room) return { lines, hidden: 0 };
  const keep = Math.max(0, room - 1);
  const waiting = lines.filter(line => line.state !== 'running');
  const picked = new Set([...waiting, ...lines.filter(line => line.state === 'running')].slice(0, keep));
  return { lines: lines.filter(line => picked.has(line)), hidden: lines.length - picked.size };
}

interface LineLayout {
  readonly nameWidth: number;
  readonly nodeWidth: number;
  readonly screen: ProgressScreen;
}

function renderTaskLine(line: TaskLine, layout: LineLayout): string {
  const head = `  ${padText(line.name, layout.nameWidth - 2, 'left')}  ${padText(line.node || '-', Math.max(1, layout.nodeWidth), 'left')}  `;
  const text = cutText(taskText(line), Math.max(8, layout.screen.columns - widthOf(head)));
  return head + (layout.screen.colours ? paint(text, stateColour(line.state)) : text);
}

/** "running", or the state and what it waits for. */
export function taskText(line: TaskLine): string {
  if (line.state === 'running' || line.why === '') return line.state;
  const inWork = line.state === 'preparing' || line.state === 'starting';
  return visibleText(inWork ? line.why : `${line.state}: ${line.why}`);
}

/** For a pipe: lines for what differs from what was said before. `said` is updated. */
export function plainProgress(services: readonly ServiceProgress[], said: Map<string, string>): readonly string[] {
  const notes = services.flatMap(one => {
    if (one.isJob || one.note === '' || said.get(one.id) === one.note) return [];
    said.set(one.id, one.note);
    return [`${one.name}  ${one.note}`];
  });
  const telling = new Set(['pending', 'running', 'complete', 'failed', 'rejected', 'orphaned']);
  const tasks = services.flatMap(one =>
    one.lines.flatMap(line => {
      if (!telling.has(line.state) || (line.state === 'pending' && line.why === '')) return [];
      const text = taskText(line);
      if (said.get(line.id) === text) return [];
      said.set(line.id, text);
      return [`${line.name}  ${line.node || '-'}  ${text}`];
    }),
  );
  return [...tasks, ...notes];
}

/** "web is running: 3 of 3 after 4.2 s · http://10.0.0.11:8080 and every other node". */
export function renderDone(
  one: ServiceProgress,
  options: { readonly tookMs: number; readonly url: string | undefined },
): string {
  const url = options.url === undefined ? '' : ` · ${options.url}`;
  if (one.wanted === 0) return `${one.name} has no tasks, as asked, after ${renderDuration(options.tookMs)}`;
  const word = one.isJob || one.running === 0 ? 'complete' : 'running';
  return `${one.name} is ${word}: ${Math.max(one.running, word === 'complete' ? one.wanted : 0)} of ${one.wanted} after ${renderDuration(options.tookMs)}${url}`;
}
