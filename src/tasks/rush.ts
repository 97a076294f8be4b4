/**
 * crun sets the size of the terminal that a program gets beside the program, which it has let go by then: on a busy machine
 * `stty size` sees 0 by 0. So crun is begun as a process that goes before all ordinary ones, by chrt(1), until the program says
 * its first word, or for a moment; what it starts is ordinary from the beginning.
 *
 * Where that may not be, the size comes as soon as it comes. Called by exec-call.ts.
 */
import type { SpawnedProcess } from '../host.js';
import type { Engine } from './engine.js';

/** What the command line of crun begins with. Empty where the kernel does not let us; asked once. */
export function rushPrefix(host: Pick<Engine['host'], 'processes'>): () => Promise<readonly string[]> {
  const flags = ['--fifo', '--reset-on-fork', '1'];
  let answer: Promise<readonly string[]> | undefined;
  const probe = async (): Promise<readonly string[]> => {
    const program = host.processes.findOnPath('chrt');
    if (program === undefined) return [];
    const prefix = [program, ...flags];
    const signal = new AbortController().signal; // bounded by the timeout
    const result = await host.processes
      .run([...prefix, 'true'], { signal, timeoutMs: probeTimeoutMs })
      .catch(() => undefined);
    return result?.exitCode === 0 ? prefix : [];
  };
  return () => {
    answer ??= probe();
    return answer;
  };
}

const probeTimeoutMs = 5_000;
/** Starting a program takes a few milliseconds; copying its output is ordinary work. */
const rushMs = 500;

interface Starting {
  readonly child: SpawnedProcess;
  /** Somebody reads them already. */
  readonly streams: readonly { readonly stream: NodeJS.ReadableStream }[];
}

export function endRush(engine: Engine, { child, streams }: Starting): void {
  const { clock, kernel } = engine.host;
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
