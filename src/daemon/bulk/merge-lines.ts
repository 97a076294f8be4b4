/**
 * Lines of many logs in the order of their times: the earliest of all heads goes first, once every source that still reads
 * what is there has shown its next line, has become live, or has kept the others waiting for too long.
 *
 * Keeps true: each source holds a bounded number of bytes, and its producer waits when they are full.
 *
 * Called by logs.ts. Not here: where the lines come from.
 */
import { CoveyError } from '../../errors.js';
import type { LogsLine } from '../../gen/types.js';
import type { Clock } from '../../host.js';

export interface LineSource {
  /** Resolves when there is room for another. */
  readonly push: (line: LogsLine) => Promise<void>;
  /** All that was there has been pushed: nobody waits for its next line any more. */
  readonly live: () => void;
  readonly end: () => void;
}

export interface LineMerge {
  readonly open: () => LineSource;
  readonly take: () => AsyncGenerator<LogsLine>;
  /** Nothing more comes: what is there is given out, then it ends. */
  readonly close: () => void;
}

/** Of each source; one line may always wait. */
const waitingMaxBytes = 16_384;
/** So long the others wait for a source that says nothing. */
const holdMs = 2_000;

interface Source {
  readonly lines: LogsLine[];
  bytes: number;
  /** Others have to wait for its next line. */
  holds: boolean;
  emptySinceMs: number;
  /** Forgotten once its last lines were given out. */
  ended: boolean;
  room: (() => void) | undefined;
}

export function openLineMerge(clock: Clock, signal: AbortSignal): LineMerge {
  const sources = new Set<Source>();
  let closed = false;
  let wake: (() => void) | undefined;
  const changed = (): void => {
    wake?.();
    wake = undefined;
  };
  signal.addEventListener(
    'abort',
    () => {
      closed = true;
      for (const { room } of sources) room?.();
      changed();
    },
    { once: true },
  );
  const release = (source: Source): void => {
    source.holds = false;
    changed();
  };
  return {
    open: () => openSource(sources, { clock, changed, release, isOver: () => signal.aborted }),
    close: () => {
      closed = true;
      changed();
    },
    take: async function* () {
      for (;;) {
        if (signal.aborted) throw asEnd(signal);
        const next = nextOf(sources, clock.monotonicMs());
        if (next.kind === 'line') yield next.line;
        else if (next.kind === 'none' && closed && sources.size === 0) return;
        else {
          const timer = clock.after(holdMs, changed);
          await new Promise<void>(resolve => {
            wake = resolve;
          });
          timer.cancel();
        }
      }
    },
  };
}

function asEnd(signal: AbortSignal): unknown {
  return signal.reason ?? new CoveyError('cancelled', 'Cannot go on: cancelled');
}

interface SourceParts {
  readonly clock: Clock;
  readonly changed: () => void;
  readonly release: (source: Source) => void;
  readonly isOver: () => boolean;
}

function openSource(sources: Set<Source>, { clock, changed, release, isOver }: SourceParts): LineSource {
  const emptySinceMs = clock.monotonicMs();
  const source: Source = { lines: [], bytes: 0, holds: true, emptySinceMs, ended: false, room: undefined };
  sources.add(source);
  return {
    push: async line => {
      source.lines.push(line);
      source.bytes += line.data?.data.length ?? 0;
      changed();
      while (source.bytes > waitingMaxBytes && !isOver()) {
        await new Promise<void>(resolve => {
          source.room = resolve;
        });
      }
    },
    live: () => release(source),
    end: () => {
      source.ended = true;
      if (source.lines.length === 0) sources.delete(source);
      release(source);
    },
  };
}

type Next = { readonly kind: 'line'; readonly line: LogsLine } | { readonly kind: 'wait' } | { readonly kind: 'none' };

function nextOf(sources: Set<Source>, nowMs: number): Next {
  let best: Source | undefined;
  for (const source of sources) {
    const head = source.lines[0];
    if (head === undefined) {
      if (source.holds && nowMs - source.emptySinceMs < holdMs) return { kind: 'wait' };
    } else if (best === undefined || timeOf(head) < timeOf(best.lines[0])) best = source;
  }
  const line = best?.lines.shift();
  if (best === undefined || line === undefined) return { kind: 'none' };
  if (best.lines.length === 0) best.emptySinceMs = nowMs;
  best.bytes -= line.data?.data.length ?? 0;
  best.room?.();
  if (best.ended && best.lines.length === 0) sources.delete(best);
  return { kind: 'line', line };
}

/** A problem is told at once. */
function timeOf(line: LogsLine | undefined): number {
  return line?.data?.atMs ?? 0;
}
