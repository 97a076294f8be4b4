/**
 * Has the images of a task here before it is made, pulling what is missing, and tells how far that is: as often as people can
 * read, because each word goes through the log of the managers.
 *
 * Called by controller.ts. Not here: pulling (image/pull.ts), making the task (prepare.ts).
 */
import type { Task } from '../gen/types.js';
import type { Clock, Timer } from '../host.js';
import type { Engine } from './engine.js';
import type { Gate } from './gate.js';
import { explainFailure } from './no-room.js';
import { prepareTask } from './prepare.js';
import type { Monitored } from './runtime/conmon.js';

const noteEveryMs = 2_000;

export interface ObtainOptions {
  readonly onNote: (text: string) => void;
  /** Another attempt, without managers: the image that is here is the one. */
  readonly isAgain: boolean;
  readonly signal: AbortSignal;
}

/** Pulls outside of the gate: who waits for a registry must not keep others from being made. */
export async function obtainAndPrepare(
  { engine, creations }: { readonly engine: Engine; readonly creations: Gate },
  task: Task,
  options: ObtainOptions,
): Promise<readonly Monitored[]> {
  await obtainImages(engine, task, options);
  return await creations.pass(options.signal, async () => {
    try {
      return await prepareTask(engine, task, options.signal);
    } catch (error) {
      throw await explainFailure(engine, error); // what was made is still there, and in the way of nothing else
    }
  });
}

async function obtainImages(
  engine: Pick<Engine, 'images' | 'host' | 'secrets'>,
  task: Task,
  { onNote, isAgain, signal }: ObtainOptions,
): Promise<void> {
  const credentials = engine.secrets.findPullCredentials(task);
  using notes = openNotes(engine.host.clock, onNote);
  for (const { image, policy } of imagesOf(task)) {
    const request = { taskId: task.id, image, policy: isAgain ? 'missing' : policy, credentials, onNote: notes.say };
    await engine.images.ensure(request, signal);
  }
}

/** Those of the containers, and those that are mounted. */
function imagesOf({ spec }: Task): readonly { readonly image: string; readonly policy: string }[] {
  return spec.containers.flatMap(({ image, pullPolicy, mounts }) => [
    { image, policy: pullPolicy },
    ...mounts.flatMap(({ kind, source }) => (kind === 'image' ? [{ image: source, policy: pullPolicy }] : [])),
  ]);
}

interface Notes extends Disposable {
  readonly say: (text: string) => void;
}

/** The first at once, then the latest of each interval. */
function openNotes(clock: Clock, tell: (text: string) => void): Notes {
  let latest: string | undefined;
  let timer: Timer | undefined;
  const flush = (): void => {
    timer = undefined;
    if (latest === undefined) return;
    tell(latest);
    latest = undefined;
    timer = clock.after(noteEveryMs, flush);
  };
  return {
    say: text => {
      latest = text;
      if (timer === undefined) flush();
    },
    [Symbol.dispose]: () => timer?.cancel(),
  };
}
