/**
 * What a manager runs besides its agent: its member of the Raft group with the store on it, the CA, Control, the server that
 * other nodes reach, and while it leads the leader's half (leader-parts.ts).
 *
 * Keeps true: parts that write end before the store does; the leader's half runs only while this manager leads; whoever asks a
 * manager that does not lead is told who does, or is served by way of it.
 *
 * Called by member-node.ts. Not here: what each part does.
 */
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { ManagerAddress, Node, RenewRequest, RenewResponse } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import type { Host } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import { type OpenStore, openStore, type Store, type Write } from '../raft/store.js';
import type { Telemetry } from '../telemetry.js';
import type { Wire } from '../wire.js';
import { listenHost } from './addresses.js';
import { openBulkRelay } from './bulk/index.js';
import { retiredOf } from './ca/authority.js';
import { caHandlers, type IdentityHolder, tokenHandlers } from './ca/index.js';
import { type CaOptions, renewNode } from './ca/issue.js';
import { standingOf } from './ca/removal.js';
import { rootHandlers } from './ca/root-control.js';
import type { HostPort } from './config.js';
import { makeControl } from './control.js';
import { onBehalf } from './control-once.js';
import { leaderOnly, routeControl } from './control-route.js';
import type { Dispatcher } from './dispatcher/index.js';
import { type AddressBook, makeAddressBook } from './group/address-book.js';
import { type Backup, makeBackup } from './group/backup.js';
import { forwardCa } from './group/ca-route.js';
import { type Group, openGroup } from './group/group.js';
import { type LeaderLink, openLeaderLink } from './group/leader-link.js';
import { type Leadership, openLeadership } from './group/leadership.js';
import { findHeir } from './group/members.js';
import { reachableManagers } from './group/reachable.js';
import { makeRoles } from './group/roles.js';
import { redirectSession } from './group/session-route.js';
import { type GroupSurvey, surveyGroup } from './group/survey.js';
import type { Whereabouts } from './group/whereabouts.js';
import { type KeyKeeper, openKeyCare } from './keys/index.js';
import { type LeaderParts, openLeaderParts } from './leader-parts.js';
import { openClusterServer } from './rpc/index.js';
import type { BulkAgent } from './session/types.js';
import { openSight, type Sight } from './sight.js';

export interface ClusterPartsOptions {
  readonly host: Host;
  readonly wire: Wire;
  readonly telemetry: Telemetry;
  readonly lifetime: Lifetime;
  readonly dataDir: string;
  readonly listen: HostPort;
  readonly raftId: number;
  readonly keys: KeyKeeper;
  /** The private key of the node lies as its lock wants it. */
  readonly alignIdentity: () => Promise<void>;
  /** What the disk is locked with has changed. */
  readonly onLock: () => void;
  /** The program of the log's thread. */
  readonly workerFile: URL;
  readonly identity: IdentityHolder;
  /** What a new cluster starts with; empty for one that is there. */
  readonly bootstrap: readonly Write[];
  /** Managers as this node last heard of them. */
  readonly remembered: () => readonly ManagerAddress[];
  readonly whereabouts: Whereabouts;
  /** The worker half of this very node. */
  readonly agent: BulkAgent;
  readonly onStoreFailed: (error: Error) => void;
  /** The managers' group was made anew without this node. */
  readonly onSuperseded: (error: CoveyError) => void;
  readonly signal: AbortSignal;
}

export interface ClusterParts {
  readonly store: Store;
  /** Of this manager while it leads. */
  readonly findDispatcher: () => Dispatcher | undefined;
  readonly isLeading: () => boolean;
  readonly control: Handlers<Services['Control']>;
  readonly managers: () => readonly ManagerAddress[];
  /** A new certificate for this node; undefined while this manager does not lead. */
  readonly renewHere: (request: RenewRequest, signal: AbortSignal) => Promise<RenewResponse> | undefined;
  /** Who answers, when nobody leads; undefined while somebody does. */
  readonly leaderless: () => string | undefined;
  /** Resolves when this node's member has caught up and votes. */
  readonly voting: (signal: AbortSignal) => Promise<void>;
  /** Gives leadership to another manager, if there is one that can take it. */
  readonly handOver: (signal: AbortSignal) => Promise<void>;
  /** Everything that the store holds, as of one moment. */
  readonly backup: (asked: { readonly stale: boolean }) => Promise<Backup>;
  /** Who of the managers answers, and whether a majority does. */
  readonly survey: () => Promise<GroupSurvey>;
}

/** The parts that know of one another. */
interface Inner {
  readonly options: ClusterPartsOptions;
  readonly store: OpenStore;
  readonly group: Group;
  readonly leadership: Leadership<LeaderParts>;
  readonly book: AddressBook;
}

