/**
 * One daemon of a test's own, outside of any dev-cluster: own directories, own prefix, optionally in a network namespace.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type Outcome, run } from './dev-cluster.js';

export interface TestDaemon {
  readonly directory: string;
  readonly covey: (...args: readonly string[]) => Outcome;
}

export interface TestDaemonOptions {
  /** Heads everything; 1 to 8 characters. */
  readonly prefix: string;
  readonly port: number;
  /** Name under /run/netns; default: the namespace of the test. */
  readonly namespace?: string;
  /** Mounts a tmpfs of that size as the data directory. */
  readonly dataMaxMib?: number;
}

export async function openTestDaemon(t: Test, options: TestDaemonOptions): Promise<TestDaemon> {
  const directory = fs.mkdtempSync('/run/covey-test-');
  const dataDir = join(directory, 'data');
  fs.mkdirSync(dataDir);
  if (options.dataMaxMib !== undefined)
    run(['mount', '-t', 'tmpfs', '-o', `size=${options.dataMaxMib}m`, 'tmpfs', dataDir]);
  const enter = options.namespace === undefined ? [] : ['nsenter', `--net=/run/netns/${options.namespace}`];
  const argv = [
    ...enter,
    'bin/coveyd',
    '--data-dir',
    dataDir,
    '--run-dir',
    join(directory, 'run'),
    '--prefix',
    options.prefix,
    '--listen',
    `0.0.0.0:${options.port}`,
    '--data-path-port',
    String(options.port + 1),
    '--name',
    options.prefix,
  ];
  const log = fs.openSync(join(directory, 'log'), 'a');
  const child = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['ignore', log, log] });
  fs.closeSync(log);
  const covey = (...args: readonly string[]): Outcome =>
    run([...enter, 'bin/covey', '--socket', join(directory, 'run/covey.sock'), ...args]);
  t.teardown(async () => {
    covey('leave', '--force', '--yes');
    await ended(child);
    if (options.dataMaxMib !== undefined) run(['umount', '-l', dataDir]);
    fs.rmSync(directory, { recursive: true, force: true });
  });
  for (let tries = 0; covey('version').status !== 0; tries += 1) {
    if (child.exitCode !== null || tries > 100)
      throw new Error(`the daemon does not start: ${fs.readFileSync(join(directory, 'log'), 'utf8')}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  return { directory, covey };
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise(resolve => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
  });
}
