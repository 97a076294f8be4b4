/**
 * The AppArmor profile of containers that name none, on kernels that have it enabled: written below the run directory and
 * loaded with apparmor_parser(8) by the first container of a daemon. What Docker's default keeps back is kept back: mounts,
 * writing to /proc and /sys beyond one's own, tracing processes outside, signals from other profiles.
 *
 * Called by isolation.ts. Not here: profiles that a spec names (runtime/lsm.ts).
 */
import { messageOf } from '../errors.js';
import type { Host } from '../host.js';
import type { Logger } from '../telemetry.js';
import type { SecurityModules } from './runtime/lsm.js';

export const defaultProfileName = 'covey-default';
const loadTimeoutMs = 10_000;

interface Options {
  readonly host: Pick<Host, 'files' | 'processes'>;
  readonly runDir: string;
  readonly modules: SecurityModules;
  readonly log: Logger;
}

/** The name of the loaded profile; undefined where there is no AppArmor, or no way to load it (which is logged once). */
export function profileLoader({ host, runDir, modules, log }: Options): () => Promise<string | undefined> {
  let loaded: Promise<string | undefined> | undefined;
  const load = async (): Promise<string | undefined> => {
    if (!modules.apparmor) return undefined;
    try {
      const path = `${runDir}/apparmor-profile`;
      await host.files.write(path, renderProfile(defaultProfileName), { mode: 0o600 });
      const argv = ['apparmor_parser', '--replace', '--skip-cache', path];
      const signal = new AbortController().signal; // bounded by the timeout alone
      const result = await host.processes.run(argv, { signal, timeoutMs: loadTimeoutMs });
      if (result.exitCode === 0) return defaultProfileName;
      log.warn('containers run without an AppArmor profile', { why: result.stderr.trim().slice(0, 300) });
    } catch (error) {
      log.warn('containers run without an AppArmor profile', { why: messageOf(error) });
    }
    return undefined;
  };
  return () => {
    loaded ??= load();
    return loaded;
  };
}

/** Needs no file of the system's: its paths are written out. Deny rules win over `file`. */
export function renderProfile(name: string): string {
  const denied = [
    '/proc/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w',
    '/proc/sys/[^k]** w',
    '/proc/sys/kernel/{?,??,[^s][^h][^m]**} w',
    '/proc/sysrq-trigger rwklx',
    '/proc/kcore rwklx',
    'mount',
    '/sys/[^f]*/** wklx',
    '/sys/f[^s]*/** wklx',
    '/sys/fs/[^c]*/** wklx',
    '/sys/fs/c[^g]*/** wklx',
    '/sys/fs/cg[^r]*/** wklx',
    '/sys/firmware/** rwklx',
    '/sys/kernel/security/** rwklx',
  ];
  return [
    `profile ${name} flags=(attach_disconnected,mediate_deleted) {`,
    '  network,',
    '  capability,',
    '  file,',
    '  umount,',
    '  signal (receive) peer=unconfined,',
    `  signal (send, receive) peer=${name},`,
    `  ptrace (trace, read, tracedby, readby) peer=${name},`,
    ...denied.map(rule => `  deny ${rule},`),
    '}',
    '',
  ].join('\n');
}
