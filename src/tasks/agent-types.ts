/**
 * The agent as the rest of the daemon sees it: assignments in, reports out, logs and exec on the side.
 *
 * Not here: how a task is carried out (controller.ts, task.ts), the stream to the managers (daemon/session).
 */
import type {
  Assignments,
  AttachStart,
  BulkFrame,
  CopyStart,
  ExecStart,
  LogsStart,
  StatsStart,
  Task,
  TaskAnswer,
  TaskReport,
  VerbStart,
} from '../gen/types.js';
import type { Host } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import type { Logger } from '../telemetry.js';
import type { TaskImages, TaskVolumes } from './images.js';
import type { NodePolicy } from './isolation.js';
import type { TaskNetwork } from './network.js';
import type { UserNamespaces } from './userns.js';

export interface AgentOptions {
  readonly host: Host;
  /** Durable: tasks/<id> lies in it. */
  readonly dataDir: string;
  /** Gone after a reboot: bundles, exits, secrets, the runtime's state. */
  readonly runDir: string;
  /** Heads container ids and is the parent cgroup. At most 8 characters. */
  readonly prefix: string;
  readonly runtime: RuntimeChoice;
  readonly images: TaskImages;
  readonly network: TaskNetwork;
  /** Without: tasks with volumes are rejected. */
  readonly volumes?: TaskVolumes | undefined;
  /** Default: made here, with the default range. */
  readonly userns?: UserNamespaces | undefined;
  /** Default: no user namespaces unless asked for, no privileged containers. */
  readonly policy?: NodePolicy | undefined;
  /** Where specifications of CDI devices lie; default /etc/cdi and /var/run/cdi. */
  readonly cdiFolders?: readonly string[] | undefined;
  /** Between two looks at what a task uses; default 5 s, 0: never. */
  readonly limitsEveryMs?: number | undefined;
  /** Argv of the child that copies files out of containers and into them. */
  readonly copyCommand: readonly string[];
  readonly log: Logger;
  readonly lifetime: Lifetime;
}

/** The low-level runtime that works on this node, and where the monitor is (runtime/probe.ts finds them). */
export interface RuntimeChoice {
  readonly name: 'crun' | 'runc';
  readonly path: string;
  readonly version: string;
  readonly conmonPath: string;
  /** It takes a compiled system call filter (crun's annotation run.oci.seccomp_bpf_data): tried, not assumed. */
  readonly takesFilter: boolean;
  /** Makes the host fit for it again, when that was undone behind our back; false when there is nothing to mend. */
  readonly mend?: (() => boolean) | undefined;
}

export interface Agent {
  /** Once, before the first assign: adopts what runs, redoes or undoes what was interrupted, then sweeps. */
  recover(signal: AbortSignal): Promise<void>;
  /** Durable on return; acts in the background. `full`: tasks that are not named are stopped and removed. */
  assign(update: Assignments): Promise<void>;
  /** Of all tasks. */
  reports(): readonly TaskReport[];
  /** All that are known here, with what is seen of them. */
  tasks(): readonly Task[];
  /** Coalesced over about 10 ms; only what changed. */
  onReport(listener: (reports: readonly TaskReport[]) => void): Disposable;
  exec(frames: AsyncIterable<BulkFrame>, start: ExecStart, signal: AbortSignal): AsyncIterable<BulkFrame>;
  logs(start: LogsStart, signal: AbortSignal): AsyncIterable<BulkFrame>;
  /** What running tasks use, as figures. */
  stats(start: StatsStart, signal: AbortSignal): AsyncIterable<BulkFrame>;
  attach(frames: AsyncIterable<BulkFrame>, start: AttachStart, signal: AbortSignal): AsyncIterable<BulkFrame>;
  copy(frames: AsyncIterable<BulkFrame>, start: CopyStart, signal: AbortSignal): AsyncIterable<BulkFrame>;
  /** Answers when it is so. */
  verb(start: VerbStart, signal: AbortSignal): Promise<TaskAnswer>;
  /** A manager answers, or none does any more. */
  connected(isConnected: boolean): void;
  /** Removes what bears our prefix and belongs to no task; returns what it removed, a line each. */
  sweep(): Promise<readonly string[]>;
  /** For leave: stops and removes every task, then everything that is ours in the kernel. Returns how many tasks ran. */
  stopAll(signal: AbortSignal): Promise<number>;
}
