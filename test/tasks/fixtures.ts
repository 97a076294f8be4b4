/**
 * Tasks for tests: specs with sensible fields, and an agent over a busybox root file system of our own, with a network that
 * is only an empty namespace. Everything lies in one temporary directory and under one prefix, and is taken away at the end.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { BulkFrame, Task, TaskStatus } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { asId, type TaskId } from '../../src/ids.js';
import { type Lifetime, openLifetime } from '../../src/lifetime.js';
import { isPinned } from '../../src/netns/attachments.js';
import type { AgentOptions } from '../../src/tasks/agent-types.js';
import type { ImageRunConfig } from '../../src/tasks/images.js';
import type { Agent } from '../../src/tasks/index.js';
import {
  openAgent,
  probeRuntime,
  type RuntimeChoice,
  type TaskImages,
  type TaskNetwork,
} from '../../src/tasks/index.js';
import type { Logger } from '../../src/telemetry.js';
import { fakeImages } from './fake-images.js';
import { emptyImage } from './objects.js';

export { assignedStatus, emptyImage, makeMount, makeTask, plainContainer, type TaskChanges } from './objects.js';

const silentLog: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLog,
};

const noisyLog: Logger = {
  debug: () => undefined,
  info: (message, fields) => process.stderr.write(`info ${message} ${JSON.stringify(fields)}\n`),
  warn: (message, fields) =>
    process.stderr.write(
      `warn ${message} ${JSON.stringify(fields)} ${fields?.['error'] instanceof Error ? (fields['error'] as Error).stack : ''}\n`,
    ),
  error: (message, fields) => process.stderr.write(`error ${message} ${JSON.stringify(fields)}\n`),
  with: () => noisyLog,
};

/** Why these tests cannot run here, or false. */
export function whyNotReal(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  for (const program of ['conmon', 'busybox']) {
    if (linuxHost.processes.findOnPath(program) === undefined) return `needs ${program}`;
  }
  return (linuxHost.processes.findOnPath('crun') ?? linuxHost.processes.findOnPath('runc'))
    ? false
    : 'needs crun or runc';
}

export interface Rig extends AsyncDisposable {
  readonly directory: string;
  readonly dataDir: string;
  readonly runDir: string;
  readonly prefix: string;
  readonly runtime: RuntimeChoice;
  agent: Agent;
  /** Ends the daemon's half as a crash would: nothing is told, nothing is stopped. */
  readonly drop: () => Promise<void>;
  /** Opens a new agent on the same directories. */
  readonly reopen: (more?: { readonly bootId?: string }) => Promise<void>;
  /** Assigns and waits until the task is in that state (or in a later one). */
  readonly run: (task: Task, state?: TaskStatus['state']) => Promise<TaskStatus>;
  readonly wait: (id: TaskId, state: TaskStatus['state'] | ((status: TaskStatus) => boolean)) => Promise<TaskStatus>;
  readonly assign: (
    tasks: readonly Task[],
    more?: { readonly full?: boolean; readonly removed?: readonly TaskId[] },
  ) => Promise<void>;
  readonly status: (id: TaskId) => TaskStatus | undefined;
  readonly logs: (id: TaskId, more?: { readonly tail?: number; readonly container?: string }) => Promise<string>;
  readonly cgroup: (id: TaskId, controller: string, file: string) => string;
}

const patienceS = process.env['COVEY_TEST_WAIT_S'];
/** By scripts/vm-test: everything takes several times as long. */
export const isEmulated = patienceS !== undefined;
export const waitMaxMs = Number(patienceS ?? '20') * 1_000;

