/**
 * The steps of a task's life by their effects on the machine (faults.ts), in their order: where a daemon is killed by tests,
 * and where the machine refuses. And what must be so after the next daemon has recovered.
 */
import * as fs from 'node:fs';
import type { ContainerSpec, Task } from '../../src/gen/types.js';
import { dataDirOf, fullSet, processesOf, wholeTask } from './whole.js';
import type { Stage } from './whole-stage.js';

export const makeSteps: Readonly<Record<string, RegExp>> = {
  'the directory': /^makeDirectory data\/tasks\/<task>$/,
  'the task file': /^replace .*task\.json$/,
  'the record of the network': /^write run\/network\/tasks\/<task>$/,
  'the namespace': /^makeNetworkNamespace /,
  'the link': /^netlink$/,
  'the rules': /^nft$/,
  'the upper directory': /^makeDirectory .*\/upper$/,
  'the mount of the image': /^mount overlay /,
  'the volume under way': /^makeDirectory .*\.making-_<task>\.<hex>\/_data$/,
  'the volume in place': /^rename .*\.making-_/,
  'the file system of the secrets': /^makeDirectory run\/secrets\/<task>\/0$/,
  'the secret': /^write run\/secrets\//,
  'the bundle': /^write .*config\.json$/,
  'the monitor': /^spawn .*conmon$/,
  'the group of the monitor': /^write \/sys\/fs\/cgroup\/.*_mon\/cgroup\.procs$/,
  'the byte that lets it go on': /^start-pipe byte$/,
  'its answer': /^sync line$/,
  'what was told': /^write .*told$/,
  'the start': /^writePipe .*exec\.fifo$/,
};

export const removeSteps: Readonly<Record<string, RegExp>> = {
  'the wish': /^replace .*task\.json$/,
  'the stop signal': /^kill with 15$/,
  'the exit code': /^see .*exit/,
  'the cgroup': /^removeDirectory \/sys\/fs\/cgroup\/.*<task>$/,
  'the namespace': /^removeNamespace /,
  'the record of the network': /^removeFile run\/network\/tasks\//,
  'the mount of the image': /^unmount /,
  'the upper directory': /^removeTree .*\/upper$/,
  'the state of the runtime': /^removeDirectory run\/runtime\//,
  'the exit file': /^removeFile run\/exits\//,
  'the pid file': /^removeFile .*pidfile$/,
  'the bundle': /^removeDirectory run\/bundles\/<task>$/,
  'the secret': /^removeFile run\/secrets\/.*\/0\/0$/,
  'the volume out of its name': /^rename data\/volumes\/_/,
  'the volume': /^removeTree data\/volumes\/\.removing-/,
  'the log': /^removeFile .*\.log$/,
  'the task file': /^removeFile .*task\.json$/,
};

/** How often the program of the task was begun: it writes a line each time. */
function startsOf(stage: Stage, task: Task): number {
  const log = `${dataDirOf(stage.place)}/tasks/${task.id}/0.log`;
  return fs
    .readFileSync(log, 'utf8')
    .split('\n')
    .filter(line => line.endsWith(' started')).length;
}

/** Recovers after a death while the task was made: it runs, once, with one of everything. */
export async function recoverMade(stage: Stage, task: Task): Promise<readonly string[]> {
  const whole = await stage.open();
  await whole.agent.assign(fullSet([task]));
  const { status } = await stage.wait(task.id, 'running', 'failed', 'rejected');
  const problems: string[] = status.state === 'running' ? [] : [`it is ${status.state}: ${status.error}`];
  if (status.state === 'running') {
    for (let looks = 0; looks < 2_000 && startsOf(stage, task) === 0; looks += 1)
      await new Promise(resolve => setTimeout(resolve, 2));
    if (startsOf(stage, task) !== 1) problems.push(`started ${startsOf(stage, task)} times`);
  }
  const monitors = processesOf(stage.place).filter(command => /^\S*conmon /.test(command));
  if (monitors.length !== 1) problems.push(`${monitors.length} monitors`);
  const swept = await whole.agent.sweep();
  return [...problems, ...swept, ...whole.failures.map(String)];
}

/** Tasks whose containers the runtime does not make, for as many reasons. */
export function doomedTasks(): readonly { readonly name: string; readonly task: Task; readonly errorCode: string }[] {
  const container = (more: Partial<ContainerSpec>): Task => wholeTask({ container: more });
  return [
    {
      name: 'an unknown switch',
      task: container({ sysctls: { 'net.ipv4.no_such_switch': '1' } }),
      errorCode: 'container-create',
    },
    {
      name: 'a command that is no program',
      task: container({ command: ['/etc/passwd'] }),
      errorCode: 'command-not-found',
    },
    { name: 'an unknown user', task: container({ user: 'nobody-here' }), errorCode: 'user-not-found' },
    { name: 'an unknown image', task: container({ image: 'nope:1' }), errorCode: 'image-not-found' },
    { name: 'a directory in /proc', task: container({ workingDir: '/proc/self/fd/7' }), errorCode: 'bad-bundle' },
  ];
}
