/**
 * What the tests of limits share: tasks with limits, warnings of a status, the names of files on both cgroup versions.
 */
import * as fs from 'node:fs';
import type { Resources, Task, TaskStatus } from '../../../src/gen/types.js';
import { makeTask } from '../fixtures.js';

export const mib = 2 ** 20;
export const isV2 = !fs.existsSync('/sys/fs/cgroup/memory/cgroup.procs');

export const limits = (over: Partial<Resources>): Resources => ({ cpuNanos: 0, memoryBytes: 0, pids: 0, ...over });

export const shell = (script: string, asked: Partial<Resources>): Task =>
  makeTask({ container: { command: ['sh', '-c', script] }, spec: { limits: limits(asked) } });

export const withLimits = (task: Task, asked: Partial<Resources>): Task => ({
  ...task,
  spec: { ...task.spec, limits: limits(asked) },
});

export const codes = (status: TaskStatus | undefined): readonly string[] =>
  (status?.limits?.warnings ?? []).map(warning => warning.code);
