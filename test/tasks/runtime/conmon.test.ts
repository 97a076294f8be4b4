import { PassThrough } from 'node:stream';
import t from 'tap';
import { createMonitored } from '../../../src/tasks/runtime/conmon.js';
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
