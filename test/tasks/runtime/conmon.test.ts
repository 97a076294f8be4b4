import { PassThrough } from 'node:stream';
import t from 'tap';
import { awaitMonitorEnd, createMonitored } from '../../../src/tasks/runtime/conmon.js';
import { makeFakeClock } from '../../fake-clock.js';

interface Conmon {
  readonly answers: (line: string) => void;
  readonly writesPid: (text: string) => void;
  readonly ends: () => void;
  readonly made: Promise<unknown>;
}

/** A conmon of a few lines: what it does and in which order is up to the test. */
function spawnConmon(clock = makeFakeClock()): Conmon {
  const files = new Map<string, string>();
  const pipes = new Map([2, 3, 4].map(fd => [fd, new PassThrough()]));
  let ends = (): void => undefined;
  const exited = new Promise<{ exitCode: number; signalName: undefined }>(resolve => {
    ends = () => resolve({ exitCode: 0, signalName: undefined });
  });
  const host = {
    clock,
    files: { findTextSync: (path: string) => files.get(path) },
    processes: { spawn: async () => ({ pid: 10, pipes, exited }) },
  } as unknown as Parameters<typeof createMonitored>[0];
  const runtime = {
    name: 'crun',
    path: '/usr/bin/crun',
    version: '1',
    conmonPath: '/usr/bin/conmon',
    takesFilter: false,
  };
  const request = { containerId: 'cv-1-0', bundle: '/b', exits: '/e', log: '/l', tty: false, stdin: false };
  const made = createMonitored(
    host,
    { runtime, root: '/r' } as Parameters<typeof createMonitored>[1],
    {
      ...request,
      adopt: async () => undefined,
      signal: new AbortController().signal,
    } as Parameters<typeof createMonitored>[2],
  );
  return {
    answers: line => void pipes.get(3)?.write(line),
    writesPid: text => void files.set('/b/conmon.pid', text),
    ends: () => ends(),
    made,
  };
}

const turn = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 5));

t.test('the pid of the monitor is read when it is there', async t => {
  const conmon = spawnConmon();
  conmon.writesPid('20\n');
  conmon.answers('{"data": 30}\n');
  t.same(await conmon.made, { pid: 30, monitorPid: 20 });
});

t.test('and waited for when the monitor was faster than who started it', async t => {
  const conmon = spawnConmon();
  conmon.answers('{"data": 30}\n');
  await turn();
  conmon.writesPid('20\n');
  conmon.ends();
  t.same(await conmon.made, { pid: 30, monitorPid: 20 });
});

t.test('but not for ever', async t => {
  const clock = makeFakeClock();
  const conmon = spawnConmon(clock);
  conmon.answers('{"data": 30}\n');
  await turn();
  const refused = t.rejects(conmon.made, { code: 'container-create' });
  await clock.advance(10_000);
  await refused;
});

t.test('one that was not let go is killed before its pipes end: their end would let it go', async t => {
  const said: string[] = [];
  const pipes = new Map([2, 3, 4].map(fd => [fd, new PassThrough()]));
  const { promise: exited, resolve: end } = Promise.withResolvers<{ exitCode: undefined; signalName: string }>();
  const processes = {
    spawn: async () => ({ pid: 10, pipes, exited }),
    kill: (pid: number, signal: number) => {
      said.push(`kill ${pid} with ${signal}`, pipes.get(4)?.destroyed ? 'after its pipes' : 'before its pipes');
      end({ exitCode: undefined, signalName: 'SIGKILL' });
      return true;
    },
  };
  const host = { clock: makeFakeClock(), processes } as unknown as Parameters<typeof createMonitored>[0];
  const runtime = { path: '/usr/bin/crun', conmonPath: '/usr/bin/conmon' };
  const request = {
    containerId: 'cv-1-0',
    bundle: '/b',
    adopt: async () => {
      throw new Error('no such cgroup');
    },
    signal: new AbortController().signal,
  };
  const made = createMonitored(
    host,
    { runtime, root: '/r' } as Parameters<typeof createMonitored>[1],
    request as unknown as Parameters<typeof createMonitored>[2],
  );
  await t.rejects(made, { message: 'no such cgroup' });
  t.strictSame(said, ['kill 10 with 9', 'before its pipes']);
  t.equal(pipes.get(4)?.destroyed, true, 'then they are closed');
});

t.test('what a monitor still writes down is waited for, and one that does not end is killed', async t => {
  for (const ends of [true, false]) {
    const clock = makeFakeClock();
    const killed: number[] = [];
    let looks = 0;
    const host = {
      clock,
      files: {
        findTextSync: (path: string) =>
          path === '/b/conmon.pid' ? '20' : '/usr/bin/conmon\0--api-version\x001\0-c\0cv-1-0\0',
      },
      processes: {
        findStart: () => {
          looks += 1;
          return ends && looks > 3 ? undefined : { startTicks: 5, state: 'S' };
        },
        kill: (pid: number) => {
          killed.push(pid);
          return true;
        },
      },
    } as unknown as Parameters<typeof awaitMonitorEnd>[0];
    let isOver = false;
    const waiting = awaitMonitorEnd(host, { bundle: '/b', containerId: 'cv-1-0' }).then(() => {
      isOver = true;
    });
    for (let steps = 0; steps < 5_000 && !isOver; steps += 1) await clock.advance(2);
    await waiting;
    t.strictSame(killed, ends ? [] : [20], ends ? `gone after ${looks} looks` : 'killed after its time');
  }
});
