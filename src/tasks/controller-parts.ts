/**
 * What the controller of one task is given, and what may be wished of it.
 *
 * Not here: the controller (controller.ts), who makes it (worker.ts).
 */
import type { Lifetime } from '../lifetime.js';
import type { Engine } from './engine.js';
import type { Gate } from './gate.js';
import type { TaskFile } from './task-file.js';

export interface ControllerParts {
  readonly engine: Engine;
  readonly lifetime: Lifetime;
  /** Of creations at work on this node at once. */
  readonly creations: Gate;
  readonly bootId: string;
  /** Look again soon. */
  readonly touch: () => void;
  /** The status changed. */
  readonly onStatus: () => void;
}

export type Wish = Pick<TaskFile, 'task' | 'unwanted'>;
