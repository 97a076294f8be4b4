/**
 * What the network of a node offers to its users (daemon/node.ts wires it; tasks and the session declare the parts they use)
 * and what it needs of them.
 *
 * Not here: how it is done (index.ts has the way through the folder).
 */
import type { CaptureStart, NetworkMended, NodeRoute, NodeTunnel, TableItem, Task } from '../gen/types.js';
import type { Host, NamespaceHandle } from '../host.js';
import type { NodeId, TaskId } from '../ids.js';
import type { Telemetry } from '../telemetry.js';
import type { FirewallProblem } from './legacy-firewall.js';

/** The parts of the machine that the network uses. */
export type NetworkHost = Pick<Host, 'clock' | 'random' | 'files' | 'kernel'> & {
  readonly processes: Pick<Host['processes'], 'run' | 'spawn' | 'findOnPath'>;
};

export interface NetworkOptions {
  readonly host: NetworkHost;
  readonly telemetry: Telemetry;
  /** Heads the host link ("covey0"), the nft tables and the comments of accept rules. At most 8 characters. */
  readonly prefix: string;
  /** Pins of namespaces (netns/), records of attachments and of what was changed on the host (network/). Gone after a boot. */
  readonly runDir: string;
  /** Holds network/tables.json, the last identity and tables: all is there after a boot without any manager. */
  readonly dataDir: string;
  /** The namespace that stands for the host. Default: that of the daemon. */
  readonly namespace?: NamespaceHandle | undefined;
  /** Resolvers that names outside of the cluster are asked of, "address" or "address:port". Default: resolv.conf of the host. */
  readonly upstreams?: (() => readonly string[]) | undefined;
  /** TCP port at which this daemon listens for other nodes. Default: 7377. */
  readonly clusterPort?: number | undefined;
  /** From the end of one look to the next. Default: 1,000. */
  readonly glanceEveryMs?: number | undefined;
}

/** This node within its cluster, known after init or join. */
export interface NetworkIdentity {
  readonly nodeId: NodeId;
  /** 1 to 16,383. */
  readonly tunnelIndex: number;
  /** Address of this node that other nodes send VXLAN packets to; owned by an interface of the host. */
  readonly dataAddress: string;
  readonly dataPort: number;
  readonly vniOverlay: number;
  readonly vniIngress: number;
}

/** The two ends of the link between host and fabric, a /30 that nothing on the host uses. */
export interface HostLink {
  readonly hostAddress: string;
  readonly fabricAddress: string;
}

/** The two VXLAN network identifiers of a cluster: between containers, and for what entered by a published port. */
export interface ClusterVnis {
  readonly overlay: number;
  readonly ingress: number;
}

export interface NetworkAttached {
  /** Path of the pinned namespace; undefined: the task uses that of the host. */
  readonly namespacePath: string | undefined;
  readonly nameservers: readonly string[];
  readonly searchDomains: readonly string[];
  /** The name servers know the resolvers that the task asks for, and ask them for names outside of the cluster. */
  readonly takesUpstreams: boolean;
}

/** One thing that is different on the host because of covey. */
export interface HostChange {
  readonly kind: 'namespace' | 'link' | 'address' | 'sysctl' | 'nft-table' | 'nft-rule';
  /** "covey0", "net.ipv4.conf.eth0.forwarding", "inet covey", "ip filter FORWARD". */
  readonly name: string;
  /** In words: "0 -> 1", "169.254.2.1/30", "accepts what enters and leaves by covey0". */
  readonly detail: string;
}

export interface NetworkFacts {
  readonly routes: readonly NodeRoute[];
  readonly networkMended: NetworkMended | undefined;
  readonly tunnel: NodeTunnel;
}

export interface NetworkStack extends AsyncDisposable {
  /**
   * Finds what an earlier daemon left in the kernel (fabric, links, rules) and takes it over as it is; with the identity and
   * tables of the last run on disk, all of it is in effect again without any manager. Called once, at start, before anything
   * else. The timer of `check` runs from here on.
   */
  recover(): Promise<void>;
  /**
   * Makes or mends fabric, host link, tunnel devices, rules and resolver for this identity. Called when the identity is known
   * and again whenever it changes; nothing happens when it is in effect already.
   */
  configure(identity: NetworkIdentity): Promise<void>;
  /** Namespace pinned, link, addresses, routes, resolver reachable. Idempotent. Needs `configure`, except for host and none. */
  attach(task: Task, signal: AbortSignal): Promise<NetworkAttached>;
  /** Idempotent. The link goes with the namespace, when its last process has ended. */
  detach(taskId: TaskId): Promise<void>;
  /** Tasks of which something exists in the kernel. */
  attached(): readonly TaskId[];
  /** The whole wanted set; resolves when kernel and resolver show it. A later call may overtake an earlier one. */
  applyTables(items: ReadonlyMap<string, TableItem>, signal: AbortSignal): Promise<void>;
  /** Compares the kernel with what is wanted and mends what differs. Says what it mended. Also done once a minute. */
  check(): Promise<readonly string[]>;
  /**
   * The same when the kernel has told of changes that are not ours, which costs next to nothing to ask. With `host`, switches
   * of the host and of the fabric are looked at too, of which the kernel says nothing. Also done every second, with `host`
   * every fourth.
   */
  glance(options: { readonly host: boolean }): Promise<readonly string[]>;
  /** What managers are told of this node's network. */
  facts(): NetworkFacts;
  /** Called when the node's own looks have found something and mended it, at most every ten seconds. */
  onMended(listener: () => void): void;
  /** Packets of a task as a file in the form of pcap, or lines about their way through the rules. */
  capture(start: CaptureStart, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** A manager that leads was heard of: floating addresses are had for the length of another lease. */
  heard(): void;
  /** What is different on the host because of covey, now. */
  changes(): readonly HostChange[];
  /** What managers are told: means of encryption, public keys, the step that is in effect. */
  tunnelFacts(): NodeTunnel;
  /** Where the host's firewall is in the way and could not be opened, as of the last check. */
  firewallProblems(): readonly FirewallProblem[];
  /** For leave: everything undone, sysctls as before; a line for each thing undone. Tasks have to be detached before. */
  removeEverything(): Promise<readonly string[]>;
}
