/**
 * What runs while this machine is a node: the agent, the session to the managers, the certificate's renewal, and on a
 * manager the parts of the cluster.
 *
 * Keeps true: the network is configured before tables are applied to it; containers of an earlier daemon are adopted before
 * the first assignment; ending it stops no container.
 *
 * Called by node.ts at start, and by the flows of init and join. Not here: becoming or ceasing to be a node (membership/).
 */

import type { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { Finding, ManagerAddress, NodeDescription, ObjectCounts, Trust } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import type { Host } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import type { NetworkStack } from '../netns/index.js';
import type { Write } from '../raft/store.js';
import { type Agent, openAgent, type RuntimeChoice, type TaskImages, type TaskVolumes } from '../tasks/index.js';
import type { UserNamespaces } from '../tasks/userns.js';
import type { Telemetry } from '../telemetry.js';
import type { Wire } from '../wire.js';
import { type AddressHint, firstAddresses, followAddresses, takeHint } from './address-news.js';
import { framesOf } from './bulk/capture.js';
import { certificateFactsOf } from './ca/authority.js';
import { holdIdentity, type IdentityHolder, type NodeIdentity, openRenewal } from './ca/index.js';
import { type RenewalOptions, renewOnce } from './ca/renewal.js';
import { type ClockSanity, openClockSanity } from './clock-sanity.js';
import { type ClusterParts, openClusterParts } from './cluster-parts.js';
import type { Settings } from './config.js';
import { heardMsOf, nodeFactsOf } from './doctor/node-facts.js';
import { judgeNode } from './doctor/node-findings.js';
import { countObjects } from './group/backup.js';
import { openWhereabouts, type Whereabouts } from './group/whereabouts.js';
import { withImageNews } from './image-news.js';
import { type KeyKeeper, type Lock, lockedError } from './keys/index.js';
import { lockedControl, withLockFinding } from './locked.js';
import {
  alignIdentity,
  type KnownAnew,
  type Member,
  type Membership,
  type RoleNews,
  saveIdentity,
} from './membership/index.js';
import { routeRenewal } from './renewal-route.js';
import { makeDial } from './session/dial.js';
import { openSessionMemory, type SessionMemory } from './session/memory.js';
import { openReach, type Reach } from './session/reach.js';
import { openSession } from './session/session.js';
import type { BulkAgent, Session } from './session/types.js';
import { showTables } from './show-tables.js';
import { type WorkerMemory, workerControl } from './worker-control.js';

export interface MemberNodeOptions {
  readonly settings: Settings;
  readonly host: Host;
  readonly wire: Wire;
  readonly telemetry: Telemetry;
  readonly lifetime: Lifetime;
  readonly keys: KeyKeeper;
  readonly member: Member;
  readonly bootstrap: readonly Write[];
  readonly images: TaskImages;
  readonly userns: UserNamespaces;
  readonly volumes: TaskVolumes;
  /** What managers ask of them. */
  readonly askVolumes: BulkAgent['volumes'];
  readonly copyCommand: readonly string[];
  readonly network: NetworkStack;
  readonly runtime: RuntimeChoice;
  readonly describe: (asked: {
    readonly advertiseAddress: string;
    readonly dataPathAddress: string;
  }) => Promise<NodeDescription>;
  readonly onStoreFailed: (error: Error) => void;
  /** The program of the log's thread. */
  readonly workerFile: URL;
  /** The managers say that this node is something else than it is. */
  readonly onRole: (change: RoleNews) => void;
  /** The managers' group was made anew without this node. */
  readonly onSuperseded: (error: CoveyError) => void;
  /** It is so: this node runs no member, and learns from the new managers what it is. */
  readonly isSuperseded: boolean;
  readonly signal: AbortSignal;
}

export interface MemberNode {
  readonly membership: Membership;
  readonly identity: () => NodeIdentity;
  readonly otherManagers: () => readonly { readonly address: string; readonly nodeId: string }[];
  readonly stopTasks: (signal: AbortSignal) => Promise<number>;
  readonly isLeader: () => boolean;
  readonly isConnected: () => boolean;
  readonly managers: () => readonly ManagerAddress[];
  readonly tasksRunning: () => number;
  readonly counts: () => ObjectCounts | undefined;
  readonly control: Handlers<Services['Control']>;
  readonly agent: Agent & BulkAgent;
  /** What doctor says of this node. */
  readonly findings: () => readonly Finding[];
  /** What a manager runs; undefined on a worker, and on a manager whose group is over. */
  readonly cluster: ClusterParts | undefined;
  readonly isSuperseded: boolean;
  /** It waits for its unlock key: containers run, nothing else does. */
  readonly lock: Lock | undefined;
  /** Gives leadership away before this node goes. */
  readonly handOver: (signal: AbortSignal) => Promise<void>;
  /** Asks for a certificate of the role that the managers have this node in. */
  readonly renewIdentity: (signal: AbortSignal) => Promise<NodeIdentity>;
  /** Resolves when a manager has welcomed this node and what it sent is in effect; on a manager also that its member votes. */
  readonly ready: (signal: AbortSignal) => Promise<void>;
  /** Goes on with an identity that was got otherwise; resolves when a manager has accepted it, or after a while. */
  readonly adopt: (known: KnownAnew, signal: AbortSignal) => Promise<void>;
  /** People say where a manager is. */
  readonly setAddress: (hint: AddressHint) => { readonly nodeId: string; readonly address: string };
  /** Tells the managers the facts of this node anew. */
  readonly describeAgain: () => Promise<void>;
}

const adoptedWithinMs = 10_000;
const adoptedLookMs = 50;

export async function openMemberNode(options: MemberNodeOptions): Promise<MemberNode> {
  const { host, telemetry, lifetime, member } = options;
  const { membership } = member;
  const identity = holdIdentity(member.identity);
  // The session comes after the tasks are adopted; until it is there, its first words say what images there are.
  let describeAgain = async (): Promise<void> => undefined;
  const capture = framesOf(options.network);
  const agent = { ...openNodeAgent(options, () => describeAgain()), volumes: options.askVolumes, capture };
  await agent.recover(options.signal);
  const memory = await openMemory(options);
  const whereabouts = openWhereabouts();
  const describe = describing(options, { identity, whereabouts });
  await firstAddresses(describe, telemetry.log);
  const tellAgain = (): void => void describeAgain();
  const cluster = await openCluster(options, { identity, agent, memory, whereabouts, onLock: tellAgain });
  const managers = cluster?.managers ?? memory.managers;
  const clock = await watchClock(options, identity);
  const renewal = renewalOf(options, { identity, cluster, managers, clock });
  const { follow } = member.lock === undefined ? openRenewal(renewal) : { follow: () => undefined };
  const base = { identity, agent, cluster, memory, reach: openReach(host.clock) };
  const session = connect(options, { ...base, describe, clock, follow, whereabouts, tellAgain });
  const parts = { host, membership, ...base, session };
  describeAgain = async () => session.describe(await describe());
  followAddresses({ ...host, log: telemetry.log, lifetime: lifetime.child('addresses'), onChange: describeAgain });
  const news = identity.onChange(tellAgain);
  lifetime.defer('identity news', () => news[Symbol.dispose]());
  return {
    membership,
    identity: identity.current,
    otherManagers: () =>
      [...managers()]
        .sort((a, b) => Number(b.leader) - Number(a.leader))
        .filter(manager => manager.nodeId !== membership.nodeId)
        .flatMap(({ addresses, nodeId }) => addresses.map(address => ({ address, nodeId }))),
    stopTasks: signal => agent.stopAll(signal),
    isLeader: () => cluster?.isLeading() === true,
    isConnected: () => session.state().kind === 'connected',
    managers,
    tasksRunning: () => agent.reports().filter(report => report.status.state === 'running').length,
    counts: () => countsOf(cluster),
    control:
      cluster?.control ??
      controlWithout(member.lock, { managers, tables: session.tables, heardMs: () => heardMsOf(parts) }),
    agent,
    findings: () => withLockFinding(member.lock, judgeNode(nodeFactsOf(parts))),
    cluster,
    lock: member.lock,
    isSuperseded: options.isSuperseded,
    handOver: async signal => await cluster?.handOver(signal),
    renewIdentity: signal => renewOnce(renewal, signal),
    ready: async signal => {
      await session.ready(signal);
      await cluster?.voting(signal);
    },
    describeAgain,
    setAddress: hint => {
      const known = {
        view: cluster?.store.view(),
        tables: session.tables(),
        managers: managers().map(one => one.nodeId),
      };
      return takeHint(whereabouts, known, hint);
    },
    adopt: async (known, signal) => {
      memory.rememberManagers(known.managers);
      identity.replace(known.identity);
      await untilConnected(host, session, signal);
    },
  };
}

/** Of a node that has no store of the cluster. */
function controlWithout(lock: Lock | undefined, memory: WorkerMemory): Handlers<Services['Control']> {
  return lock === undefined ? workerControl(memory) : lockedControl(lock, memory);
}

function openNodeAgent(options: MemberNodeOptions, changed: () => Promise<void>): Agent {
  const { settings, host } = options;
  const log = options.telemetry.log.with({ part: 'agent' });
  return openAgent({
    host,
    dataDir: settings.dataDir,
    runDir: settings.runDir,
    prefix: settings.prefix,
    runtime: options.runtime,
    images: withImageNews(options.images, { changed, log }),
    network: options.network,
    volumes: options.volumes,
    copyCommand: options.copyCommand,
    userns: options.userns,
    policy: settings,
    log,
    limitsEveryMs: settings.limitsIntervalMs,
    lifetime: options.lifetime.child('agent'),
  });
}

function watchClock({ host, telemetry, lifetime, settings }: MemberNodeOptions, identity: IdentityHolder) {
  return openClockSanity({
    ...host,
    telemetry,
    lifetime: lifetime.child('clock'),
    path: `${settings.dataDir}/session/clock`,
    certifiedMs: () => identity.current().validFromMs,
  });
}

function openMemory({ host, telemetry, wire, settings, lifetime }: MemberNodeOptions): Promise<SessionMemory> {
  return openSessionMemory({
    files: host.files,
    clock: host.clock,
    log: telemetry.log.with({ part: 'session' }),
    wire,
    dataDir: settings.dataDir,
    lifetime: lifetime.child('memory'),
  });
}

/** What this node is now. Where the daemon was started with an address, that is where it is, whatever init or join said. */
function describing(
  { describe, member, settings }: MemberNodeOptions,
  { identity, whereabouts }: { readonly identity: IdentityHolder; readonly whereabouts: Whereabouts },
): () => Promise<NodeDescription> {
  const { membership } = member;
  return async () => {
    const description = await describe({
      advertiseAddress: settings.advertiseAddress ?? membership.advertiseAddress,
      dataPathAddress: settings.dataPathAddress ?? membership.dataPathAddress,
    });
    whereabouts.setOwn(description.addresses);
    return { ...description, certificate: certificateFactsOf(identity.current()) };
  };
}

async function untilConnected({ clock }: Host, session: Session, signal: AbortSignal): Promise<void> {
  const endMs = clock.monotonicMs() + adoptedWithinMs;
  while (session.state().kind !== 'connected' && clock.monotonicMs() < endMs) await clock.sleep(adoptedLookMs, signal);
}

/** A manager's parts; a worker keeps nothing of a time as a manager. */
async function openCluster(
  options: MemberNodeOptions,
  parts: {
    readonly identity: IdentityHolder;
    readonly agent: Agent & BulkAgent;
    readonly memory: SessionMemory;
    readonly whereabouts: Whereabouts;
    readonly onLock: () => void;
  },
): Promise<ClusterParts | undefined> {
  const { settings, host, keys } = options;
  const { role, raftId } = options.member.membership;
  if (options.isSuperseded || options.member.lock !== undefined) return undefined;
  if (role !== 'manager') {
    await host.files.removeTree(`${settings.dataDir}/raft`);
    await keys.forget();
    return undefined;
  }
  return await openClusterParts({
    ...options,
    dataDir: settings.dataDir,
    listen: settings.listen,
    raftId,
    identity: parts.identity,
    remembered: parts.memory.managers,
    whereabouts: parts.whereabouts,
    agent: parts.agent,
    onLock: parts.onLock,
    alignIdentity: () => alignIdentity({ files: host.files, dataDir: settings.dataDir, keys }, parts.identity.current),
  });
}

function connect(
  options: MemberNodeOptions,
  parts: {
    readonly identity: IdentityHolder;
    readonly agent: Agent & BulkAgent;
    readonly cluster: ClusterParts | undefined;
    readonly memory: SessionMemory;
    readonly describe: () => Promise<NodeDescription>;
    readonly follow: (trust: Trust) => void;
    readonly clock: ClockSanity;
    readonly reach: Reach;
    readonly whereabouts: Whereabouts;
    /** Managers have to be told of its keys, or that it has taken a step. */
    readonly tellAgain: () => void;
  },
): Session {
  const { host, wire, telemetry, member } = options;
  const dial = makeDial({
    identity: parts.identity,
    wire,
    clock: host.clock,
    random: host.random,
    reach: parts.reach,
    findLocal: () => parts.cluster?.findDispatcher(),
  });
  return openSession({
    clock: host.clock,
    random: host.random,
    log: telemetry.log.with({ part: 'session' }),
    lifetime: options.lifetime.child('session'),
    dial: (managers, signal) => {
      if (member.lock !== undefined) throw lockedError(member.lock, 'Cannot call a manager: this one is locked');
      return dial(parts.whereabouts.withAll(managers), signal);
    },
    agent: parts.agent,
    tables: {
      applyTables: (items, signal) => showTables({ ...member, ...options, ...parts }, items, signal),
      heard: options.network.heard,
    },
    memory: parts.memory,
    describe: parts.describe,
    onTrust: parts.follow,
    onSkew: ({ text }) => {
      if (text === undefined) {
        parts.clock.confirm();
        telemetry.lower('clock-skew');
      } else telemetry.raise({ code: 'clock-skew', message: text, hint: 'set the clock: chronyc makestep' });
    },
    bootId: host.processes.bootId(),
    onWelcome: ({ role, raftId }) => {
      const { membership } = member;
      if (role !== membership.role || raftId !== membership.raftId) options.onRole({ role, raftId });
    },
  });
}

function renewalOf(
  options: MemberNodeOptions,
  parts: {
    readonly identity: IdentityHolder;
    readonly managers: () => readonly ManagerAddress[];
    readonly cluster: ClusterParts | undefined;
    readonly clock: ClockSanity;
  },
): RenewalOptions {
  const { host, wire, telemetry, settings } = options;
  return {
    clock: host.clock,
    random: host.random,
    log: telemetry.log.with({ part: 'renewal' }),
    lifetime: options.lifetime.child('renewal'),
    ...routeRenewal({ host, wire, ...parts, manager: parts.cluster }),
    identity: parts.identity,
    save: identity => saveIdentity({ files: host.files, dataDir: settings.dataDir, keys: options.keys }, identity),
    isClockSane: parts.clock.isSane,
    onProblem: problem => {
      telemetry.lower('certificate-expired');
      if (problem?.code !== 'certificate-expired') return;
      const { code, message, state = '', hint = '' } = problem;
      telemetry.raise({ code, message: `${message}: ${state}`, hint });
    },
  };
}

function countsOf(cluster: ClusterParts | undefined): ObjectCounts | undefined {
  return cluster === undefined ? undefined : countObjects(cluster.store.view());
}
