/**
 * One container by the whole way that tasks go (conmon, runtime, cgroup, filter), with the host's own programs shown
 * read-only as its root, to see whether that way works here.
 *
 * Leaves nothing behind, also when it fails. Called by probe.ts.
 */
import { CoveyError } from '../../errors.js';
import type { Host } from '../../host.js';
import type { RuntimeChoice } from '../agent-types.js';
import { type Cgroups, openCgroups } from '../cgroup/index.js';
import { removeSmallTree } from '../small-tree.js';
import { defaultCapabilities } from './capabilities.js';
import { createMonitored, isMonitorOf } from './conmon.js';
import { forgetContainer, type RuntimePlace, startContainer } from './crun.js';
import { type OciConfig, renderConfig } from './oci.js';
import { noLimits, planResources } from './resources.js';
import { planSeccomp } from './seccomp.js';

export interface SelfTestOptions {
  readonly host: Host;
  readonly runDir: string;
  readonly prefix: string;
}

export interface SelfTestResult {
  readonly takesFilter: boolean;
  readonly hasFilter: boolean;
}

/** In the place of a task's id, so that a sweep would find its remains. */
const testId = 'probe'.padStart(25, '0');
const memoryBytes = 64 * 2 ** 20;
const pidsMax = 33;
const timeoutMs = 10_000;

export async function tryRuntime(options: SelfTestOptions, runtime: RuntimeChoice): Promise<SelfTestResult> {
  const { host } = options;
  const profile = planSeccomp(defaultCapabilities, process.arch);
  const compiled = runtime.name === 'crun' && profile !== undefined ? host.kernel.compileSeccomp(profile) : undefined;
  if (compiled !== undefined) {
    const hasFilter = await runOnce(options, runtime, { compiled });
    if (hasFilter) return { takesFilter: true, hasFilter };
  }
  const hasFilter = await runOnce(options, runtime, { profile });
  return { takesFilter: false, hasFilter };
}

interface Filter {
  readonly compiled?: Uint8Array | undefined;
  readonly profile?: ReturnType<typeof planSeccomp>;
}

interface Place extends RuntimePlace {
  readonly folder: string;
  readonly containerId: string;
}

/** True when the filter was in force. */
async function runOnce(options: SelfTestOptions, runtime: RuntimeChoice, filter: Filter): Promise<boolean> {
  const { host, runDir, prefix } = options;
  const cgroups = openCgroups(host, prefix);
  const folder = `${runDir}/probe`;
  const place: Place = { runtime, root: `${folder}/runtime`, folder, containerId: `${prefix}-${testId}-0` };
  const signal = AbortSignal.timeout(timeoutMs);
  cleanUp(host, place, cgroups);
  try {
    for (const name of ['bundle/persist', 'root', 'exits', 'runtime']) {
      host.files.makeDirectorySync(`${folder}/${name}`, { mode: 0o700 });
    }
    const config = await planTest(host, { folder, filter, cgroupPath: cgroups.taskPath(testId) });
    host.files.writeSync(`${folder}/bundle/config.json`, renderConfig(config));
    const { pid, monitorPid } = await createMonitored(host, place, {
      containerId: place.containerId,
      bundle: `${folder}/bundle`,
      exits: `${folder}/exits`,
      log: `${folder}/log`,
      tty: false,
      stdin: false,
      adopt: cgroups.adoptMonitor,
      signal,
    });
    await startContainer(host, place, { containerId: place.containerId, signal });
    checkLimits(cgroups);
    const filtered = await isFiltered(host, pid, signal);
    cgroups.killAll(testId);
    while (isMonitorOf(host, monitorPid, place.containerId)) await host.clock.sleep(1, signal);
    return filtered;
  } finally {
    cleanUp(host, place, cgroups);
  }
}

function cleanUp(host: Host, place: Place, cgroups: Cgroups): void {
  cgroups.killAll(testId);
  cgroups.remove(testId);
  forgetContainer(host, [place.root], place.containerId);
  removeSmallTree(host.files, place.folder);
}

interface TestPlan {
  readonly folder: string;
  readonly filter: Filter;
  readonly cgroupPath: string;
}

async function planTest(host: Host, { folder, filter, cgroupPath }: TestPlan): Promise<OciConfig> {
  const folders = ['/usr', '/bin', '/lib', '/lib64'];
  const there = await Promise.all(folders.map(async path => (await host.files.findStat(path)) !== undefined));
  const limits = { ...noLimits, memoryBytes, pidsMax };
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0, umask: 0o022, additionalGids: [] },
      args: ['/bin/sleep', '60'],
      env: ['PATH=/usr/bin:/bin'],
      cwd: '/',
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      rlimits: [],
      noNewPrivileges: true,
    },
    root: { path: `${folder}/root`, readonly: false },
    hostname: 'probe',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=1024k'] },
      ...folders
        .filter((_path, at) => there[at])
        .map(path => ({ destination: path, type: 'bind', source: path, options: ['bind', 'ro'] })),
    ],
    annotations:
      filter.compiled === undefined
        ? {}
        : { 'run.oci.seccomp_bpf_data': Buffer.from(filter.compiled).toString('base64') },
    linux: {
      namespaces: ['pid', 'mount', 'ipc', 'uts', 'network'].map(type => ({ type })),
      cgroupsPath: cgroupPath,
      resources: planResources(limits),
      sysctl: {},
      maskedPaths: [],
      readonlyPaths: [],
      rootfsPropagation: 'private',
      ...(filter.profile === undefined ? {} : { seccomp: filter.profile }),
    },
  };
}

function checkLimits(cgroups: Cgroups): void {
  const seen = cgroups.readLimits(testId);
  if (seen.memoryBytes === memoryBytes && seen.pidsMax === pidsMax) return;
  throw new CoveyError(
    'container-create',
    'Cannot limit a container: the kernel shows other limits than were asked for',
    {
      state: `memory ${seen.memoryBytes} of ${memoryBytes}, processes ${seen.pidsMax} of ${pidsMax}`,
    },
  );
}

/** Looks once the container's own program runs: the runtime sets the filter right before that. */
async function isFiltered(host: Host, pid: number, signal: AbortSignal): Promise<boolean> {
  for (;;) {
    const name = host.files.findTextSync(`/proc/${pid}/comm`)?.trim();
    if (name === 'sleep') break;
    if (name === undefined)
      throw new CoveyError('container-create', 'Cannot keep a container running: it ended at once');
    await host.clock.sleep(1, signal);
  }
  return /^Seccomp:\s*2$/m.test(host.files.findTextSync(`/proc/${pid}/status`) ?? '');
}
