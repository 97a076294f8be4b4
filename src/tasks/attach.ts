/**
 * Joins the streams of a container's own process: its output from now on, its input if it has one.
 *
 * The output is read from the log, byte for byte as it was written: the monitor never waits for a reader, and a slow one lags
 * behind in a file, which is bounded by the log's limits and says so when it lost something. The attach socket of the monitor
 * carries the input alone; a client of it that does not read would freeze the container.
 *
 * Keeps true: the container runs on as if nobody were there, whatever the caller does. A caller that goes away leaves it so.
 *
 * Not here: programs run besides it (exec.ts), the relay to whoever asked (daemon/bulk).
 */
import { CoveyError } from '../errors.js';
import type { AttachStart, BulkFrame } from '../gen/types.js';
import type { AttachInput } from '../host.js';
import type { TaskController } from './controller.js';
import type { Engine } from './engine.js';
import { getContainer } from './find-container.js';
import { logLimitsOf } from './log-rotation.js';
import { readLogs } from './logs.js';
import { resizeMonitored } from './runtime/conmon.js';
import { viewOf } from './verb-actions.js';
import { checkVerb } from './verbs.js';

export interface AttachCall {
  readonly controller: TaskController;
  readonly start: AttachStart;
  readonly frames: AsyncIterable<BulkFrame>;
  /** Resolves when the log may have grown, or the task ended. */
  readonly grown: (signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

/** As much as one packet of the monitor holds. */
const packetBytes = 8_192;
const inputRetryMs = 5;

export async function* attachTo(engine: Engine, call: AttachCall): AsyncIterable<BulkFrame> {
  const { controller, start } = call;
  const index = getContainer(controller.task, start.container);
  checkVerb('attach', viewOf(controller));
  const spec = controller.task.spec.containers[index];
  if (spec === undefined || controller.containers[index]?.phase !== 'running') {
    throw new CoveyError(
      'task-not-running',
      `Cannot attach to task ${controller.task.id}: the container does not run`,
      {
        state: `it is ${controller.containers[index]?.phase ?? 'none'}`,
      },
    );
  }
  const bundle = engine.paths.bundle(controller.task.id, index);
  const detached = new AbortController();
  const signal = AbortSignal.any([call.signal, detached.signal]);
  using input = start.stdin && spec.stdin ? engine.host.kernel.openAttachInput(`${bundle}/attach`) : undefined;
  if (spec.tty && start.size !== undefined) resizeMonitored(engine.host.files, bundle, start.size);
  let isOpen = false;
  // Not before the log is open: the answer to the input would be missed.
  const opened = (): void => {
    if (isOpen) return;
    isOpen = true;
    void pump(engine, call, { bundle, input, tty: spec.tty, signal }).then(
      end => {
        if (end === 'detached') detached.abort(new CoveyError('cancelled', 'Cannot go on: detached'));
      },
      error => engine.log.debug('the input of an attach ended', { task: controller.task.id, error }),
    );
  };
  const isEnded = (): boolean => controller.ended || controller.containers[index]?.phase === 'ended';
  yield* readLogs(engine.host.files, {
    path: engine.paths.log(controller.task.id, index),
    filesMax: logLimitsOf(spec).filesMax,
    tail: 0,
    sinceMs: 0,
    untilMs: 0,
    follow: true,
    pieces: true,
    opened,
    isEnded,
    grown: call.grown,
    signal,
  });
  const exitCode = isEnded() ? controller.containers[index]?.exitCode : undefined;
  yield { body: { kind: 'end', exitCode } };
}

interface Target {
  readonly bundle: string;
  readonly input: AttachInput | undefined;
  readonly tty: boolean;
  readonly signal: AbortSignal;
}

async function pump(engine: Engine, { frames }: AttachCall, target: Target): Promise<'detached' | 'ended'> {
  for await (const { body } of frames) {
    if (target.signal.aborted) return 'ended';
    if (body.kind === 'detach') return 'detached';
    if (body.kind === 'resize' && target.tty) resizeMonitored(engine.host.files, target.bundle, body);
    if (body.kind === 'data' && body.stream === 'stdin') await send(engine, target, body.data);
  }
  return 'ended';
}

/** Waits while the program does not read; the end of the input is kept from it, because others may attach after us. */
async function send(engine: Engine, { input, signal }: Target, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length && input !== undefined; at += packetBytes) {
    const packet = data.subarray(at, at + packetBytes);
    while (!input.write(packet)) await engine.host.clock.sleep(inputRetryMs, signal);
  }
}
