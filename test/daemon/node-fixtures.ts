/**
 * What tests of identity, sessions and bulk streams stand on: a store over a log in memory, objects with everything filled
 * in, a manager with its servers on 127.0.0.1, agents that only remember what they were told.
 *
 * Not here: tests.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { holdIdentity, type IdentityHolder } from '../../src/daemon/ca/identity.js';
import { caHandlers } from '../../src/daemon/ca/index.js';
import { type TokenHandlers, tokenHandlers } from '../../src/daemon/ca/tokens.js';
import { type Dispatcher, openDispatcher } from '../../src/daemon/dispatcher/index.js';
import type { BulkRelay } from '../../src/daemon/dispatcher/types.js';
import { type Member, type MembershipFlows, openMembership } from '../../src/daemon/membership/index.js';
import { type ClusterServer, openClusterServer } from '../../src/daemon/rpc/index.js';
import type {
  Assignments,
  BulkFrame,
  ContainerSpec,
  InitRequest,
  JoinClusterRequest,
  NodeDescription,
  ServiceSpec,
  TableItem,
  Task,
  TaskReport,
  TaskSpec,
} from '../../src/gen/types.js';
import type { CallContext } from '../../src/grpc.js';
import type { Clock, Host } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { asId, type NodeId, newId, type TaskId } from '../../src/ids.js';
import { type Lifetime, openLifetime } from '../../src/lifetime.js';
import { type OpenStore, openStore, type Store, type Write } from '../../src/raft/store.js';
import type { Logger } from '../../src/telemetry.js';
import { openWire, type Wire } from '../../src/wire.js';

export const wire: Wire = openWire();

export const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silent,
};

export const anySignal = (): AbortSignal => new AbortController().signal;

/** Failures of background work fail the test that asks for them. */
export function testLifetime(failures: unknown[] = []): Lifetime {
  return openLifetime('test', { onFailure: (_name, error) => failures.push(error) });
}

