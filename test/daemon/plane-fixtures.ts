/**
 * What tests of the control plane stand on: a store over a log in memory, and a plane
 * (store, manager, Control) whose agents are a few lines that walk their tasks through their states.
 *
 * Not here: tests.
 */
import grpc from '@grpc/grpc-js';
import type { ControlHandlers } from '../../src/daemon/control/parts.js';
import { type ControlParts, makeControl } from '../../src/daemon/control.js';
import { type Manager, openManager } from '../../src/daemon/manager.js';
import { CoveyError } from '../../src/errors.js';
import type { Node, Task, TaskStatus } from '../../src/gen/types.js';
import { type CallContext, serviceDefinition } from '../../src/grpc.js';
import type { Random } from '../../src/host.js';
import { type Lifetime, openLifetime } from '../../src/lifetime.js';
import type { Log } from '../../src/raft/log.js';
import { isEnded, type OpenStore, openStore, type StoreEvent, type StoreMachine } from '../../src/raft/store.js';
import type { Logger } from '../../src/telemetry.js';
import { openWire } from '../../src/wire.js';
import { type FakeClock, makeFakeClock, settle } from '../fake-clock.js';
import { node } from './object-fixtures.js';

export const wire = openWire();

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silent,
};

/** Numbers that are the same in every run. */
export function seededRandom(seed = 1): Random {
  let state = seed;
  const next = (): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
  return {
    fraction: next,
    bytes: sizeBytes => Uint8Array.from({ length: sizeBytes }, () => Math.floor(next() * 256)),
  };
}

export interface MemoryLog {
  readonly openLog: (machine: StoreMachine) => Promise<Log>;
  readonly entries: Uint8Array[];
  /** Answers the next proposals with that instead of storing them. */
  fail: Awaited<ReturnType<Log['propose']>> | undefined;
  /** Proposals wait for it. */
  gate: Promise<void>;
}

export function memoryLog(): MemoryLog {
  const log: MemoryLog = {
    entries: [],
    fail: undefined,
    gate: Promise.resolve(),
    openLog: async machine => ({
      propose: async entry => {
        await log.gate;
        if (log.fail !== undefined) return log.fail;
        log.entries.push(entry);
        machine.apply(log.entries.length, entry);
        return { kind: 'committed', index: log.entries.length };
      },
      confirm: async () => true,
      lastApplied: () => log.entries.length,
      term: () => 1,
      [Symbol.asyncDispose]: async () => undefined,
    }),
  };
  return log;
}

export const anySignal = (): AbortSignal => new AbortController().signal;

export function callerOf(uid = 0): CallContext {
  return {
    caller: { kind: 'uid', uid },
    signal: anySignal(),
    metadata: new grpc.Metadata(),
  };
}

export interface Plane extends AsyncDisposable {
  readonly clock: FakeClock;
  readonly store: OpenStore;
  readonly control: ControlHandlers;
  readonly log: MemoryLog;
  readonly failures: readonly unknown[];
  /** Every event since the start. */
  readonly history: readonly StoreEvent[];
  readonly addNode: (name: string, over?: Partial<Node>) => Promise<void>;
  readonly setNode: (name: string, change: (node: Node) => Node) => Promise<void>;
  /** What agents do with a task: its next states. Default: up to running, shutdown when it is to stop. */
  setAgent: (behave: Behaviour) => void;
  /** An agent that hears and says nothing. */
  readonly mute: Set<string>;
  readonly report: (taskId: string, status: Partial<TaskStatus>) => Promise<void>;
  /** Lets loops and agents go on until nothing changes any more (timers stand still). */
  readonly settle: () => Promise<void>;
  readonly tasks: (serviceName?: string) => readonly Task[];
  readonly running: (serviceName?: string) => readonly Task[];
  /** A new leader: the loops end and begin anew. */
  readonly reelect: () => Promise<void>;
}

export type Behaviour = (task: Task) => Partial<TaskStatus> | undefined;

export const obedient: Behaviour = task => {
  if (isEnded(task.status.state)) return undefined;
  if (task.desired === 'shutdown' || task.desired === 'remove') return { state: 'shutdown' };
  if (task.desired === 'ready') return task.status.state === 'ready' ? undefined : { state: 'ready' };
  return task.status.state === 'running' ? undefined : { state: 'running' };
};

/** Control with nothing behind it but the store. */
export function stubParts(real: Pick<ControlParts, 'store' | 'clock' | 'random'>): ControlParts {
  const refused = async (): Promise<never> => {
    throw new CoveyError('bug', 'Cannot call that here');
  };
  return {
    ...real,
    leaderId: () => undefined,
    reachable: () => [],
    silentMs: () => undefined,
    roles: { letGo: async () => undefined, takeIn: async () => undefined },
    tokens: { createJoinToken: refused, listJoinTokens: refused, removeJoinToken: refused },
    roots: { getRootStatus: refused, rotateRoot: refused },
    bulk: {
      exec: () => emptyStream(),
      attach: () => emptyStream(),
      copy: () => emptyStream(),
      runTaskVerb: () => Promise.reject(new Error('no relay')),
      logs: () => emptyStream(),
      capture: () => emptyStream(),
      stats: () => emptyStream(),
      askVolumes: () => emptyStream(),
    },
  };
}

