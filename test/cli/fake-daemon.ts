/**
 * A daemon for tests: Local and Control on a unix socket in a folder of the test's own, answering from plain objects, and the
 * command line as a process that talks to it.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import grpc from '@grpc/grpc-js';
import type { Test } from 'tap';
import { run } from '../../src/cli/run.js';
import { CoveyError } from '../../src/errors.js';
import type { Services } from '../../src/gen/services.js';
import type { InfoResponse, Service, Task, WatchEvent } from '../../src/gen/types.js';
import { addService, type Handlers, pathsOf } from '../../src/grpc.js';
import { openConsole } from '../../src/host-linux/console.js';
import { asId, type ClusterId, type NodeId } from '../../src/ids.js';
import { openWire } from '../../src/wire.js';
import { fakeConsole } from './fake-console.js';
import { node } from './objects.js';

export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  readonly ms: number;
}

export interface CoveyOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Called with each piece of standard output, and a way to send a signal. */
  readonly onOutput?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
}

type ControlHandlers = Handlers<Services['Control']>;
type LocalHandlers = Handlers<Services['Local']>;

export interface FakeDaemon {
  readonly socket: string;
  readonly directory: string;
  /** The command line, within the test's process. */
  readonly covey: (args: readonly string[], options?: CoveyOptions) => Promise<Outcome>;
  /** The same as a process of its own. */
  readonly process: (args: readonly string[], options?: CoveyOptions) => Promise<Outcome>;
  /** Objects that a new watcher is shown first. */
  readonly shown: WatchEvent['event'][];
  readonly stop: () => void;
}

export interface FakeDaemonOptions {
  readonly control?: Partial<ControlHandlers>;
  readonly local?: Partial<LocalHandlers>;
}

const wire = openWire();

export async function openFakeDaemon(t: Test, options: FakeDaemonOptions = {}): Promise<FakeDaemon> {
  const directory = mkdtempSync(join(tmpdir(), 'covey-cli-'));
  const socket = join(directory, 'covey.sock');
  const shown: WatchEvent['event'][] = [];
  const server = new grpc.Server();
  const findCaller = () => ({ kind: 'uid', uid: 0 }) as const;
  addService(server, 'Control', {
    wire,
    findCaller,
    handlers: {
      ...refusing<ControlHandlers>('Control'),
      watch: async function* (_request, context) {
        for (const event of [...shown, { kind: 'synced' } as const]) yield { event };
        await new Promise<void>(resolve => context.signal.addEventListener('abort', () => resolve(), { once: true }));
      },
      ...options.control,
    },
  });
  addService(server, 'Local', {
    wire,
    findCaller,
    handlers: { ...refusing<LocalHandlers>('Local'), info: async () => info, ...options.local },
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), error =>
      error ? reject(error) : resolve(),
    );
  });
  const stop = (): void => server.forceShutdown();
  t.teardown(() => {
    stop();
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    socket,
    directory,
    shown,
    stop,
    covey: (args, given) => runHere(['--socket', socket, ...args], given),
    process: (args, given) => covey(['--socket', socket, ...args], given),
  };
}

function refusing<All>(service: keyof Services): All {
  const names = pathsOf(service).map(path => path.split('/')[2] ?? '');
  const refuse = async (): Promise<never> => {
    throw new CoveyError('bug', 'Cannot get here: the test did not expect this call');
  };
  return Object.fromEntries(names.map(name => [`${name.charAt(0).toLowerCase()}${name.slice(1)}`, refuse])) as All;
}

/** The command line within the test's own process, in a pipe. */
async function runHere(args: readonly string[], options: CoveyOptions = {}): Promise<Outcome> {
  const started = performance.now();
  const { clock, findFile, findKind, openFile, createFile, connectSocket } = openConsole();
  const console = fakeConsole({
    args,
    env: options.env ?? {},
    input: options.input === undefined ? [] : [options.input],
    machine: { clock, findFile, findKind, openFile, createFile, connectSocket },
  });
  const code = await run(console);
  return { code, out: console.out(), err: console.err(), ms: performance.now() - started };
}