export async function openClusterParts(options: ClusterPartsOptions): Promise<ClusterParts> {
  const { lifetime } = options;
  const changed = new Set<() => void>();
  const inner = await openInner(options, () => {
    for (const call of changed) call();
  });
  const { store, group, leadership } = inner;
  openKeyCare({
    ...options,
    store,
    group: group.log,
    clock: options.host.clock,
    log: options.telemetry.log.with({ part: 'keys' }),
    lifetime: lifetime.child('keys'),
  });
  lifetime.defer('hand over', () => handOver(inner, new AbortController().signal));
  const leader = openLeaderLink({
    own: options.identity.current().nodeId,
    findLeader: group.findLeader,
    identity: options.identity,
    wire: options.wire,
    clock: options.host.clock,
    lifetime,
  });
  changed.add(leader.leaderChanged);
  changed.add(() => leadership.find()?.parts.groupChanged());
  const isLeading = (): boolean => leadership.find() !== undefined;
  const { clock } = options.host;
  const sight = openSight({ clock, knowsLeader: () => group.log.status().leader !== 0, view: store.view });
  lifetime.defer('sight', () => sight[Symbol.dispose]());
  changed.add(sight.look);
  sight.look();
  const { control, renew } = await serve(inner, leader, sight);
  return {
    store,
    isLeading,
    control,
    findDispatcher: () => leadership.find()?.parts.dispatcher,
    managers: group.managers,
    renewHere: (request, signal) => (isLeading() ? renew(request, signal) : undefined),
    leaderless: () => (group.log.status().leader === 0 ? describeManagers(group) : undefined),
    voting: signal => untilVoting(inner, signal),
    handOver: signal => handOver(inner, signal),
    survey: () => surveyGroup(group, store.view),
    backup: asked => makeBackup({ store, group, clock: options.host.clock }, asked),
  };
}

/** Store, member and leadership: each needs the others, and none calls another before all are there. */
async function openInner(options: ClusterPartsOptions, onChange: () => void): Promise<Inner> {
  const { host, wire, lifetime, telemetry, identity } = options;
  let inner: Inner | undefined;
  let group: Group | undefined;
  const book = makeAddressBook({
    view: () => {
      if (inner === undefined) throw new CoveyError('bug', 'Cannot look at the store before it is open');
      return inner.store.view();
    },
    remembered: options.remembered,
    whereabouts: options.whereabouts,
  });
  const early: AddressBook = {
    ...book,
    findPeer: peer => (inner === undefined ? undefined : book.findPeer(peer)),
    nameOf: peer => (inner === undefined ? undefined : book.nameOf(peer)),
    history: () => (inner === undefined ? { generation: 0, removed: [] } : book.history()),
  };
  let leadingTerm: number | undefined;
  const store = lifetime.own(
    await openStore({
      wire,
      clock: host.clock,
      openLog: async machine => {
        group = await openGroup({
          host,
          wire,
          log: telemetry.log.with({ part: 'raft' }),
          lifetime,
          dataDir: options.dataDir,
          clusterId: identity.current().clusterId,
          raftId: options.raftId,
          workerFile: options.workerFile,
          keys: options.keys,
          identity,
          book: early,
          whereabouts: options.whereabouts,
          machine,
          bootstrap: options.bootstrap,
          onLeading: term => {
            leadingTerm = term;
            inner?.leadership.begin(term);
          },
          onFollowing: () => {
            leadingTerm = undefined;
            inner?.leadership.end();
          },
          onChange: () => inner && onChange(),
          onFailed: options.onStoreFailed,
          onSuperseded: options.onSuperseded,
        });
        return group.log;
      },
    }),
  );
  if (group === undefined) throw new CoveyError('bug', 'Cannot go on: the store has opened no log');
  const member = group;
  const leadership = openLeadership<LeaderParts>({
    lifetime: lifetime.child('leading'),
    open: (term, scope) =>
      openLeaderParts({ ...options, store, group: member, nodeId: identity.current().nodeId, term, lifetime: scope }),
  });
  inner = { options, store, group, leadership, book };
  if (leadingTerm !== undefined) leadership.begin(leadingTerm);
  return inner;
}

