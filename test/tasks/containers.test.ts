import t from 'tap';
import {
  adoptContainer,
  type ContainerSeen,
  createdContainer,
  isAlive,
  noContainer,
  refreshContainer,
} from '../../src/tasks/containers.js';
import type { Engine } from '../../src/tasks/engine.js';
import { pathsOf } from '../../src/tasks/paths.js';
import { makeTask } from './fixtures.js';

const paths = pathsOf({ dataDir: '/data', runDir: '/run/x', prefix: 'cv' });
const task = makeTask();
const place = { task, index: 0 };
const containerId = paths.containerId(task.id, 0);
const bundle = paths.bundle(task.id, 0);

interface Machine {
  readonly files?: Record<string, string>;
  /** By pid: start and state. */
  readonly processes?: Record<number, { readonly startTicks: number; readonly state?: string }>;
  readonly members?: readonly number[];
}

/** The few parts of an engine that looking at a container needs. */
function engineOf(machine: Machine): Engine {
  const files = new Map(Object.entries(machine.files ?? {}));
  return {
    paths,
    placeOf: () => ({ root: paths.runtimeRoot('crun') }),
    host: {
      files: {
        findTextSync: (path: string) => files.get(path),
        listSync: (path: string) =>
          [...files.keys()].filter(name => name.startsWith(`${path}/`)).map(name => name.slice(path.length + 1)),
      },
      processes: {
        findStart: (pid: number) => {
          const process = machine.processes?.[pid];
          return process === undefined ? undefined : { state: 'S', parent: 1, ...process };
        },
      },
    },
    cgroups: { members: () => machine.members ?? [] },
  } as unknown as Engine;
}

const monitor = { [`/proc/20/cmdline`]: `/usr/bin/conmon\0--api-version\x001\0-c\0${containerId}\0` };
const made = { [`${bundle}/pidfile`]: '10', [`${bundle}/conmon.pid`]: '20\n' };
const both = { 10: { startTicks: 7 }, 20: { startTicks: 6 } };
const running: ContainerSeen = {
  ...createdContainer(engineOf({ processes: both }), containerId, { pid: 10, monitorPid: 20 }),
  phase: 'running',
};

t.test('F7: a process that got the pid of a dead one is not taken for it', async t => {
  t.ok(isAlive(engineOf({ processes: both }), running));
  t.notOk(isAlive(engineOf({ processes: { 10: { startTicks: 8 } } }), running), 'started at another time');
  t.notOk(isAlive(engineOf({ processes: { 10: { startTicks: 7, state: 'Z' } } }), running), 'a zombie is dead');
  t.notOk(isAlive(engineOf({}), running));
});

t.test('how a container that was made is seen again', async t => {
  const rows: readonly (readonly [string, Machine, Partial<ContainerSeen>])[] = [
    ['it runs', { files: monitor, processes: both }, { phase: 'running' }],
    ['it ended with a code', { files: { [paths.exit(containerId)]: '143' } }, { phase: 'ended', exitCode: 143 }],
    [
      'its code is in the bundle only',
      { files: { [`${bundle}/persist/exit`]: '0', [`${bundle}/persist/oom`]: '' } },
      { phase: 'ended', exitCode: 0, outOfMemory: true },
    ],
    [
      'it died, and its monitor is about to say how',
      { files: monitor, processes: { 20: { startTicks: 6 } } },
      { phase: 'running' },
    ],
    ['it died, and so did its monitor', {}, { phase: 'ended', exitCode: undefined }],
    [
      'its monitor’s pid belongs to somebody else',
      { files: { '/proc/20/cmdline': 'vim\0-c\0other\0' }, processes: { 20: { startTicks: 9 } } },
      { phase: 'ended', exitCode: undefined },
    ],
    [
      'an exit file that is not whole is none',
      { files: { ...monitor, [paths.exit(containerId)]: '' }, processes: both },
      { phase: 'running' },
    ],
  ];
  for (const [name, machine, expected] of rows)
    t.match(refreshContainer(engineOf(machine), running, place), expected, name);
  t.strictSame(
    refreshContainer(engineOf({}), noContainer(containerId), place).phase,
    'none',
    'what was never made is not looked for',
  );
});

t.test('what an earlier daemon left is adopted, or known for what it is', async t => {
  const fifo = { [`${paths.runtimeRoot('crun')}/${containerId}/exec.fifo`]: '' };
  const waiting = { ...fifo, '/proc/10/cmdline': '/usr/bin/crun\0create\0' };
  const begun = { ...fifo, '/proc/10/cmdline': '/bin/sh\0' };
  const rows: readonly (readonly [string, Machine, string])[] = [
    ['nothing', {}, 'none'],
    ['a bundle without a container', { files: { [`${bundle}/config.json`]: '{}' } }, 'stray'],
    ['running, with its monitor', { files: { ...made, ...monitor }, processes: both, members: [10] }, 'found running'],
    [
      'running, without a monitor',
      { files: made, processes: { 10: { startTicks: 7 } }, members: [10] },
      'orphan running',
    ],
    [
      'made, with its monitor',
      { files: { ...made, ...monitor, ...waiting }, processes: both, members: [10] },
      'found created',
    ],
    [
      'let go just before the daemon died',
      { files: { ...made, ...monitor, ...begun }, processes: both, members: [10] },
      'found running',
    ],
    [
      'made, without a monitor',
      { files: { ...made, ...waiting }, processes: { 10: { startTicks: 7 } }, members: [10] },
      'stray',
    ],
    ['ended', { files: { ...made, [paths.exit(containerId)]: '3' } }, 'found ended'],
    ['its pid is now somebody else’s', { files: { ...made, ...monitor }, processes: both, members: [] }, 'stray'],
  ];
  for (const [name, machine, expected] of rows) {
    const adoption = adoptContainer(engineOf(machine), place);
    t.equal('container' in adoption ? `${adoption.kind} ${adoption.container.phase}` : adoption.kind, expected, name);
  }
});
