/**
 * Managers and nodes of tests: real directories, real sockets on 127.0.0.1, stores in memory, agents that only remember.
 *
 * Not here: objects and agents (node-fixtures.ts), tests.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { certificateFactsOf, retiredOf } from '../../src/daemon/ca/authority.js';
import { holdIdentity, type IdentityHolder } from '../../src/daemon/ca/identity.js';
import { caHandlers } from '../../src/daemon/ca/index.js';
import { standingOf } from '../../src/daemon/ca/removal.js';
import { type TokenHandlers, tokenHandlers } from '../../src/daemon/ca/tokens.js';
import { type Dispatcher, openDispatcher } from '../../src/daemon/dispatcher/index.js';
import type { BulkRelay } from '../../src/daemon/dispatcher/types.js';
import { openKeyKeeper } from '../../src/daemon/keys/index.js';
import { type Member, type MembershipFlows, openMembership } from '../../src/daemon/membership/index.js';
import { type ClusterServer, openClusterServer } from '../../src/daemon/rpc/index.js';
import { makeDial, openSession, openSessionMemory, type Session } from '../../src/daemon/session/index.js';
import type { InitRequest, JoinClusterRequest, NodeDescription, Trust } from '../../src/gen/types.js';
import type { Clock, Host } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import type { Store } from '../../src/raft/store.js';
import {
  anySignal,
  description,
  type FakeAgent,
  fakeAgent,
  memoryStore,
  put,
  silent,
  testLifetime,
  wire,
} from './node-fixtures.js';

export const initRequest: InitRequest = {
  name: 'm1',
  advertiseAddress: '',
  dataPathAddress: '',
  pool: '',
  labels: {},
  lostAfterMs: 0,
  heartbeatMs: 0,
  certificateDays: 0,
  poolPieceBits: 0,
};

export const joinRequest: JoinClusterRequest = {
  address: '',
  token: '',
  name: '',
  advertiseAddress: '',
  dataPathAddress: '',
  labels: {},
};

/** A directory that goes with the test. */
export async function temporaryDirectory(t: { teardown: (call: () => unknown) => unknown }): Promise<string> {
  const path = await mkdtemp('/tmp/covey-session-');
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

export interface TestManager extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly store: Store;
  readonly member: Member;
  readonly identity: IdentityHolder;
  readonly tokens: TokenHandlers;
  readonly workerToken: string;
  readonly dispatcher: Dispatcher;
  /** Ends the server and every connection. */
  readonly stopServer: () => Promise<void>;
  readonly startServer: () => Promise<void>;
}

/** Nobody here is a manager that could be let go of. */
const noManagers = { letGo: async () => undefined };

/** Init on a real directory, then the servers of a manager on 127.0.0.1; no agent of its own. */
export async function startManager(
  t: { teardown: (call: () => unknown) => unknown },
  options: {
    readonly init?: Partial<InitRequest>;
    /** Of the manager; TLS goes by the real one. */
    readonly clock?: Clock;
    readonly relay?: (parts: { store: Store; dispatcher: Dispatcher }) => BulkRelay;
  } = {},
): Promise<TestManager> {
  const dataDir = await temporaryDirectory(t);
  const store = await memoryStore();
  const lifetime = testLifetime();
  let member: Member | undefined;
  const clock = options.clock ?? linuxHost.clock;
  const flows = openFlows(dataDir, 'm1', {
    host: { ...linuxHost, clock },
    start: async (made, { bootstrap }) => {
      member = made;
      await put(store, bootstrap);
    },
  });
  const made = await flows.init({ ...initRequest, ...options.init }, anySignal());
  if (member === undefined) throw new Error('init started nothing');
  const identity = holdIdentity(member.identity);
  const { nodeId } = member.membership;
  let port = 0;
  const managers = () => [{ nodeId, addresses: [`127.0.0.1:${port}`], leader: true, raftId: 0 }];
  const { random } = linuxHost;
  const dispatcher = openDispatcher({ store, term: 1, clock, log: silent, lifetime, managers, count: () => undefined });
  const relay = options.relay?.({ store, dispatcher });
  const open = (): Promise<ClusterServer> =>
    openClusterServer({
      host: '127.0.0.1',
      port,
      identity,
      wire,
      clock,
      findMember: (id, certified) => standingOf(store.view(), id, { certified, isLeading: true }),
      retired: () => [...store.view().list('cluster')].flatMap(retiredOf),
      services: {
        Ca: caHandlers({ store, clock, random, log: silent, managers, settled: dispatcher.settled, roles: noManagers }),
        Dispatcher: {
          session: dispatcher.session,
          bulk: relay?.bulk ?? (() => Promise.reject(new Error('no relay')) as never),
        },
      },
    });
  let server: ClusterServer | undefined = await open();
  port = server.port;
  const stopServer = async (): Promise<void> => {
    await server?.[Symbol.asyncDispose]();
    server = undefined;
  };
  const manager: TestManager = {
    address: `127.0.0.1:${port}`,
    port,
    store,
    member,
    identity,
    tokens: tokenHandlers({ store, clock, random, address: () => `127.0.0.1:${port}` }),
    workerToken: made.workerToken,
    dispatcher,
    stopServer,
    startServer: async () => {
      server = await open();
    },
    [Symbol.asyncDispose]: async () => {
      await lifetime[Symbol.asyncDispose]();
      await stopServer();
      await store[Symbol.asyncDispose]();
    },
  };
  t.teardown(() => manager[Symbol.asyncDispose]());
  return manager;
}

