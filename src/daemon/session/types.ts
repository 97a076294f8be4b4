/**
 * What a session needs of the parts of its node, and what it offers to the daemon.
 *
 * Not here: the session itself (session.ts), the manager's half (dispatcher/).
 */
import type {
  AgentMessage,
  Assignments,
  AttachStart,
  BulkFrame,
  CaptureStart,
  CopyStart,
  ExecStart,
  LogsStart,
  ManagerAddress,
  ManagerMessage,
  NodeDescription,
  StatsStart,
  TableItem,
  TaskAnswer,
  TaskReport,
  VerbStart,
  VolumesStart,
} from '../../gen/types.js';
import type { CallOptions, Duplex } from '../../grpc.js';

/** The part of the worker half (tasks/) that a session drives. */
export interface SessionAgent {
  /** Durable on return; then acts in the background. */
  readonly assign: (update: Assignments) => Promise<void>;
  readonly reports: () => readonly TaskReport[];
  /** A manager answers, or none does any more. */
  readonly connected: (isConnected: boolean) => void;
  readonly onReport: (listener: (reports: readonly TaskReport[]) => void) => Disposable;
}

/** The part of the worker half that bulk streams drive. */
export interface BulkAgent {
  readonly exec: (frames: AsyncIterable<BulkFrame>, start: ExecStart, signal: AbortSignal) => AsyncIterable<BulkFrame>;
  readonly logs: (start: LogsStart, signal: AbortSignal) => AsyncIterable<BulkFrame>;
  readonly stats: (start: StatsStart, signal: AbortSignal) => AsyncIterable<BulkFrame>;
  readonly capture: (start: CaptureStart, signal: AbortSignal) => AsyncIterable<BulkFrame>;
  readonly attach: (
    frames: AsyncIterable<BulkFrame>,
    start: AttachStart,
    signal: AbortSignal,
  ) => AsyncIterable<BulkFrame>;
  readonly copy: (frames: AsyncIterable<BulkFrame>, start: CopyStart, signal: AbortSignal) => AsyncIterable<BulkFrame>;
  /** What the node keeps for its tasks. */
  readonly volumes: (start: VolumesStart, signal: AbortSignal) => AsyncIterable<BulkFrame>;
  readonly verb: (start: VerbStart, signal: AbortSignal) => Promise<TaskAnswer>;
}

/** The data plane and resolver of the node. */
export interface SessionTables {
  /** The whole wanted set; resolves when kernel and resolver show it. */
  readonly applyTables: (items: ReadonlyMap<string, TableItem>, signal: AbortSignal) => Promise<void>;
  /** A manager that leads was heard of: what is had on lease is had for longer. */
  readonly heard?: () => void;
}

/** A connection to a manager, closed by who opened it. */
export interface ManagerConnection extends AsyncDisposable {
  /** Who answered where; undefined: this process itself. */
  readonly reached: { readonly nodeId: string; readonly address: string } | undefined;
  readonly session: (options: CallOptions) => Duplex<AgentMessage, ManagerMessage>;
  /** On a TCP connection of its own, made when first needed. */
  readonly bulk: (options: CallOptions) => Promise<BulkLink>;
}

/** A bulk stream; disposing gives its connection back. It lives on when the session ends. */
export interface BulkLink extends Duplex<BulkFrame, BulkFrame>, AsyncDisposable {}

/** Opens a fresh connection to some manager; rejects within about a second when nobody answers. */
export type DialManager = (managers: readonly ManagerAddress[], signal: AbortSignal) => Promise<ManagerConnection>;

export type SessionState =
  | {
      readonly kind: 'connecting';
      readonly problem: Error | undefined;
      /** Since when there is none, by the wall clock. */
      readonly sinceMs: number;
      /** Whether there was one since the daemon started. */
      readonly isLost: boolean;
    }
  | { readonly kind: 'connected'; readonly term: number; readonly sinceMs: number };

export interface Session {
  readonly state: () => SessionState;
  readonly managers: () => readonly ManagerAddress[];
  /** The tables as they were told last. */
  readonly tables: () => ReadonlyMap<string, TableItem>;
  /** Resolves once a manager has welcomed this node and its first full assignments and tables are in effect. */
  readonly ready: (signal: AbortSignal) => Promise<void>;
  /** The facts of the node changed (an image came, an address): says hello again on the open stream. */
  readonly describe: (description: NodeDescription) => void;
}
