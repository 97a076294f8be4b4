/**
 * Finds out which runtime works on this host by running a container with it: created by its monitor, started, its limits and
 * its system call filter read back from the kernel, removed. crun first, because it is three times as fast; where it refuses
 * the host's mix of cgroup versions, that is mended if it can be; else runc.
 *
 * The answer is kept for this boot and these programs, so that a daemon starts without asking again.
 *
 * Not here: the other findings of `covey doctor` (daemon/doctor).
 */
import { CoveyError, messageOf } from '../../errors.js';
import type { Finding } from '../../gen/types.js';
import type { Host } from '../../host.js';
import type { Logger } from '../../telemetry.js';
import type { RuntimeChoice } from '../agent-types.js';
import { openCgroups } from '../cgroup/index.js';
import { findLeftovers, isMended, isMendedByOther, mendHybrid, undoHybrid } from './hybrid.js';
import { tryRuntime } from './self-test.js';

export interface ProbeOptions {
  readonly host: Host;
  readonly dataDir: string;
  readonly runDir: string;
  readonly prefix: string;
  readonly wanted: 'auto' | 'crun' | 'runc';
  readonly log: Logger;
}

export interface RuntimeProbe {
  /** undefined: no runtime works here. */
  readonly choice: RuntimeChoice | undefined;
  readonly findings: readonly Finding[];
  /** "v1", "v2" or "hybrid"; empty when there is none. */
  readonly cgroup: string;
  /** What was changed on the host, a line each. */
  readonly changes: () => readonly string[];
  /** For leave. Returns what was undone. */
  readonly undo: () => Promise<readonly string[]>;
}

type Name = RuntimeChoice['name'];

interface Tried {
  readonly choice: RuntimeChoice | undefined;
  readonly findings: readonly Finding[];
}

export async function probeRuntime(options: ProbeOptions): Promise<RuntimeProbe> {
  const { host, runDir } = options;
  const cgroup = findCgroup(options);
  const tried =
    cgroup === ''
      ? { choice: undefined, findings: [noCgroup] }
      : ((await findKept(options)) ?? (await tryAll(options)));
  for (const { level, code, message } of tried.findings) {
    if (level !== 'ok') options.log.warn(message, { code });
  }
  const mend = (): boolean => mendHybrid(host, runDir);
  return {
    choice: tried.choice === undefined ? undefined : { ...tried.choice, mend },
    findings: [...cgroupFindings(cgroup), ...tried.findings],
    cgroup,
    changes: () =>
      isMended(host, runDir) ? [`mount ${runDir}/cgroup-hugetlb: hugetlb of cgroup v1, so that crun works`] : [],
    undo: async () => {
      if (cgroup !== '') openCgroups(host, options.prefix).removeAll();
      host.files.removeFileSync(keptPath(options));
      return undoHybrid(host, runDir);
    },
  };
}

const noCgroup = finding('fail', 'no-cgroup', 'no cgroup hierarchy with a memory controller is mounted', {
  hint: 'mount -t cgroup2 cgroup2 /sys/fs/cgroup',
});

function findCgroup({ host, prefix }: ProbeOptions): string {
  try {
    return openCgroups(host, prefix).version;
  } catch (error) {
    if (error instanceof CoveyError && error.code === 'no-cgroup') return '';
    throw error;
  }
}

function cgroupFindings(version: string): readonly Finding[] {
  const words: Readonly<Record<string, string>> = {
    v1: 'cgroup v1',
    v2: 'cgroup v2',
    hybrid: 'cgroup v1+v2 (hybrid): limits through v1',
  };
  return words[version] === undefined ? [] : [finding('ok', '', words[version])];
}

async function tryAll(options: ProbeOptions): Promise<Tried> {
  const { host, wanted } = options;
  const conmonPath = host.processes.findOnPath('conmon');
  if (conmonPath === undefined) {
    const hint = 'apt-get install conmon';
    return { choice: undefined, findings: [finding('fail', 'no-conmon', 'conmon is not installed', { hint })] };
  }
  const findings: Finding[] = [];
  for (const name of wanted === 'auto' ? (['crun', 'runc'] as const) : [wanted]) {
    const path = host.processes.findOnPath(name);
    if (path === undefined) {
      if (name === 'crun') findings.push(noCrun(wanted));
      continue;
    }
    const tried = await tryOne(options, { name, path, conmonPath });
    findings.push(...tried.findings);
    if (tried.choice === undefined) continue;
    await keep(options, { choice: tried.choice, findings });
    return { choice: tried.choice, findings };
  }
  const hint = 'apt-get install crun';
  findings.push(finding('fail', 'no-runtime', 'neither crun nor runc works: no container can be started', { hint }));
  return { choice: undefined, findings };
}

