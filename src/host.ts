/**
 * The interface to the machine: clock, randomness, files, processes and the kernel's own calls. Everything that is not pure
 * reaches the outside through it, so that tests can stand in for the machine and record what was asked of it.
 *
 * A function names the parts it needs: `Pick<Host, 'clock' | 'files'>`, or one part alone.
 *
 * Not here: the real implementation (host-linux/), the fake for tests (test/fake-host.ts).
 */
import type { Duplex } from 'node:stream';
import type { RandomBytes } from './ids.js';
import type { PacketSocket } from './packet-socket.js';

export interface Host {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
  readonly processes: Processes;
  readonly kernel: Kernel;
  readonly machine: Machine;
}

export interface Clock {
  /** Never goes back, unrelated to the time of day. */
  readonly monotonicMs: () => number;
  /** Unix time; may jump. */
  readonly wallMs: () => number;
  /** Rejects with the signal's reason when aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Calls once after ms unless cancelled. Does not keep the process alive. */
  readonly after: (ms: number, call: () => void) => Timer;
}

export interface Timer {
  readonly cancel: () => void;
}

export interface Random {
  readonly bytes: RandomBytes;
  /** In [0, 1). */
  readonly fraction: () => number;
}

export interface MachineFacts {
  readonly hostname: string;
  /** "Debian GNU/Linux 12". */
  readonly os: string;
  /** OCI names: amd64, arm64. */
  readonly architecture: string;
  readonly kernel: string;
  readonly cpuNanos: number;
  readonly memoryBytes: number;
}

/** What is built in. */
export interface HardwareFacts {
  readonly cpuModel: string;
  readonly cpuSockets: number;
  readonly cpuCores: number;
  readonly disks: readonly {
    readonly name: string;
    readonly sizeBytes: number;
    readonly model: string;
    readonly rotational: boolean;
  }[];
  readonly interfaces: readonly { readonly name: string; readonly mac: string; readonly speedMbps: number }[];
  readonly gpus: readonly { readonly vendor: string; readonly model: string; readonly memoryBytes: number }[];
}

export interface InterfaceAddress {
  readonly interfaceName: string;
  readonly address: string;
  readonly family: 'IPv4' | 'IPv6';
  /** "192.0.2.5/24". */
  readonly prefix?: string;
}

export interface Machine {
  readonly facts: () => Promise<MachineFacts>;
  /** Runs a few programs (lscpu, lsblk, lspci): once is enough. What cannot be found out is left out. */
  readonly hardware: () => Promise<HardwareFacts>;
  /** Those that another machine could use: no loopback, no link-local ones. */
  readonly addresses: () => readonly InterfaceAddress[];
}

export interface FileStat {
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  readonly sizeBytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly inode: number;
  readonly device: number;
  readonly modifiedMs: number;
  /** Of a device node. */
  readonly node?: { readonly type: 'c' | 'b'; readonly major: number; readonly minor: number } | undefined;
}

