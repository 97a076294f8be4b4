/**
 * Tasks that their node stops by itself because it has heard no manager for as long as their service says
 * (--stop-after-disconnect): so that what must never run twice has stopped when it is started elsewhere.
 *
 * `findForsaken` is the rule; `openForsaken` keeps since when there is no manager, and is asked once a second. A daemon that
 * starts has heard none from then on. Called by worker.ts. Not here: the stop itself (controller.ts).
 */
import type { Task } from '../gen/types.js';
import type { Clock } from '../host.js';
import type { Logger } from '../telemetry.js';

interface Forsakeable {
  readonly task: Task;
  readonly ended: boolean;
  readonly giveUp: (because: string) => Promise<void>;
}

export interface Forsaken {
  readonly connected: (isConnected: boolean) => void;
  readonly look: (controllers: Iterable<Forsakeable>) => Promise<void>;
}

function findForsaken<Controller extends Forsakeable>(
  controllers: Iterable<Controller>,
  aloneMs: number,
): readonly Controller[] {
  return [...controllers].filter(({ task, ended }) => {
    const isWanted = task.desired === 'running' || task.desired === 'ready';
    return !ended && isWanted && task.stopAfterDisconnectMs !== undefined && aloneMs >= task.stopAfterDisconnectMs;
  });
}

export function openForsaken({ clock, log }: { readonly clock: Clock; readonly log: Logger }): Forsaken {
  let aloneSinceMs: number | undefined = clock.monotonicMs();
  return {
    connected: isConnected => {
      if (isConnected) aloneSinceMs = undefined;
      else aloneSinceMs ??= clock.monotonicMs();
    },
    look: async controllers => {
      if (aloneSinceMs === undefined) return;
      const aloneMs = clock.monotonicMs() - aloneSinceMs;
      for (const controller of findForsaken(controllers, aloneMs)) {
        const because = `stopped by its node, which has heard no manager for ${Math.round(aloneMs / 1_000)} s`;
        log.warn('stops a task that must not run without managers', { task: controller.task.id, aloneMs });
        await controller.giveUp(because);
      }
    },
  };
}