export async function openPlane(
  options: { readonly nodes?: readonly string[]; readonly behave?: Behaviour } = {},
): Promise<Plane> {
  const clock = makeFakeClock();
  const log = memoryLog();
  const failures: unknown[] = [];
  const history: StoreEvent[] = [];
  const mute = new Set<string>();
  let behave = options.behave ?? obedient;
  const store = await openStore({ wire, clock, openLog: log.openLog });
  const lifetime: Lifetime = openLifetime('plane', { onFailure: (_name, error) => failures.push(error) });
  store.watch(events => history.push(...events));
  const random = seededRandom();
  const warn: Logger = { ...silent, warn: (message, fields) => failures.push({ message, fields }), with: () => warn };
  const open = (): Manager => openManager({ store, clock, random, log: warn, lifetime, waitsFor: () => undefined });
  let manager = open();
  const parts = stubParts({ store, clock, random });
  const report = async (taskId: string, change: Partial<TaskStatus>): Promise<void> => {
    await store.update(
      view => {
        const present = view.find('task', taskId);
        if (present === undefined) return [];
        return [
          {
            kind: 'put',
            table: 'task',
            object: { ...present, status: { ...present.status, ...change, sinceMs: clock.wallMs() } },
          },
        ];
      },
      { principal: 'system:agent', signal: anySignal() },
    );
  };
  const agentStep = async (): Promise<boolean> => {
    const due = [...store.view().list('task')].flatMap(present => {
      const isHeard =
        present.nodeId !== '' && !mute.has(present.nodeId) && !['new', 'pending'].includes(present.status.state);
      const next = isHeard ? behave(present) : undefined;
      return next === undefined ? [] : [{ id: present.id, next }];
    });
    await Promise.all(due.map(({ id, next }) => report(id, next)));
    return due.length > 0;
  };
  const settleAll = async (): Promise<void> => {
    for (let turn = 0; turn < 200; turn++) {
      await settle();
      await manager.idle();
      if (!(await agentStep())) return;
    }
    throw new Error('the plane does not settle');
  };
  const addNode = async (name: string, over: Partial<Node> = {}): Promise<void> => {
    await store.update(() => [{ kind: 'put', table: 'node', object: node(name, over) }], {
      principal: 'system',
      signal: anySignal(),
    });
  };
  for (const name of options.nodes ?? ['a', 'b', 'c']) await addNode(name);
  const tasks = (name?: string): readonly Task[] =>
    [...store.view().list('task')].filter(each => name === undefined || each.serviceName === name);
  return {
    clock,
    store,
    control: overTheWire(makeControl(parts)),
    log,
    failures,
    history,
    addNode,
    mute,
    report,
    settle: settleAll,
    tasks,
    running: name => tasks(name).filter(each => each.status.state === 'running' && each.desired === 'running'),
    setAgent: next => {
      behave = next;
    },
    setNode: async (name, change) => {
      await store.update(
        view => {
          const present = view.find('node', name);
          return present === undefined ? [] : [{ kind: 'put', table: 'node', object: change(present) }];
        },
        { principal: 'system', signal: anySignal() },
      );
    },
    reelect: async () => {
      await manager[Symbol.asyncDispose]();
      manager = open();
    },
    [Symbol.asyncDispose]: async () => {
      await lifetime[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

/** Requests and answers as they come out of their encodings. */
function overTheWire(control: ControlHandlers): ControlHandlers {
  const methods = Object.entries(serviceDefinition(wire, 'Control')).map(([name, method]) => {
    const handler = control[name as keyof ControlHandlers] as unknown as (
      request: unknown,
      context: CallContext,
    ) => Promise<unknown> & AsyncIterable<unknown>;
    const request = (value: unknown): unknown => method.requestDeserialize(method.requestSerialize(value));
    const response = (value: unknown): unknown => method.responseDeserialize(method.responseSerialize(value));
    async function* streamed(value: unknown, context: CallContext): AsyncGenerator<unknown> {
      for await (const each of handler(request(value), context)) yield response(each);
    }
    const unary = async (value: unknown, context: CallContext): Promise<unknown> =>
      response(await handler(request(value), context));
    return [name, method.responseStream ? streamed : unary];
  });
  return Object.fromEntries(methods) as unknown as ControlHandlers;
}

async function* emptyStream(): AsyncGenerator<never> {
  yield* [];
}
