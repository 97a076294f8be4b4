/**
 * A daemon's half of a node with everything real: overlay roots, the routed network in a namespace of its own that stands for
 * the host, volumes, secrets. In the test's own process or in one that is to be killed (whole-child.ts), one after the other
 * over the same directories.
 */

import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Assignments, Secret, Task, TaskReport } from '../../src/gen/types.js';
import type { Host } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { asId, type NetworkId, type SecretId, type TaskId } from '../../src/ids.js';
import { openLifetime } from '../../src/lifetime.js';
import { openNetworkStack } from '../../src/netns/index.js';
import { openImageStore } from '../../src/tasks/image/index.js';
import { type Agent, openAgent, probeRuntime } from '../../src/tasks/index.js';
import { plainMount } from '../../src/tasks/spec/mounts.js';
import { openVolumes } from '../../src/tasks/volumes.js';
import { makeTelemetry } from '../../src/telemetry.js';
import { makeTask } from './fixtures.js';
import { silentLog, unpackCommand } from './image/test-store.js';

/** Where it all lies; plain data, so that another process can be told. */
export interface WholePlace {
  readonly directory: string;
  readonly prefix: string;
  /** Stands for the network of the host. */
  readonly namespacePath: string;
}

export interface Whole extends AsyncDisposable {
  readonly agent: Agent;
  readonly status: (id: TaskId) => TaskReport['status'] | undefined;
  readonly failures: readonly unknown[];
  /** Gives the host back what a daemon changed for its runtime, as `leave` does. */
  readonly undo: () => Promise<unknown>;
}

export const dataDirOf = (place: WholePlace): string => join(place.directory, 'data');
export const runDirOf = (place: WholePlace): string => join(place.directory, 'run');

/** Opens it over whatever is there. Disposing leaves the tasks alone, as the end of a daemon does. */
export async function openWhole(place: WholePlace, host: Host = linuxHost): Promise<Whole> {
  const { prefix } = place;
  const at = { dataDir: dataDirOf(place), runDir: runDirOf(place), prefix };
  const log = silentLog;
  const failures: unknown[] = [];
  const probe = await probeRuntime({ host: linuxHost, ...at, wanted: 'auto', log });
  if (probe.choice === undefined) throw new Error(`no runtime: ${JSON.stringify(probe.findings)}`);
  const lifetime = openLifetime('test', { onFailure: (name, error) => failures.push([name, error]) });
  const images = await openImageStore({
    directory: join(at.dataDir, 'images'),
    host,
    log,
    unpackCommand,
    emptyFiles: ['etc/hosts', 'etc/hostname', 'etc/resolv.conf'],
  });
  const namespace = linuxHost.kernel.openNamespace(place.namespacePath);
  const network = openNetworkStack({ host, telemetry: makeTelemetry(log), ...at, namespace, upstreams: () => [] });
  await network.recover();
  const volumes = openVolumes({ directory: join(at.dataDir, 'volumes'), host, log });
  const agent = openAgent({
    host,
    ...at,
    runtime: probe.choice,
    images,
    network,
    volumes,
    copyCommand: [],
    log,
    lifetime,
  });
  await agent.recover(lifetime.signal);
  return {
    agent,
    failures,
    undo: probe.undo,
    status: id => agent.reports().find(report => report.taskId === id)?.status,
    [Symbol.asyncDispose]: async () => {
      await lifetime[Symbol.asyncDispose]();
      await network[Symbol.asyncDispose]();
      linuxHost.kernel.closeNamespace(namespace);
    },
  };
}

const network1 = asId<NetworkId>('net1'.padEnd(25, '0'));
const secretId = asId<SecretId>('secret1'.padEnd(25, '0'));

const secret: Secret = {
  id: secretId,
  meta: { version: 1, createdAtMs: 0, updatedAtMs: 0, owner: 'uid:0' },
  spec: { name: 'key', labels: {}, stack: '' },
  data: Buffer.from('hidden'),
  digest: Buffer.alloc(32),
};

