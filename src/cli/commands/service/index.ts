/**
 * Services: made, listed, looked at, changed, removed.
 *
 * How it goes: options.ts (the flags) -> spec-flags.ts and list-flags.ts (flags to spec, pure) -> actions.ts (calls and waits);
 * logs.ts by itself.
 */
import {
  type CommandDefinition,
  clusterListOptions,
  formatOption,
  readOptions,
  waitOptions,
} from '../../definition.js';
import { runCreate, runInspect, runList, runRemove, runScale, runTasks, runUpdate } from './actions.js';
import { logsOptions, runLogs } from './logs.js';
import { createOptions, updateOptions } from './options.js';
import { runHistory, runRollback } from './steering.js';

export const serviceCommands: readonly CommandDefinition[] = [
  {
    path: ['service', 'create'],
    says: 'Make a service and wait until it runs',
    about: 'What follows the image replaces its command.',
    args: [
      { name: 'IMAGE', needed: true, completes: 'image' },
      { name: 'COMMAND', needed: false },
      { name: 'ARG', needed: false, many: true },
    ],
    options: createOptions,
    passThrough: true,
    examples: [
      {
        says: 'three tasks behind port 8080 of every node',
        line: 'covey service create --name web --replicas 3 -p 8080:80 hello:1',
      },
      {
        says: 'one task on every node with a fast disk',
        line: 'covey service create --name cache --mode global --constraint node.labels.disk==ssd hello:1 sleep inf',
      },
    ],
    run: runCreate,
  },
  {
    path: ['service', 'ls'],
    says: 'List services',
    args: [],
    options: clusterListOptions,
    examples: [
      { says: 'all services', line: 'covey service ls' },
      {
        says: 'those of one stack, with their ports',
        line: "covey service ls -f stack=shop --format '{{.name}} {{.ports.0.published}}'",
      },
    ],
    run: runList,
  },
  {
    path: ['service', 'ps'],
    says: 'List the tasks of services, with what they wait for and why they ended',
    args: [{ name: 'SERVICE', needed: true, many: true, completes: 'service' }],
    options: [
      { flags: '--containers', says: 'The containers of each task: init, sidecars, main' },
      ...clusterListOptions,
    ],
    examples: [
      { says: 'tasks and their history', line: 'covey service ps web' },
      { says: 'how its sidecars do', line: 'covey service ps --containers web' },
      { says: 'only those that should run', line: 'covey service ps -f desired-state=running web' },
    ],
    run: runTasks,
  },
  {
    path: ['service', 'inspect'],
    says: 'Show all about services',
    args: [{ name: 'SERVICE', needed: true, many: true, completes: 'service' }],
    options: [formatOption, ...readOptions],
    examples: [
      { says: 'one service', line: 'covey service inspect web' },
      { says: 'its virtual address', line: "covey service inspect --format '{{.vips.0}}' web" },
    ],
    run: runInspect,
  },
  {
    path: ['service', 'update'],
    says: 'Change a service and wait until the change runs',
    about:
      'Only what is named changes. Lists change by …-add and …-rm. A paused update goes on with any update of the service.',
    args: [{ name: 'SERVICE', needed: true, completes: 'service' }],
    options: updateOptions,
    examples: [
      { says: 'roll a new image out', line: 'covey service update --image hello:2 web' },
      {
        says: 'three at a time, each new one first, and back when one fails',
        line: 'covey service update --image hello:2 --update-parallelism 3 --update-order start-first --update-failure-action rollback web',
      },
      { says: 'a variable more, a port less', line: 'covey service update --env-add LEVEL=debug --publish-rm 80 web' },
    ],
    run: runUpdate,
  },
  {
    path: ['service', 'rollback'],
    says: 'Give a service an earlier spec again and wait until it runs',
    about: 'Without --to that is the last one that was rolled out wholly. The number of replicas stays.',
    args: [{ name: 'SERVICE', needed: true, completes: 'service' }],
    options: [
      { flags: '--to <revision>', says: 'Number of a revision (covey service history)' },
      { flags: '-q, --quiet', says: 'Print only the id' },
      ...waitOptions,
    ],
    examples: [
      { says: 'undo the last update', line: 'covey service rollback web' },
      { says: 'a certain revision, without waiting', line: 'covey service rollback -d --to 3 web' },
    ],
    run: runRollback,
  },
  {
    path: ['service', 'history'],
    says: 'List the revisions of a service, the newest first',
    args: [{ name: 'SERVICE', needed: true, completes: 'service' }],
    options: clusterListOptions,
    examples: [
      { says: 'who changed what, and when', line: 'covey service history web' },
      { says: 'the stable ones, for a script', line: 'covey service history -f stable=true --format json web' },
    ],
    run: runHistory,
  },
  {
    path: ['service', 'scale'],
    says: 'Set the number of tasks of services',
    args: [{ name: 'SERVICE=REPLICAS', needed: true, many: true, completes: 'service' }],
    options: waitOptions,
    examples: [
      { says: 'one service', line: 'covey service scale web=5' },
      { says: 'two, without waiting', line: 'covey service scale -d web=5 worker=2' },
    ],
    run: runScale,
  },
  {
    path: ['service', 'rm'],
    says: 'Remove services and wait until their tasks are gone',
    args: [{ name: 'SERVICE', needed: true, many: true, completes: 'service' }],
    options: [{ flags: '--yes', says: 'Accepted as in all other removals; this one never asks' }, ...waitOptions],
    examples: [
      { says: 'one service', line: 'covey service rm web' },
      { says: 'several, without waiting', line: 'covey service rm -d web worker' },
    ],
    run: runRemove,
  },
  {
    path: ['logs'],
    says: 'Show what services or tasks have written, wherever they run',
    about:
      'A node that is away makes the answer partial: a note says which task is missing. Following a service goes on with the tasks that replace those that end.',
    args: [{ name: 'SERVICE|TASK', needed: true, many: true, completes: 'service' }],
    options: logsOptions,
    examples: [
      { says: 'the last lines, and on', line: 'covey logs -f -n 20 web' },
      { says: 'two tasks, between two times', line: 'covey logs --since 1h --until 30m web.1 web.2' },
    ],
    run: runLogs,
  },
  {
    path: ['service', 'logs'],
    says: 'Show what the tasks of a service have written',
    args: [{ name: 'SERVICE|TASK', needed: true, many: true, completes: 'service' }],
    options: logsOptions,
    examples: [
      { says: 'the last lines, and on', line: 'covey service logs -f -n 20 web' },
      { says: 'one task, with times', line: 'covey service logs -t --since 10m web.2' },
    ],
    run: runLogs,
  },
  {
    path: ['task', 'logs'],
    says: 'Show what tasks have written',
    args: [{ name: 'TASK', needed: true, many: true, completes: 'task' }],
    options: logsOptions,
    examples: [
      { says: 'the last lines, and on', line: 'covey task logs -f -n 20 web.1' },
      { says: 'on this node, with all managers away', line: 'covey task logs --local web.1' },
    ],
    run: runLogs,
  },
];