/** One rig a test file; the prefix has to differ between files that run at once. */
export async function openRig(
  t: Test,
  options: {
    readonly prefix: string;
    readonly wanted?: 'auto' | 'crun' | 'runc';
    readonly image?: Partial<ImageRunConfig>;
    /** Images in the place of the one of every rig. */
    readonly wrapImages?: (directory: string, plain: TaskImages) => TaskImages;
    /** Of the agent, beyond what every rig has. */
    readonly agent?: (place: { readonly dataDir: string }) => Partial<AgentOptions>;
    readonly limitsEveryMs?: number;
  },
): Promise<Rig> {
  const directory = fs.mkdtempSync(join(tmpdir(), 'covey-runtime-'));
  fs.chmodSync(directory, 0o711); // root of a user namespace is nobody here
  const failures: unknown[] = [];
  const awake = setInterval(() => undefined, 1_000); // nothing of an agent keeps a process alive
  const open = async (more: { readonly bootId?: string } = {}): Promise<OpenedAgent> =>
    await openAgentAt({ directory, ...options, ...more, onFailure: failure => failures.push(failure) });
  let opened = await open();
  const { place, runtime } = opened;
  const rig: Rig = {
    directory,
    ...place,
    runtime,
    agent: opened.agent,
    drop: async () => await opened.lifetime[Symbol.asyncDispose](),
    reopen: async more => {
      await opened.lifetime[Symbol.asyncDispose]();
      opened = await open(more);
      rig.agent = opened.agent;
    },
    run: async (task, state = 'running') => {
      await rig.assign([task]);
      return await rig.wait(task.id, state);
    },
    wait: (id, state) => waitFor(rig, id, state),
    assign: async (tasks, more = {}) =>
      await rig.agent.assign({
        term: 1,
        sequence: 1,
        full: more.full ?? false,
        tasks,
        removedTasks: more.removed ?? [],
        secrets: [],
        configs: [],
      }),
    status: id => rig.agent.reports().find(report => report.taskId === id)?.status,
    logs: async (id, more = {}) => await readAll(rig, id, more),
    cgroup: (id, controller, file) => {
      const v1 = `/sys/fs/cgroup/${controller}/${options.prefix}/${id}/${file}`;
      return fs.readFileSync(fs.existsSync(v1) ? v1 : `/sys/fs/cgroup/${options.prefix}/${id}/${file}`, 'utf8').trim();
    },
    [Symbol.asyncDispose]: async () => {
      await rig.agent.stopAll(AbortSignal.timeout(waitMaxMs));
      await opened.lifetime[Symbol.asyncDispose]();
      await opened.undo();
      clearInterval(awake);
      const left = remains(rig);
      fs.rmSync(directory, { recursive: true, force: true });
      t.strictSame(left, [], 'nothing is left on the machine');
      t.strictSame(failures, [], 'no background work failed');
    },
  };
  return rig;
}

interface OpenedAgent {
  readonly agent: Agent;
  readonly lifetime: Lifetime;
  readonly runtime: RuntimeChoice;
  readonly place: { readonly dataDir: string; readonly runDir: string; readonly prefix: string };
  readonly undo: () => Promise<unknown>;
}

/** An agent on a directory: a new one, or one that another process left. */
export async function openAgentAt(options: {
  readonly directory: string;
  readonly prefix: string;
  readonly wanted?: 'auto' | 'crun' | 'runc';
  readonly image?: Partial<ImageRunConfig>;
  readonly bootId?: string;
  readonly wrapImages?: (directory: string, plain: TaskImages) => TaskImages;
  readonly agent?: (place: { readonly dataDir: string }) => Partial<AgentOptions>;
  readonly limitsEveryMs?: number;
  readonly onFailure?: (failure: unknown) => void;
}): Promise<OpenedAgent> {
  const { directory, prefix, bootId } = options;
  const place = { dataDir: join(directory, 'data'), runDir: join(directory, 'run'), prefix };
  for (const path of [place.dataDir, place.runDir]) fs.mkdirSync(path, { recursive: true });
  const log = process.env['COVEY_TEST_LOG'] === undefined ? silentLog : noisyLog;
  const probe = await probeRuntime({ host: linuxHost, ...place, wanted: options.wanted ?? 'auto', log });
  if (probe.choice === undefined) throw new Error(`no runtime: ${JSON.stringify(probe.findings)}`);
  const lifetime = openLifetime('test', { onFailure: (name, error) => options.onFailure?.([name, error]) });
  const processes = bootId === undefined ? linuxHost.processes : { ...linuxHost.processes, bootId: () => bootId };
  const plain = fakeImages(directory, { ...emptyImage, ...options.image });
  const agent = openAgent({
    host: { ...linuxHost, processes },
    ...place,
    runtime: probe.choice,
    images: options.wrapImages?.(directory, plain) ?? plain,
    network: fakeNetwork(directory),
    limitsEveryMs: options.limitsEveryMs,
    copyCommand: [process.execPath, 'dist/coveyd.js', '--copy-files'],
    log,
    lifetime,
    ...options.agent?.(place),
  });
  await agent.recover(lifetime.signal);
  return { agent, lifetime, runtime: probe.choice, place, undo: probe.undo };
}