export function openFlows(
  dataDir: string,
  hostname: string,
  parts: {
    readonly start: Parameters<typeof openMembership>[0]['start'];
    readonly adopt?: Parameters<typeof openMembership>[0]['adopt'];
    readonly host?: Pick<Host, 'clock' | 'random' | 'files'>;
  },
): MembershipFlows {
  return openMembership({
    host: parts.host ?? linuxHost,
    dataDir,
    keys: openKeyKeeper({ ...(parts.host ?? linuxHost), dataDir }),
    wire,
    log: silent,
    portDefault: 7377,
    workerFile: new URL('../../src/raft/storage/wal-worker.js', import.meta.url),
    dataPort: 7378,
    vnisOf: () => ({ overlay: 11, ingress: 12 }),
    describe: () => description(hostname, ['127.0.0.1:1']),
    start: parts.start,
    adopt: parts.adopt,
  });
}

export interface TestWorker {
  readonly member: Member;
  readonly identity: IdentityHolder;
  readonly session: Session;
  readonly fake: FakeAgent;
  readonly dataDir: string;
  /** Hears what the managers say of roots from now on, and what they have said. */
  readonly onTrust: (listener: (trust: Trust) => void) => void;
  /** Says hello anew. */
  readonly describe: () => void;
  /** Ends the session as a daemon that stops does. */
  readonly stop: () => Promise<void>;
}

/** A node with a session: joined through the socket, with an agent that only remembers. */
export async function startWorker(
  t: { teardown: (call: () => unknown) => unknown },
  manager: Pick<TestManager, 'address' | 'workerToken'>,
  options: { readonly name: string; readonly fake?: FakeAgent },
): Promise<TestWorker> {
  const dataDir = await temporaryDirectory(t);
  let worker: TestWorker | undefined;
  const flows = openFlows(dataDir, options.name, {
    start: async (member, { signal }) => {
      worker = await runWorker(t, { member, dataDir, fake: options.fake ?? fakeAgent() });
      await worker.session.ready(signal);
    },
  });
  await flows.join({ ...joinRequest, address: manager.address, token: manager.workerToken }, anySignal());
  if (worker === undefined) throw new Error('join started nothing');
  return worker;
}

/** The clock of this machine, so much ahead or (below 0) behind. */
export function shiftedClock(shift: { ms: number }): Clock {
  return { ...linuxHost.clock, wallMs: () => linuxHost.clock.wallMs() + shift.ms };
}

/** The session of a node that has joined, as after a start of its daemon. */
export async function runWorker(
  t: { teardown: (call: () => unknown) => unknown },
  parts: { readonly member: Member; readonly dataDir: string; readonly fake: FakeAgent },
): Promise<TestWorker> {
  const { member, dataDir, fake } = parts;
  const lifetime = testLifetime();
  const { clock, random, files } = linuxHost;
  const memory = await openSessionMemory({ files, clock, log: silent, wire, dataDir, lifetime });
  const identity = holdIdentity(member.identity);
  const trusts: Trust[] = [];
  const listeners: ((trust: Trust) => void)[] = [];
  const describe = (): NodeDescription => ({
    ...description(member.membership.nodeName, ['127.0.0.1:1']),
    certificate: certificateFactsOf(identity.current()),
  });
  const session = openSession({
    clock,
    random,
    log: silent,
    lifetime,
    dial: makeDial({ identity, wire, clock, random, findLocal: () => undefined }),
    agent: fake.agent,
    tables: fake.networkTables,
    memory,
    describe: async () => describe(),
    bootId: 'boot',
    onWelcome: () => undefined,
    onTrust: trust => {
      trusts.push(trust);
      for (const listener of listeners) listener(trust);
    },
  });
  const stop = async (): Promise<void> => await lifetime[Symbol.asyncDispose]();
  t.teardown(stop);
  return {
    member,
    identity,
    session,
    fake,
    dataDir,
    stop,
    onTrust: listener => {
      listeners.push(listener);
      for (const trust of trusts.slice(-1)) listener(trust);
    },
    describe: () => session.describe(describe()),
  };
}
