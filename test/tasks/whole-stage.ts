/**
 * The stage for tests of a whole node that dies and comes back: a namespace that stands for its host, an image, tables, and
 * the node's directories; agents are opened over it one after the other, here or in processes that are to be killed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import type { Host } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import type { TaskId } from '../../src/ids.js';
import { openImageStore } from '../../src/tasks/image/index.js';
import { configure, type LabNode, networkItem, nodeItem, openLab, tables } from '../netns/lab.js';
import { importInto, silentLog, unpackCommand } from './image/test-store.js';
import { dataDirOf, fullSet, openWhole, processesOf, remainsOf, type Whole, type WholePlace } from './whole.js';
import type { ChildWork } from './whole-child.js';

export interface Stage extends AsyncDisposable {
  readonly place: WholePlace;
  readonly node: LabNode;
  /** The agent of the moment. */
  readonly whole: () => Whole;
  /** Ends the agent as the end of a daemon does; opens the next one. */
  readonly drop: () => Promise<void>;
  readonly open: (host?: Host) => Promise<Whole>;
  /** A daemon of its own process that ends at a step; answers with what it said, and how it ended. */
  readonly die: (
    work: Omit<ChildWork, 'place'>,
  ) => Promise<{ readonly said: readonly string[]; readonly signal: string }>;
  readonly wait: (
    id: TaskId,
    ...states: readonly string[]
  ) => Promise<Whole['agent'] extends { reports(): readonly (infer Report)[] } ? Report : never>;
  /** Waits until it runs and catches the signal to stop: one that does not yet is killed at once instead. */
  readonly hears: (id: TaskId) => Promise<void>;
  /** Has all tasks removed (`byItself`: they were before), and says what is on the machine after it: nothing, when all is well. */
  readonly clear: (more?: { readonly byItself?: boolean }) => Promise<readonly string[]>;
}

const waitMaxMs = 20_000;

export async function openStage(t: Test, prefix: string): Promise<Stage> {
  const lab = await openLab({ nodes: 1 });
  const [node] = lab.nodes;
  if (node === undefined) throw new Error('no node');
  await configure(node);
  await node.stack.applyTables(
    tables(nodeItem(node), networkItem('net1', '10.0.1.0/24')),
    AbortSignal.timeout(waitMaxMs),
  );
  await node.stack[Symbol.asyncDispose]();
  const place = { directory: join(lab.directory, 'n1'), prefix, namespacePath: node.namespace.path };
  await importImage(place);
  let whole: Whole | undefined;
  const current = (): Whole => {
    if (whole === undefined) throw new Error('no agent is open');
    return whole;
  };
  const stage: Stage = {
    place,
    node,
    whole: current,
    drop: async () => {
      await whole?.[Symbol.asyncDispose]();
      whole = undefined;
    },
    open: async host => {
      await stage.drop();
      whole = await openWhole(place, host);
      return whole;
    },
    die: work => runChild({ place, ...work }),
    wait: async (id, ...states) => {
      const endMs = Date.now() + waitMaxMs;
      for (;;) {
        const report = current()
          .agent.reports()
          .find(one => one.taskId === id);
        if (report !== undefined && states.includes(report.status.state)) return report;
        if (Date.now() > endMs)
          throw new Error(`task ${id} is ${JSON.stringify(report?.status)}, not ${states.join(' or ')}`);
        await new Promise(resolve => setTimeout(resolve, 2));
      }
    },
    hears: async id => {
      const { status } = await stage.wait(id, 'running');
      const endMs = Date.now() + waitMaxMs;
      while (status.pid === undefined || !catchesTerm(status.pid)) {
        if (Date.now() > endMs) throw new Error(`process ${status.pid} of task ${id} does not catch SIGTERM`);
        await new Promise(resolve => setTimeout(resolve, 2));
      }
    },
    clear: async (more = {}) => {
      const { agent } = current();
      if (more.byItself !== true) await agent.assign(fullSet([]));
      const endMs = Date.now() + waitMaxMs;
      while (agent.reports().length > 0 && Date.now() < endMs) await new Promise(resolve => setTimeout(resolve, 2));
      // The kernel takes links down a moment after the namespace that held them.
      const gone = Math.min(endMs, Date.now() + 3_000);
      while (remainsOf(place).length > 0 && Date.now() < gone) await new Promise(resolve => setTimeout(resolve, 10));
      return [
        ...agent.reports().map(({ taskId }) => `report of ${taskId}`),
        ...remainsOf(place),
        ...(await agent.sweep()),
      ];
    },
    [Symbol.asyncDispose]: async () => {
      const last = whole ?? (await stage.open());
      await last.agent.stopAll(AbortSignal.timeout(waitMaxMs));
      await stage.drop();
      await last.undo();
      node.stack = lab.open(node);
      await node.stack.recover();
      await lab[Symbol.asyncDispose]();
      t.strictSame(processesOf(place), [], 'no process is left');
    },
  };
  return stage;
}

function catchesTerm(pid: number): boolean {
  const [, caught = '0'] = /^SigCgt:\t([0-9a-f]+)$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return (BigInt(`0x${caught}`) & (1n << 14n)) !== 0n;
}

async function importImage(place: WholePlace): Promise<void> {
  const archive = join(place.directory, 'hello.tar');
  execFileSync(join(process.cwd(), 'scripts/make-image'), [archive]);
  const store = await openImageStore({
    directory: join(dataDirOf(place), 'images'),
    host: linuxHost,
    log: silentLog,
    unpackCommand,
    emptyFiles: ['etc/hosts', 'etc/hostname', 'etc/resolv.conf'],
  });
  await importInto(store, fs.readFileSync(archive), { name: 'hello:1' });
}

async function runChild(work: ChildWork): Promise<{ readonly said: readonly string[]; readonly signal: string }> {
  const program = fileURLToPath(new URL('./whole-child.js', import.meta.url));
  const child = spawn(process.execPath, [program, JSON.stringify(work)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', data => {
    text += String(data);
  });
  const timer = setTimeout(() => child.kill('SIGTERM'), waitMaxMs);
  await once(child, 'close');
  clearTimeout(timer);
  return { said: text.split('\n').filter(line => line !== ''), signal: child.signalCode ?? '' };
}