export async function memoryStore(clock: Pick<Clock, 'wallMs'> = linuxHost.clock): Promise<OpenStore> {
  return openStore({
    wire,
    clock,
    openLog: async machine => {
      let index = 0;
      return {
        propose: async entry => {
          index += 1;
          machine.apply(index, entry);
          return { kind: 'committed', index };
        },
        lastApplied: () => index,
        term: () => 1,
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  });
}

export function description(hostname: string, addresses: readonly string[] = []): NodeDescription {
  return {
    hostname,
    os: 'linux',
    architecture: 'amd64',
    kernel: '6.1',
    cpuNanos: 2e9,
    memoryBytes: 2 ** 31,
    addresses,
    dataAddresses: ['10.0.0.1'],
    dataPort: 7378,
    runtime: 'crun',
    cgroup: 'v2',
    version: '0.1.0',
    labels: {},
    images: [],
  };
}

const container: ContainerSpec = {
  name: '',
  image: 'hello:1',
  entrypoint: [],
  command: [],
  env: [],
  workingDir: '',
  user: '',
  groups: [],
  hostname: '',
  labels: {},
  mounts: [],
  stopSignal: '',
  init: false,
  tty: false,
  stdin: false,
  capAdd: [],
  capDrop: [],
  readOnly: false,
  ulimits: [],
  sysctls: {},
  secrets: [],
  configs: [],
  shmBytes: 0,
  extraHosts: [],
  dns: [],
  dnsSearch: [],
  dnsOptions: [],
};

export function taskSpec(change: Partial<ContainerSpec> = {}): TaskSpec {
  return {
    containers: [{ ...container, ...change }],
    restart: { condition: 'any', attemptsMax: 0, windowMs: 0 },
    placement: { constraints: [], perNodeMax: 0 },
    networks: [],
    runtime: '',
    force: 0,
  };
}

export const makeId = <Id extends string>(): Id => newId<Id>(linuxHost.random.bytes);

export const everyActor = 'system:orchestrate+allocate+schedule+agent+reconcile+reap';

export function putTask(store: Store, task: Partial<Omit<Task, 'meta'>> & { readonly nodeId: NodeId }): Promise<Task> {
  const object: Omit<Task, 'meta'> = {
    id: makeId<TaskId>(),
    serviceId: asId('svc'),
    serviceName: 'web',
    stack: '',
    slot: 1,
    spec: taskSpec(),
    specVersion: 1,
    desired: 'running',
    status: {
      state: 'assigned',
      sinceMs: 0,
      message: '',
      error: '',
      errorCode: '',
      outOfMemory: false,
      attempt: 0,
      health: '',
    },
    endpoints: [],
    ports: [],
    startAfterMs: 0,
    failures: 0,
    superseded: false,
    ...task,
  };
  return put(store, [{ kind: 'put', table: 'task', object }]).then(() => store.view().find('task', object.id) as Task);
}

export async function put(store: Store, writes: readonly Write[]): Promise<void> {
  await store.update(() => writes, { principal: everyActor, signal: anySignal() });
}

export async function changeTask(store: Store, id: TaskId, change: (task: Task) => Task): Promise<void> {
  await store.update(view => [{ kind: 'put', table: 'task', object: change(view.find('task', id) as Task) }], {
    principal: everyActor,
    signal: anySignal(),
  });
}

export function serviceSpec(name: string, network: string): ServiceSpec {
  return {
    name,
    labels: {},
    stack: '',
    task: { ...taskSpec(), networks: [{ network, aliases: [] }] },
    ports: [],
    endpointMode: 'vip',
    mode: { kind: 'replicated', replicas: 1 },
  };
}

/** Remembers what it was told; says what the test tells it to. */
export interface FakeAgent {
  readonly updates: Assignments[];
  readonly tables: ReadonlyMap<string, TableItem>[];
  readonly report: (reports: readonly TaskReport[]) => void;
  readonly current: TaskReport[];
  readonly agent: {
    assign: (update: Assignments) => Promise<void>;
    reports: () => readonly TaskReport[];
    onReport: (listener: (reports: readonly TaskReport[]) => void) => Disposable;
    exec: (frames: AsyncIterable<BulkFrame>, start: unknown, signal: AbortSignal) => AsyncIterable<BulkFrame>;
    logs: (start: { readonly taskId: string }, signal: AbortSignal) => AsyncIterable<BulkFrame>;
  };
  readonly networkTables: { applyTables: (items: ReadonlyMap<string, TableItem>) => Promise<void> };
}

export function fakeAgent(parts: Partial<FakeAgent['agent']> = {}): FakeAgent {
  const updates: Assignments[] = [];
  const tables: ReadonlyMap<string, TableItem>[] = [];
  const current: TaskReport[] = [];
  const listeners = new Set<(reports: readonly TaskReport[]) => void>();
  return {
    updates,
    tables,
    current,
    report: reports => {
      for (const listener of listeners) listener(reports);
    },
    agent: {
      assign: async update => void updates.push(update),
      reports: () => current,
      onReport: listener => {
        listeners.add(listener);
        return { [Symbol.dispose]: () => void listeners.delete(listener) };
      },
      exec: async function* () {
        yield { body: { kind: 'end', exitCode: 0 } };
      },
      logs: async function* () {
        yield { body: { kind: 'end' } };
      },
      ...parts,
    },
    networkTables: { applyTables: async items => void tables.push(items) },
  };
}

/** Asks again every few milliseconds of real time; for tests on real sockets. */
export async function eventually<Value>(
  what: string,
  find: () => Value | undefined | false,
  timeoutMs = 5_000,
): Promise<Value> {
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const found = find();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > untilMs) throw new Error(`never happened: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

export function context(nodeId: string, signal: AbortSignal = anySignal()): CallContext {
  return {
    caller: { kind: 'node', nodeId, clusterId: '', role: 'worker', serial: '' },
    signal,
    metadata: undefined as never,
  };
}

export const adminContext = (): CallContext => ({
  caller: { kind: 'uid', uid: 0 },
  signal: anySignal(),
  metadata: undefined as never,
});

export const initRequest: InitRequest = {
  name: 'm1',
  advertiseAddress: '',
  dataPathAddress: '',
  pool: '',
  labels: {},
  lostAfterMs: 0,
  heartbeatMs: 0,
  certificateDays: 0,
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

/** Init on a real directory, then the servers of a manager on 127.0.0.1; no agent of its own. */
export async function startManager(
  t: { teardown: (call: () => unknown) => unknown },
  options: {
    readonly init?: Partial<InitRequest>;
    readonly relay?: (parts: { store: Store; dispatcher: Dispatcher }) => BulkRelay;
  } = {},
): Promise<TestManager> {
  const dataDir = await temporaryDirectory(t);
  const store = await memoryStore();
  const lifetime = testLifetime();
  let member: Member | undefined;
  const flows = openFlows(dataDir, 'm1', {
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
  const managers = () => [{ nodeId, addresses: [`127.0.0.1:${port}`], leader: true }];
  const { clock, random } = linuxHost;
  const dispatcher = openDispatcher({ store, term: 1, clock, log: silent, lifetime, managers, count: () => undefined });
  const relay = options.relay?.({ store, dispatcher });
  const open = (): Promise<ClusterServer> =>
    openClusterServer({
      host: '127.0.0.1',
      port,
      identity,
      wire,
      clock,
      findMember: id => store.view().find('node', id)?.role,
      services: {
        Ca: caHandlers({ store, clock, random, log: silent, managers, settled: dispatcher.settled }),
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
    readonly host?: Pick<Host, 'clock' | 'random' | 'files'>;
  },
): MembershipFlows {
  return openMembership({
    host: parts.host ?? linuxHost,
    dataDir,
    wire,
    log: silent,
    portDefault: 7377,
    dataPort: 7378,
    vnisOf: () => ({ overlay: 11, ingress: 12 }),
    describe: () => description(hostname, ['127.0.0.1:1']),
    start: parts.start,
  });
}