/** What bears the rig's names in the kernel or in its directories. */
function remains(rig: Pick<Rig, 'directory' | 'prefix' | 'runDir' | 'dataDir'>): readonly string[] {
  const mounts = fs
    .readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter(line => line.includes(rig.directory));
  const groups = fs.globSync([`/sys/fs/cgroup/${rig.prefix}`, `/sys/fs/cgroup/*/${rig.prefix}`]);
  const processes = fs.globSync('/proc/[0-9]*/cmdline').filter(path => {
    try {
      return fs.readFileSync(path, 'utf8').includes(`\0${rig.prefix}-`);
    } catch {
      return false; // it ended meanwhile
    }
  });
  const files = ['tasks', 'bundles', 'exits', 'secrets', 'runtime'].flatMap(name =>
    fs.globSync(`${rig.runDir}/${name}/**`).concat(fs.globSync(`${rig.dataDir}/${name}/*`)),
  );
  return [...mounts, ...groups, ...processes, ...files];
}

async function waitFor(
  rig: Rig,
  id: TaskId,
  state: TaskStatus['state'] | ((status: TaskStatus) => boolean),
): Promise<TaskStatus> {
  const order = ['accepted', 'preparing', 'ready', 'starting', 'running', 'complete', 'shutdown', 'failed', 'rejected'];
  const fits =
    typeof state === 'function' ? state : (status: TaskStatus) => order.indexOf(status.state) >= order.indexOf(state);
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      listening[Symbol.dispose]();
      reject(new Error(`task ${id} is ${JSON.stringify(rig.status(id))}, not ${state}`));
    }, waitMaxMs);
    const look = (): void => {
      const status = rig.status(id);
      if (status === undefined || !fits(status)) return;
      clearTimeout(timer);
      listening[Symbol.dispose]();
      resolve(status);
    };
    const listening = rig.agent.onReport(look);
    look();
  });
}

async function readAll(
  rig: Rig,
  id: TaskId,
  more: { readonly tail?: number; readonly container?: string },
): Promise<string> {
  const start = {
    taskId: id,
    container: more.container ?? '',
    follow: false,
    tail: more.tail ?? -1,
    sinceMs: 0,
    untilMs: 0,
  };
  return textOf(await collect(rig.agent.logs(start, AbortSignal.timeout(waitMaxMs))));
}

export async function collect(frames: AsyncIterable<BulkFrame>): Promise<readonly BulkFrame[]> {
  const all: BulkFrame[] = [];
  for await (const frame of frames) all.push(frame);
  return all;
}

export function textOf(frames: readonly BulkFrame[], stream?: 'stdout' | 'stderr'): string {
  return frames
    .map(({ body }) =>
      body.kind === 'data' && (stream === undefined || body.stream === stream)
        ? Buffer.from(body.data).toString('utf8')
        : '',
    )
    .join('');
}

function fakeNetwork(directory: string): TaskNetwork {
  const folder = join(directory, 'netns');
  fs.mkdirSync(folder, { recursive: true });
  return {
    attach: async task => {
      const path = join(folder, task.id);
      if (!isPinned(linuxHost.kernel, path)) {
        linuxHost.kernel.closeNamespace(linuxHost.kernel.makeNetworkNamespace(path));
        execFileSync('nsenter', [`--net=${path}`, 'ip', 'link', 'set', 'lo', 'up']);
      }
      return {
        namespacePath: path,
        nameservers: ['169.254.1.1'],
        searchDomains: ['shop.internal'],
        takesUpstreams: true,
      };
    },
    detach: async id => {
      if (fs.existsSync(join(folder, id))) linuxHost.kernel.removeNamespace(join(folder, id));
    },
    attached: () => fs.readdirSync(folder).map(name => asId<TaskId>(name)),
  };
}
