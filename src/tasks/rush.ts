/**
 * crun sets the size of the terminal that a program gets beside the program, which it has let go by then: on a busy machine
 * `stty size` sees 0 by 0. So crun goes before everything else until the program says its first word, or for a moment; what it
 * starts does not.
 *
 * Where the kernel does not let us, the size comes as soon as it comes. Called by exec-call.ts.
 */
import type { SpawnedProcess } from '../host.js';
import type { Engine } from './engine.js';

/** Starting a program takes a few milliseconds; copying its output is ordinary work. */
const rushMs = 500;

interface Starting {
  readonly child: SpawnedProcess;
  /** Somebody reads them already. */
  readonly streams: readonly { readonly stream: NodeJS.ReadableStream }[];
}

export function rush(engine: Engine, { child, streams }: Starting): void {
  const { clock, kernel } = engine.host;
  if (!kernel.setUrgent(child.pid, true)) return;
  let isOver = false;
  const over = (): void => {
    if (isOver) return;
    isOver = true;
    timer.cancel();
    kernel.setUrgent(child.pid, false);
  };
  const timer = clock.after(rushMs, over);
  for (const { stream } of streams) stream.once('data', over);
  void child.exited.finally(() => {
    isOver = true; // its number may be somebody else's
    timer.cancel();
  });
}