function noCrun(wanted: ProbeOptions['wanted']): Finding {
  return finding(
    wanted === 'crun' ? 'fail' : 'warn',
    'no-crun',
    'crun is not installed: runc takes three times as long',
    {
      hint: 'apt-get install crun',
    },
  );
}

interface Candidate {
  readonly name: Name;
  readonly path: string;
  readonly conmonPath: string;
}

async function tryOne(options: ProbeOptions, candidate: Candidate): Promise<Tried> {
  const { host, runDir } = options;
  const { name } = candidate;
  if (name === 'crun') mendIfNeeded(options);
  const beganMs = host.clock.monotonicMs();
  try {
    const [version, { takesFilter, hasFilter }] = await Promise.all([
      readVersion(host, candidate.path),
      tryRuntime(options, { ...candidate, version: '', takesFilter: false }),
    ]);
    const tookMs = Math.round(host.clock.monotonicMs() - beganMs);
    const text = `${name} ${version} starts, limits and reads back a container in ${tookMs} ms`;
    const mended = name === 'crun' && isMended(host, runDir) ? [mendedFinding(runDir)] : [];
    const unfiltered = hasFilter ? [] : [noFilter];
    return {
      choice: { ...candidate, version, takesFilter },
      findings: [finding('ok', '', text), ...mended, ...unfiltered],
    };
  } catch (error) {
    undoHybrid(host, runDir); // whatever else uses the host gets back what did not help
    const hybrid = name === 'crun' && findLeftovers(host).length > 0;
    const message = `${name} does not work here: ${messageOf(error)}`;
    const hint = hybrid ? 'free hugetlb from cgroup v2, or use runc at three times the start time' : '';
    return {
      choice: undefined,
      findings: [finding('warn', hybrid ? 'crun-hybrid' : 'container-create', message, { hint })],
    };
  }
}

function mendIfNeeded({ host, runDir, log }: ProbeOptions): void {
  const leftovers = findLeftovers(host);
  if (leftovers.length === 0 && !isMendedByOther(host, runDir)) return;
  if (mendHybrid(host, runDir)) log.info('mounted hugetlb as cgroup v1, so that crun works', { leftovers });
}

function mendedFinding(runDir: string): Finding {
  const text = `crun works because hugetlb is mounted as cgroup v1 at ${runDir}/cgroup-hugetlb; covey leave undoes it`;
  return finding('ok', 'crun-hybrid', text);
}

const noFilter = finding('warn', 'no-seccomp', 'containers run without a system call filter', {
  hint: 'a kernel with CONFIG_SECCOMP_FILTER, and a runtime built with it',
});

async function readVersion(host: Host, path: string): Promise<string> {
  const signal = new AbortController().signal;
  const result = await host.processes.run([path, '--version'], { signal, timeoutMs: 10_000 });
  return /version (\S+)/.exec(result.stdout)?.[1] ?? 'unknown';
}

interface Kept extends Tried {
  readonly key: string;
}

function keptPath({ dataDir }: ProbeOptions): string {
  return `${dataDir}/runtime-probe.json`;
}

/** All on which the answer hangs. */
async function keyOf(options: ProbeOptions): Promise<string> {
  const { host, prefix, wanted, runDir } = options;
  const programs = await Promise.all(
    ['crun', 'runc', 'conmon'].map(async name => {
      const path = host.processes.findOnPath(name);
      const stat = path === undefined ? undefined : await host.files.findStat(path);
      return `${path} ${stat?.modifiedMs} ${stat?.sizeBytes}`;
    }),
  );
  const hybrid = [...findLeftovers(host), isMended(host, runDir), isMendedByOther(host, runDir)].join();
  return [host.processes.bootId(), prefix, wanted, runDir, hybrid, ...programs].join('|');
}

async function findKept(options: ProbeOptions): Promise<Tried | undefined> {
  const text = await options.host.files.findText(keptPath(options));
  if (text === undefined) return undefined;
  try {
    const kept = JSON.parse(text) as Kept;
    return kept.key === (await keyOf(options)) ? kept : undefined;
  } catch {
    return undefined; // cut short by a crash: ask again
  }
}

async function keep(options: ProbeOptions, tried: Tried): Promise<void> {
  const kept: Kept = { key: await keyOf(options), ...tried };
  await options.host.files.write(keptPath(options), JSON.stringify(kept));
}

function finding(
  level: Finding['level'],
  code: string,
  message: string,
  more: { readonly hint?: string } = {},
): Finding {
  return { level, code, message, hint: more.hint ?? '' };
}