/** The handlers over this manager's store; they write, or reach nodes, while it leads. */
function makeHandlers({ options, store, group, leadership }: Inner) {
  const { host, telemetry, identity } = options;
  const { clock, random } = host;
  const { nodeId } = identity.current();
  const findDispatcher = (): Dispatcher | undefined => leadership.find()?.parts.dispatcher;
  const relay = openBulkRelay({
    store,
    clock,
    dispatcher: findDispatcher,
    term: () => leadership.find()?.term ?? 0,
    own: { nodeId, agent: options.agent },
  });
  const roles = makeRoles({ store, group, clock, random, leading: () => leadership.find()?.signal });
  const address = (): string => group.managers().find(manager => manager.nodeId === nodeId)?.addresses[0] ?? '';
  const control = makeControl({
    store,
    clock,
    random,
    roles,
    tokens: tokenHandlers({ store, clock, random, address }),
    roots: rootHandlers({ store, clock, random }),
    bulk: relay,
    leaderId: () => group.findLeader()?.nodeId,
    reachable: () => reachableManagers({ own: nodeId, group, view: store.view() }),
    silentMs: id => findDispatcher()?.silentMs(id),
  });
  const caOptions: CaOptions = {
    store,
    clock,
    random,
    log: telemetry.log.with({ part: 'ca' }),
    managers: group.managers,
    roles,
    settled: async limits => await findDispatcher()?.settled(limits),
  };
  return {
    control,
    ca: caHandlers(caOptions),
    renew: (request: RenewRequest, signal: AbortSignal) => renewNode(caOptions, { ...request, nodeId }, signal),
    bulk: relay.bulk,
    session: redirectSession({ find: findDispatcher, managers: group.managers }),
  };
}

interface Served {
  readonly control: Handlers<Services['Control']>;
  readonly renew: (request: RenewRequest, signal: AbortSignal) => Promise<RenewResponse>;
}

async function serve(inner: Inner, leader: LeaderLink, sight: Sight): Promise<Served> {
  const { options, store, group, leadership } = inner;
  const { host, wire, lifetime, identity } = options;
  const { clock, random } = host;
  const isLeading = (): boolean => leadership.find() !== undefined;
  const { control, ca, bulk, session, renew } = makeHandlers(inner);
  const server = lifetime.own(
    await openClusterServer({
      host: listenHost(options.listen, options.whereabouts.own()),
      port: options.listen.port,
      identity,
      wire,
      clock,
      services: {
        Ca: forwardCa(ca, { isLeading, leader }),
        Dispatcher: { session, bulk },
        Raft: group.handlers,
        Control: leaderOnly(wire, onBehalf(wire, control), { isLeading, read: group.log.read }),
      },
      findMember: (id, certified) => standingOf(store.view(), id, { certified, isLeading: isLeading() }),
      retired: () => [...store.view().list('cluster')].flatMap(retiredOf),
    }),
  );
  const watch = store.watch(events => {
    for (const event of events) {
      if (event.table === 'cluster') server.showRoots();
      if (event.table === 'node' && event.kind === 'put' && hasMoved(event.object, event.old)) {
        options.whereabouts.stored(event.object.id);
      }
      if (event.table === 'removedNode' && event.kind === 'put') server.endCallsOf(event.object.id);
    }
  });
  lifetime.defer('server/watch', () => watch[Symbol.dispose]());
  const { read } = group.log;
  const managersNow = (): string => describeManagers(group);
  const routed = routeControl({ wire, clock, random, local: control, isLeading, leader, read, sight, managersNow });
  return { control: routed, renew };
}

function hasMoved({ description }: Node, old: Node | undefined): boolean {
  return description.addresses.join(' ') !== old?.description.addresses.join(' ');
}

/** For whoever waits for a leader in vain. */
function describeManagers(group: Group): string {
  const reached = group.reached();
  const { confState, id } = group.log.status();
  const answering = confState.voters.filter(peer => peer === id || reached.has(peer));
  const needed = Math.floor(confState.voters.length / 2) + 1;
  return `${answering.length} of ${confState.voters.length} managers answer here, ${needed} are needed`;
}

const handOverMs = 2_000;
const lookMs = 20;

/** A transfer that comes to nothing is tried again, and given up after a while: the others elect one of them then. */
async function handOver({ options, group, leadership }: Inner, signal: AbortSignal): Promise<void> {
  const { clock } = options.host;
  const endMs = clock.monotonicMs() + handOverMs;
  while (clock.monotonicMs() < endMs) {
    const status = group.log.status();
    if (status.role !== 'leader' || status.confState.voters.length === 1) break;
    const heir = findHeir(status);
    if (heir !== undefined) group.log.transferTo(heir);
    await clock.sleep(lookMs, signal);
  }
  await leadership.ended();
}

async function untilVoting({ options, group }: Inner, signal: AbortSignal): Promise<void> {
  while (!group.log.status().confState.voters.includes(group.own)) await options.host.clock.sleep(lookMs, signal);
}
