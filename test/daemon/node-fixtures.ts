/**
 * What tests of identity, sessions and bulk streams stand on: a store over a log in memory, objects with everything filled
 * in, agents that only remember what they were told.
 *
 * Not here: managers and nodes on sockets (node-rig.ts), tests.
 */
import type { BulkAgent, SessionAgent, SessionTables } from '../../src/daemon/session/types.js';
import type {
  Assignments,
  ContainerSpec,
  NodeDescription,
  ServiceSpec,
  TableItem,
  Task,
  TaskReport,
  TaskSpec,
} from '../../src/gen/types.js';
import type { CallContext } from '../../src/grpc.js';
import type { Clock } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { asId, type NodeId, newId, type TaskId } from '../../src/ids.js';
import { type Lifetime, openLifetime } from '../../src/lifetime.js';
import { type OpenStore, openStore, type Store, type Write } from '../../src/raft/store.js';
import type { Logger } from '../../src/telemetry.js';
import { openWire, type Wire } from '../../src/wire.js';
import { containerDefaults, taskDefaults } from '../defaults.js';
import { status } from './object-fixtures.js';

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
        confirm: async () => true,
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
    volumes: [],
    routes: [],
    userns: true,
    privileged: false,
  };
}

export function taskSpec(change: Partial<ContainerSpec> = {}): TaskSpec {
  return { ...taskDefaults(), containers: [{ ...containerDefaults(), image: 'hello:1', ...change }] };
}

const makeId = <Id extends string>(): Id => newId<Id>(linuxHost.random.bytes);

const everyActor = 'system:orchestrate+allocate+schedule+agent+reconcile+reap';

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
    status: status('assigned'),
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
  readonly agent: SessionAgent & BulkAgent;
  readonly networkTables: SessionTables;
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
      connected: () => undefined,
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
      capture: async function* () {
        yield { body: { kind: 'end' } };
      },
      stats: async function* () {
        yield { body: { kind: 'end' } };
      },
      attach: async function* () {
        yield { body: { kind: 'end' } };
      },
      copy: async function* () {
        yield { body: { kind: 'end' } };
      },
      volumes: async function* () {
        yield { body: { kind: 'end' } };
      },
      verb: async () => ({ status: status('running'), processes: [] }),
      ...parts,
    },
    networkTables: { applyTables: async items => void tables.push(items) },
  };
}

/** Asks again every few milliseconds of real time; for tests on real sockets. */
export async function eventually<Value>(
  what: string,
  find: () => Value | undefined | false,
  timeoutMs = 120_000,
): Promise<Value> {
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const found = find();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > untilMs) throw new Error(`never happened: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

/** Resolves when the number has been above zero and the same for 100 ms. */
export async function standsStill(what: string, find: () => number): Promise<number> {
  let before = 0;
  let sinceMs = 0;
  return eventually(what, () => {
    const now = find();
    if (now !== before) sinceMs = performance.now();
    before = now;
    return now > 0 && performance.now() - sinceMs > 100 ? now : undefined;
  });
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
