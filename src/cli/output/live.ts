/**
 * Lines that are drawn over on a terminal, at most ten times a second.
 *
 * Not here: the lines (progress.ts). In a pipe nobody opens this.
 */

import type { Output } from '../../console.js';
import type { Clock } from '../../host.js';

const frameMs = 100;

export interface Live {
  /** The picture from now on. */
  readonly show: (lines: readonly string[]) => void;
  /** Draws the last picture, or what it should end as, and leaves it on the screen. Nothing is drawn after that. */
  readonly end: (lines?: readonly string[]) => Promise<void>;
}

export function openLive(output: Output, clock: Clock): Live {
  let drawn = 0;
  let wanted: readonly string[] = [];
  let last = Number.NEGATIVE_INFINITY;
  let hasEnded = false;
  let timer: { cancel(): void } | undefined;
  const draw = (): Promise<void> => {
    timer?.cancel();
    timer = undefined;
    last = clock.monotonicMs();
    const frame = renderFrame(drawn, wanted);
    drawn = wanted.length;
    return output.write(frame);
  };
  return {
    show: lines => {
      if (hasEnded) return;
      if (lines.length === wanted.length && lines.every((line, at) => line === wanted[at])) return;
      wanted = lines;
      const wait = last + frameMs - clock.monotonicMs();
      if (wait <= 0) void draw();
      else timer ??= clock.after(wait, () => void draw());
    },
    end: async lines => {
      if (hasEnded) return;
      hasEnded = true;
      wanted = lines ?? wanted;
      await draw();
    },
  };
}

/** What turns a picture of `before` lines into the next one. */
export function renderFrame(before: number, lines: readonly string[]): string {
  const up = before > 0 ? `\u{1b}[${before}A\r` : '';
  return `${up}${lines.map(line => `\u{1b}[2K${line}\n`).join('')}\u{1b}[J`;
}