export interface FileSystemSpace {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/** Paths are absolute. Errors are CoveyError with the path in the message: not-found, no-space, no-permission or internal. */
export interface Files {
  readonly read: (path: string) => Promise<Uint8Array>;
  readonly readText: (path: string) => Promise<string>;
  /** undefined when there is no such file. */
  readonly findText: (path: string) => Promise<string | undefined>;
  /** Synchronous, for the pseudo files of /proc and /sys that never block. */
  readonly findTextSync: (path: string) => string | undefined;
  /** Replaces the file whole and durably: temporary, fsync, rename, fsync of the folder. */
  readonly replace: (path: string, content: string | Uint8Array, options?: { readonly mode?: number }) => Promise<void>;
  /** Writes without durability: pseudo files, files of the run directory. Synchronous variant for hot paths. */
  readonly write: (path: string, content: string | Uint8Array, options?: { readonly mode?: number }) => Promise<void>;
  readonly writeSync: (path: string, content: string | Uint8Array, options?: { readonly mode?: number }) => void;
  readonly append: (path: string, content: string | Uint8Array) => Promise<void>;
  readonly makeDirectory: (path: string, options?: { readonly mode?: number }) => Promise<void>;
  readonly makeDirectorySync: (path: string, options?: { readonly mode?: number }) => void;
  /** Names within; empty when there is no such directory. */
  readonly list: (path: string) => Promise<readonly string[]>;
  /** Does not follow a final symbolic link. */
  readonly findStat: (path: string) => Promise<FileStat | undefined>;
  /** Synchronous, for what lies in the run or data directory: cheaper than the way to another thread and back. */
  readonly findStatSync: (path: string) => FileStat | undefined;
  readonly rename: (from: string, to: string) => Promise<void>;
  /** A file, link or empty directory; nothing when there is none. */
  readonly remove: (path: string) => Promise<void>;
  /** Whole tree; nothing when there is none. Does not cross into mounts silently: a mount point inside is an error. */
  readonly removeTree: (path: string) => Promise<void>;
  readonly symlink: (target: string, path: string) => Promise<void>;
  readonly findLink: (path: string) => Promise<string | undefined>;
  readonly changeOwner: (path: string, uid: number, gid: number) => Promise<void>;
  readonly changeMode: (path: string, mode: number) => Promise<void>;
  readonly space: (path: string) => Promise<FileSystemSpace>;
  /** Calls back when something in the directory changed; only a hint. */
  readonly watch: (path: string, onChange: (name: string | undefined) => void) => AsyncDisposable;
  readonly syncDirectory: (path: string) => Promise<void>;
  readonly openAppend: OpenAppendFile;
  /** For reading at offsets; stays with the file when it is renamed. undefined when there is none. */
  readonly openReader: (path: string) => Promise<FileReader | undefined>;
  /** Writes to a FIFO without waiting. False when nobody reads from it. */
  readonly writePipe: (path: string, content: string) => boolean;
  /** Names within; empty when there is no such directory. Synchronous, for pseudo file systems and the run directory. */
  readonly listSync: (path: string) => readonly string[];
  /** rmdir(2). "busy" covers not empty. */
  readonly removeDirectorySync: (path: string) => 'removed' | 'missing' | 'busy';
  /** unlink(2); nothing when there is none. */
  readonly removeFileSync: (path: string) => void;
}

export interface FileReader extends AsyncDisposable {
  /** Fewer bytes than asked for, or none, at the end. */
  readonly read: (offset: number, sizeMaxBytes: number) => Promise<Uint8Array>;
  readonly stat: () => Promise<FileStat>;
}

/** A file that grows at its end, and whose content is made durable on demand: a log. */
export interface AppendFile extends AsyncDisposable {
  readonly path: string;
  readonly sizeBytes: () => number;
  /** Not durable before `sync`. After a failure the end of the file is unknown until `truncate`. */
  readonly append: (pieces: readonly Uint8Array[]) => Promise<void>;
  /** After a failure nothing is known of what was appended since the last success, and asking again would lie. */
  readonly sync: () => Promise<void>;
  readonly truncate: (sizeBytes: number) => Promise<void>;
}

/** Opens the file for appending, making it when it is missing. */
export type OpenAppendFile = (path: string) => Promise<AppendFile>;

export interface RunOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly input?: string | Uint8Array | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  /** Output kept of each stream; default 1 MiB. */
  readonly outputMaxBytes?: number | undefined;
}