/** All that a full set from the managers says: these tasks, and what they need. */
export function fullSet(tasks: readonly Task[]): Assignments {
  return { term: 1, sequence: 1, full: true, tasks, removedTasks: [], secrets: [secret], configs: [] };
}

const volume = plainMount('volume', '');

/** One with everything: an overlay address, a named and an anonymous volume, a secret. It says when it starts. */
export function wholeTask(more: Parameters<typeof makeTask>[0] = {}): Task {
  return makeTask({
    ...more,
    container: {
      image: 'hello:1',
      command: ['sh', '-c', 'echo started; date >> /keep/starts; trap "exit 0" TERM; sleep 1000 & wait'],
      mounts: [
        { ...volume, source: 'keep', target: '/keep' },
        { ...volume, target: '/scratch' },
      ],
      secrets: [{ source: secretId, target: '', uid: 0, gid: 0 }],
      ...more.container,
    },
    spec: { networks: [{ network: network1, aliases: [] }], ...more.spec },
    task: { endpoints: [{ networkId: network1, addresses: ['10.0.1.11'] }], ...more.task },
  });
}

/** What tasks leave on the machine when anything stays; empty when all is well. Volumes with a name are meant to stay. */
export function remainsOf(place: WholePlace): readonly string[] {
  const list = (folder: string): readonly string[] => (fs.existsSync(folder) ? fs.readdirSync(folder) : []);
  const [data, run] = [dataDirOf(place), runDirOf(place)];
  const named = (what: string, names: readonly string[]): readonly string[] => names.map(name => `${what} ${name}`);
  const fabric = join(run, 'netns/fabric');
  const inFabric = (...argv: readonly string[]): readonly string[] =>
    fs.existsSync(fabric)
      ? execFileSync('nsenter', [`--net=${fabric}`, ...argv], { encoding: 'utf8' }).split('\n')
      : [];
  const mounts = fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map(line => line.split(' ')[4] ?? '');
  return [
    ...named(
      'mount',
      mounts.filter(path => path.startsWith(`${data}/`)),
    ),
    ...named('task', list(`${data}/tasks`)),
    ...named('trash', list(`${data}/trash`)),
    ...named(
      'volume',
      list(`${data}/volumes`).filter(name => name !== 'keep'),
    ),
    ...['bundles', 'exits', 'secrets', 'runtime/crun', 'runtime/runc', 'network/tasks'].flatMap(folder =>
      named(
        folder,
        list(`${run}/${folder}`).filter(name => !name.startsWith('.')),
      ),
    ),
    ...named(
      'namespace',
      list(`${run}/netns`).filter(name => /^[0-9a-z]{25}$/.test(name)),
    ),
    ...named(
      'cgroup',
      fs
        .globSync([`/sys/fs/cgroup/${place.prefix}/*/`, `/sys/fs/cgroup/*/${place.prefix}/*/`])
        .filter(path => !path.endsWith('_mon/') && !path.endsWith('_mon')),
    ),
    ...named(
      'link',
      inFabric('ip', '-br', 'link').filter(line => /^v[0-9a-z]{14}@/.test(line)),
    ),
    ...named(
      'address',
      inFabric('ip', 'route').filter(line => line.startsWith('10.0.1.') && !line.includes('/')),
    ),
    ...named('process', processesOf(place)),
  ];
}

/** Monitors, runtimes and their like that bear a name of ours. */
export function processesOf(place: WholePlace): readonly string[] {
  return fs.globSync('/proc/[0-9]*/cmdline').flatMap(path => {
    try {
      const command = fs.readFileSync(path, 'utf8');
      return command.includes(`\0${place.prefix}-`) ? [command.replaceAll('\0', ' ')] : [];
    } catch {
      return []; // it ended meanwhile
    }
  });
}
