/**
 * What the node still has to say on its open session. Kept as state, not as a queue: the latest status of each task, the
 * latest acknowledgement, the next heartbeat; so a slow connection costs no memory and gets the latest only.
 *
 * Not here: the stream (session.ts).
 */
import type { AgentMessage, NodeDescription, TaskReport } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { sessionProtocols } from '../../version.js';

export interface Outbox {
  readonly reports: (reports: readonly TaskReport[]) => void;
  readonly assignmentsDone: (sequence: number) => void;
  readonly tablesShown: (version: number) => void;
  readonly heartbeat: (sequence: number) => void;
  readonly hello: (hello: HelloParts) => void;
  /** The next thing to say, or undefined. */
  readonly take: () => AgentMessage | undefined;
  /** Resolves when there is something to say or the signal aborts. */
  readonly filled: (signal: AbortSignal) => Promise<void>;
}

export interface HelloParts {
  readonly description: NodeDescription;
  readonly tasks: readonly TaskReport[];
  readonly bootId: string;
  readonly wallMs?: number;
}

/** What a node says of itself now. */
export function helloOf(
  { bootId, clock }: { readonly bootId: string; readonly clock: Clock },
  description: NodeDescription,
  tasks: readonly TaskReport[],
): HelloParts {
  return { description, tasks, bootId, wallMs: clock.wallMs() };
}

/** Reports in one message. */
const reportsMax = 500;

export function makeOutbox(): Outbox {
  const reports = new Map<string, TaskReport>();
  let hello: HelloParts | undefined;
  let acknowledged = { assignments: 0, tables: 0 };
  let acknowledge = false;
  let heartbeat: number | undefined;
  let wake: (() => void) | undefined;
  const filled = (): boolean => hello !== undefined || reports.size > 0 || acknowledge || heartbeat !== undefined;
  return {
    reports: latest => {
      for (const report of latest) reports.set(report.taskId, report);
      if (filled()) wake?.();
    },
    assignmentsDone: assignments => {
      acknowledged = { ...acknowledged, assignments };
      acknowledge = true;
      wake?.();
    },
    tablesShown: tables => {
      acknowledged = { ...acknowledged, tables };
      acknowledge = true;
      wake?.();
    },
    heartbeat: sequence => {
      heartbeat = sequence;
      wake?.();
    },
    hello: parts => {
      hello = parts;
      wake?.();
    },
    take: () => {
      if (hello !== undefined) {
        const message = helloMessage(hello);
        hello = undefined;
        return message;
      }
      if (reports.size > 0) {
        const tasks = [...reports.values()].slice(0, reportsMax);
        for (const { taskId } of tasks) reports.delete(taskId);
        return { body: { kind: 'status', tasks } };
      }
      if (acknowledge) {
        acknowledge = false;
        return { body: { kind: 'acknowledgement', ...acknowledged } };
      }
      if (heartbeat === undefined) return undefined;
      const sequence = heartbeat;
      heartbeat = undefined;
      return { body: { kind: 'heartbeat', sequence } };
    },
    filled: signal =>
      new Promise(resolve => {
        const finish = (): void => {
          wake = undefined;
          signal.removeEventListener('abort', finish);
          resolve();
        };
        wake = finish;
        signal.addEventListener('abort', finish, { once: true });
        if (filled() || signal.aborted) finish();
      }),
  };
}

export function helloMessage(parts: HelloParts): AgentMessage {
  return { body: { kind: 'hello', protocolMin: sessionProtocols.min, protocolMax: sessionProtocols.max, ...parts } };
}