export interface RunResult {
  readonly exitCode: number | undefined;
  /** "SIGKILL" and the like when it was ended by one. */
  readonly signalName: string | undefined;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SpawnOptions {
  /** For each descriptor of the child: nothing, one end of a socket pair whose other end we hold, or a descriptor of ours. */
  readonly stdio: readonly ('ignore' | 'pipe' | number)[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string | undefined;
  /** A session of its own, so that it outlives the daemon. */
  readonly detached: boolean;
}

export interface SpawnedProcess {
  readonly pid: number;
  /** Our ends of the descriptors that were 'pipe', by number. */
  readonly pipes: ReadonlyMap<number, NodeJS.ReadWriteStream & { destroy(): void }>;
  readonly exited: Promise<{ readonly exitCode: number | undefined; readonly signalName: string | undefined }>;
}

export interface Processes {
  readonly pid: number;
  /** Runs to the end; a non-zero exit code is a value, not an error. Rejects when it cannot be started (not-found). */
  readonly run: (argv: readonly string[], options: RunOptions) => Promise<RunResult>;
  readonly spawn: (argv: readonly string[], options: SpawnOptions) => Promise<SpawnedProcess>;
  /** False when there is no such process. */
  readonly kill: (pid: number, signal: number) => boolean;
  /** Start time in clock ticks since boot, and state letter; undefined when there is no such process. */
  readonly findStart: (
    pid: number,
  ) => { readonly startTicks: number; readonly state: string; readonly parent: number } | undefined;
  readonly findOnPath: (program: string) => string | undefined;
  /** A new random text each boot. */
  readonly bootId: () => string;
}

/** An open descriptor of a namespace, pinned under a path. */
export interface NamespaceHandle {
  readonly path: string;
  readonly fd: number;
}

/** A netlink socket that lives in the namespace in which it was opened. Messages: netns/netlink/, netns/conntrack.ts. */
export interface NetlinkSocket extends Disposable {
  /**
   * Sends all messages in one batch and reads the answers, each message of theirs apart, until that many acknowledgements
   * (or ends of dumps) have come. What the kernel refused is an acknowledgement with an errno, not an exception.
   */
  readonly talk: (batch: Uint8Array, acknowledgements: number) => readonly Uint8Array[];
}

/** Hears of what changes in the namespace in which it was opened. */
export interface NetlinkNews extends Disposable {
  /** What has come since the last call, each message apart; never waits. undefined: it was more than the socket keeps. */
  readonly take: () => readonly Uint8Array[] | undefined;
}

/** A context of libnftables that lives in the namespace in which it was opened. */
export interface NftContext extends Disposable {
  /** One transaction; rejects with nftables-refused and the library's text. One at a time; runs in the thread pool. */
  readonly run: (commands: string) => Promise<string>;
  readonly runSync: (commands: string) => string;
}

/** The form of linux.seccomp in an OCI config. */
export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet: number;
  /** "SCMP_ARCH_X86_64" and the like, the native one first. */
  readonly architectures: readonly string[];
  readonly syscalls: readonly SeccompRule[];
}

export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO';
  readonly errnoRet?: number;
  readonly args?: readonly {
    readonly index: number;
    readonly value: number;
    readonly valueTwo?: number;
    readonly op: 'SCMP_CMP_EQ' | 'SCMP_CMP_NE' | 'SCMP_CMP_MASKED_EQ';
  }[];
}

export interface AttachInput extends Disposable {
  /** False: not now, its reader is slow. Throws when the monitor is gone. */
  readonly write: (data: Uint8Array) => boolean;
}

/**
 * System calls that Node does not offer. Each acts at once on the calling thread and never leaves it in another namespace.
 * Errors are CoveyError with the name of the call, the object and the errno.
 */
