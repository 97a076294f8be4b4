/**
 * What the task engine needs of the images of this node. The image part offers it; the composition root hands it over.
 *
 * Not here: import, layers, the index of names (image/).
 */
import type { TaskId } from '../ids.js';

/** The part of an OCI image config that says how its program is run. Absent fields are empty. */
export interface ImageRunConfig {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly user: string;
  readonly workingDir: string;
  readonly stopSignal: string;
  readonly volumes: readonly string[];
  readonly healthcheck: ImageHealthcheck | undefined;
}

export interface ImageHealthcheck {
  /** ["NONE"], ["CMD", …] or ["CMD-SHELL", "…"]. */
  readonly test: readonly string[];
  /** 0 means the default. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
  readonly retries: number;
}

export interface ImageRecord {
  readonly digest: string;
  readonly config: ImageRunConfig;
  /** The diffIDs, lowest first. */
  readonly layers: readonly string[];
}

export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** The home directory of /etc/passwd, "/" when there is no entry. */
  readonly home: string;
}

/** Owners of files as a container with a user namespace has them: its ids 0 to count-1 are those of the host from firstId. */
export interface OwnerMap {
  readonly firstId: number;
  readonly count: number;
  /** Where that folder is to be seen with its owners mapped. */
  readonly view: (folder: string) => Promise<string>;
}

/** How a root file system is shown. */
export interface RootLook {
  /** Its owners. */
  readonly map?: OwnerMap | undefined;
  /** SELinux: the label of all that is in it. */
  readonly label?: string | undefined;
}

/** What a task needs of an image before it can be made. */
export interface ImageWanted {
  readonly taskId: TaskId;
  readonly image: string;
  /** "missing" or empty: pulled when it is not here; "always": asked for each time; "never". */
  readonly policy: string;
  /** Credentials of its service, in the form of Docker's config.json: they go before those of the node. */
  readonly credentials?: string | undefined;
  /** How far the pull is, for people. */
  readonly onNote: (text: string) => void;
}

export interface TaskImages {
  find(reference: string): ImageRecord | undefined;
  /** Has the image here, pulling it if need be, and in use by the task when this resolves. */
  ensure(wanted: ImageWanted, signal: AbortSignal): Promise<ImageRecord>;
  /** Mounts overlay: lower = layers, upper and work under directory. Idempotent. */
  mountRoot(image: ImageRecord, directory: string, look?: RootLook): Promise<{ readonly rootPath: string }>;
  /** Lazy when busy; idempotent; removes upper and work. */
  unmountRoot(directory: string): Promise<void>;
  /** In use: may not be removed. Idempotent per task and digest. */
  acquire(taskId: TaskId, digest: string): void;
  release(taskId: TaskId): void;
  /** uid, gid and groups of "name", "uid", "name:group", "uid:gid" by the /etc/passwd and /etc/group of a root file system. */
  resolveUser(rootPath: string, user: string, groups: readonly string[]): Promise<ResolvedUser>;
}

/** What the task engine needs of named and anonymous volumes. */
export interface TaskVolumes {
  /**
   * The directory that holds the volume's data, made when missing. A fresh volume gets what the image has at `target`, unless
   * noCopy. An empty name means an anonymous volume, which ends with its task.
   */
  prepare(request: {
    readonly taskId: TaskId;
    readonly name: string;
    readonly rootPath: string;
    readonly target: string;
    readonly noCopy: boolean;
    /** With an empty name: the same for all containers of the task that give it. */
    readonly shared?: string;
    /** Of the driver local, for a volume that is made now. One that is there has to have the same, if any are given. */
    readonly options?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
  }): Promise<{ readonly path: string }>;
  /**
   * Removes the anonymous volumes of the task, and notes that it uses the named ones no more; idempotent. `names`: those that
   * it may use; not given: any.
   */
  release(taskId: TaskId, names?: readonly string[]): Promise<void>;
}