/** The command line as a process of its own. */
export function covey(args: readonly string[], options: CoveyOptions = {}): Promise<Outcome> {
  return runProcess([process.execPath, 'dist/src/cli/main.js', ...args], options);
}

export function runProcess(argv: readonly string[], options: CoveyOptions = {}): Promise<Outcome> {
  const started = performance.now();
  const child = spawn(argv[0] ?? '', argv.slice(1), {
    stdio: 'pipe',
    env: { PATH: process.env['PATH'], HOME: '/root', TERM: 'xterm', ...options.env },
  });
  const text = { out: '', err: '' };
  child.stdout.on('data', (data: Uint8Array) => {
    const piece = new TextDecoder().decode(data);
    text.out += piece;
    options.onOutput?.(piece, signal => child.kill(signal));
  });
  child.stderr.on('data', (data: Uint8Array) => {
    text.err += new TextDecoder().decode(data);
  });
  child.stdin.on('error', () => undefined); // a command that does not read may end first
  child.stdin.end(options.input ?? '');
  return new Promise(resolve => {
    child.once('close', code => resolve({ code, ...text, ms: performance.now() - started }));
  });
}

const info: InfoResponse = {
  version: '0.1.0',
  inCluster: true,
  clusterId: asId<ClusterId>('k3f9xw0000000000000000000'),
  nodeId: asId<NodeId>('n1'),
  nodeName: 'rack1',
  role: 'manager',
  leader: true,
  connected: true,
  managers: [{ nodeId: asId<NodeId>('n1'), addresses: ['10.0.0.11:7377'], leader: true, raftId: 0 }],
  description: node({ id: 'n1', name: 'rack1' }).description,
  dataDir: '/var/lib/covey',
  runDir: '/run/covey',
  socket: '/run/covey/covey.sock',
  pid: 42,
  startedAtMs: Date.now() - 65_000,
  prefix: 'covey',
  tasksRunning: 3,
  runtime: 'crun',
  listenAddress: '0.0.0.0:7377',
  nodeVersion: 'v26.10.0',
  counts: { nodes: 2, services: 1, tasks: 3, networks: 1 },
};

export function listing(services: readonly Service[], tasks: readonly Task[]): Partial<ControlHandlers> {
  const running = (id: string): number =>
    tasks.filter(task => task.serviceId === id && task.status.state === 'running').length;
  return {
    listServices: async request => {
      const found = services.filter(
        service =>
          (request.objects.length === 0 ||
            request.objects.some(name => name === service.spec.name || name === service.id)) &&
          (request.stack === '' || service.spec.stack === request.stack),
      );
      if (found.length === 0 && request.objects.length > 0) {
        throw new CoveyError('not-found', `Cannot find service "${request.objects[0]}"`, { hint: 'covey service ls' });
      }
      return {
        services: found,
        completed: {},
        running: Object.fromEntries(found.map(service => [service.id, running(service.id)])),
        wanted: Object.fromEntries(
          found.map(service => [service.id, service.spec.mode.kind === 'replicated' ? service.spec.mode.replicas : 2]),
        ),
      };
    },
    listTasks: async request => ({
      tasks: tasks.filter(
        task =>
          (request.service === '' || task.serviceId === request.service) &&
          (request.tasks.length === 0 ||
            request.tasks.includes(`${task.serviceName}.${task.slot}`) ||
            request.tasks.includes(task.id)),
      ),
      nodes: { n1: 'rack1', n2: 'rack2', n3: 'rack3' },
    }),
    listNodes: async () => ({
      nodes: [
        node({ id: 'n1', name: 'rack1', role: 'manager' }),
        node({ id: 'n2', name: 'rack2', state: 'lost', message: 'for 38 s; its tasks move in 22 s' }),
        node({ id: 'n3', name: 'edge-a', availability: 'drain' }),
      ],
      tasks: { n1: 12, n2: 0, n3: 2 },
      leaderId: asId<NodeId>('n1'),
      reachable: [asId<NodeId>('n1')],
      lastHeardMs: {},
    }),
  };
}