export interface Kernel {
  readonly mount: (mount: {
    readonly source: string;
    readonly target: string;
    readonly type: string;
    readonly flags: number;
    readonly data?: string | undefined;
    /** Where relative paths in `data` start: many overlay layers fit the page that `data` may fill only by short names. */
    readonly directory?: string | undefined;
    /** The mount shows that network namespace: /sys. */
    readonly inside?: NamespaceHandle | undefined;
  }) => void;
  /** A descriptor of a user namespace whose ids from 0 are those of the host from firstId; good for maps of mounts alone. */
  readonly openUserNamespace: (range: { readonly firstId: number; readonly count: number }) => Promise<number>;
  /** A bind mount whose owners are shown through that map. Refused by file systems that cannot (mount-failed). */
  readonly bindMapped: (mount: {
    readonly source: string;
    readonly target: string;
    readonly namespaceFd: number;
  }) => void;
  /**
   * Binds a directory or file below a root on target (made, of the same kind). No link in the path leads out of the root, and
   * none is followed to a file system that the kernel makes up. not-found when there is none.
   */
  readonly bindBeneath: (bind: { readonly root: string; readonly path: string; readonly target: string }) => void;
  /** Lazy with `detach`; nothing when the target is no mount point. */
  readonly unmount: (target: string, options?: { readonly detach?: boolean }) => void;
  /** A new network namespace, pinned by a bind mount at path (made when missing). */
  readonly makeNetworkNamespace: (path: string) => NamespaceHandle;
  readonly openNamespace: (path: string) => NamespaceHandle;
  readonly closeNamespace: (namespace: NamespaceHandle) => void;
  /** Unpins: unmounts and deletes the file. The namespace ends with its last process and descriptor. */
  readonly removeNamespace: (path: string) => void;
  /** undefined: the namespace of the daemon. */
  readonly openNetlink: (namespace: NamespaceHandle | undefined, family?: 'route' | 'netfilter') => NetlinkSocket;
  /** rtnetlink tells changes to groups (RTNLGRP_… in linux/rtnetlink.h), whoever made them; nfnetlink so too (NFNLGRP_…). */
  readonly followNetlink: (
    namespace: NamespaceHandle | undefined,
    groups: readonly number[],
    family?: 'route' | 'netfilter',
  ) => NetlinkNews;
  readonly openPackets: (
    namespace: NamespaceHandle | undefined,
    /** interfaceIndex 0: all links. */
    options: { readonly protocol: 'all' | 'arp'; readonly interfaceIndex: number },
  ) => PacketSocket;
  readonly openNft: (namespace: NamespaceHandle | undefined) => NftContext;
  /** A socket bound (and listening, for TCP) in the namespace; returns its descriptor for dgram or net. */
  readonly openSocket: (
    namespace: NamespaceHandle | undefined,
    socket: { readonly kind: 'udp' | 'tcp'; readonly address: string; readonly port: number },
  ) => number;
  /**
   * Sockets as openSocket makes them, in the same order, that stay open when this process ends: the next call with this path takes
   * them over with what has arrived meanwhile, or makes new ones when the namespace is another.
   * One path is for one list of sockets.
   */
  readonly openKeptSockets: (
    namespace: NamespaceHandle,
    sockets: readonly { readonly kind: 'udp' | 'tcp'; readonly address: string; readonly port: number }[],
    path: string,
  ) => readonly number[];
  /** Nobody keeps them any more. */
  readonly releaseKeptSockets: (path: string) => void;
  /** A TCP connection that begins in a network namespace given by its path. Rejects with no-connection, or when aborted. */
  readonly connect: (to: {
    readonly namespacePath: string;
    readonly address: string;
    readonly port: number;
    readonly signal: AbortSignal;
  }) => Promise<Duplex>;
  /** Writes a file as seen from inside a network namespace: /proc/sys/net. */
  readonly writeSysctl: (namespace: NamespaceHandle | undefined, name: string, value: string) => void;
  readonly readSysctl: (namespace: NamespaceHandle | undefined, name: string) => string | undefined;
  /** Exclusive, not waiting. False when another process holds it. The descriptor lives as long as the process. */
  readonly lockFile: (path: string) => boolean;
  /** uid and gid at the other end of a connected unix socket. */
  readonly peerCredentials: (fd: number) => { readonly pid: number; readonly uid: number; readonly gid: number };
  /** A datagram to a unix socket path (a leading @ means abstract): sd_notify. */
  readonly sendDatagram: (path: string, text: string) => void;
  /** A pseudo terminal: our end, and the descriptor and path of the other. */
  readonly openTerminal: (size: { readonly rows: number; readonly columns: number }) => {
    readonly masterFd: number;
    readonly slaveFd: number;
    readonly slavePath: string;
  };
  readonly resizeTerminal: (masterFd: number, size: { readonly rows: number; readonly columns: number }) => void;
  /**
   * Lets a process run before all ordinary ones, its children not, or lets it be an ordinary one again. False when it is gone or
   * that may not be.
   */
  readonly setUrgent: (pid: number, isUrgent: boolean) => boolean;
  /** Sets the size of a terminal by the path of its other end, as seen from here: /proc/PID/fd/0. */
  readonly resizeTerminalAt: (slavePath: string, size: { readonly rows: number; readonly columns: number }) => void;
  /** Bytes of our end. Ends when the last holder of the other end is gone; takes over the descriptor. */
  readonly openTerminalStream: (masterFd: number) => NodeJS.ReadWriteStream & { destroy(): void };
  /**
   * Our end of a monitor's attach socket (SOCK_SEQPACKET), for input only: its output is refused from the start, so that the
   * monitor never waits for us.
   */
  readonly openAttachInput: (path: string) => AttachInput;
  /** A seccomp filter as the kernel takes it, by libseccomp; undefined when the library is not there. */
  readonly compileSeccomp: (profile: SeccompProfile) => Uint8Array | undefined;
  readonly closeFd: (fd: number) => void;
}
