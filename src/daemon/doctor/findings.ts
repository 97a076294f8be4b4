/**
 * From facts of the host to findings: what works, what each lack costs, how to mend it. Pure; a line a finding.
 *
 * Called by doctor.ts with what it gathered. Not here: probing (probes.ts), what a code means at length (error-codes.ts).
 */
import type { ErrorCode } from '../../errors.js';
import type { Finding } from '../../gen/types.js';
import type { FileSystemSpace } from '../../host.js';

/** The outcome of trying something out. */
export type Trial = { readonly kind: 'works' } | { readonly kind: 'fails'; readonly why: string };

export interface HostFacts {
  readonly kernel: string;
  /** Effective capabilities of the daemon, as in /proc/self/status. */
  readonly capabilities: bigint;
  readonly dataDir: string;
  readonly space: FileSystemSpace;
  readonly overlay: Trial;
  readonly nftables: Trial;
  readonly vxlan: Trial;
  readonly wireguard: Trial;
  readonly seccompFilter: boolean;
  readonly systemd: boolean;
}

const oldestKernel = [5, 11] as const;
const capSysResource = 24n;
const capSysAdmin = 21n;
const capNetAdmin = 12n;
const lowSpaceBytes = 2 ** 30;
const lowSpaceShare = 0.02;

export function judgeHost(facts: HostFacts): readonly Finding[] {
  return [
    judgeKernel(facts.kernel),
    judgeRights(facts.capabilities),
    judgeTrial(facts.overlay, {
      code: 'no-overlayfs',
      works: 'overlayfs mounts',
      fails: 'overlayfs does not mount: images cannot be used',
      level: 'fail',
      hint: 'modprobe overlay; keep the data directory on ext4 or xfs',
    }),
    judgeTrial(facts.vxlan, {
      code: 'no-vxlan',
      works: 'VXLAN: networks across nodes',
      fails: 'VXLAN missing: no networks across nodes',
      level: 'fail',
      hint: 'modprobe vxlan',
    }),
    judgeTrial(facts.nftables, {
      code: 'no-nftables',
      works: 'nftables: virtual addresses, published ports, isolation',
      fails: 'nftables missing: no virtual addresses, published ports or isolation',
      level: 'fail',
      hint: 'apt-get install libnftables1',
    }),
    judgeTrial(facts.wireguard, {
      code: 'no-wireguard',
      works: 'WireGuard: encrypted networks',
      fails: 'WireGuard missing: encrypted networks can’t use this node',
      level: 'warn',
      hint: 'apt-get install wireguard-tools, and modprobe wireguard or apt-get install wireguard-go',
    }),
    judgeSeccomp(facts.seccompFilter),
    judgeSpace(facts),
    ...(facts.systemd
      ? []
      : [
          finding(
            'warn',
            'no-systemd',
            'systemd does not run here: coveyd has to be started by other means after a boot',
            'packaging/covey.service says what a unit needs',
          ),
        ]),
  ];
}

function finding(level: Finding['level'], code: ErrorCode | '', message: string, hint = ''): Finding {
  return { level, code, message, hint };
}

function judgeKernel(kernel: string): Finding {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  const old = major < oldestKernel[0] || (major === oldestKernel[0] && minor < oldestKernel[1]);
  if (old)
    return finding(
      'fail',
      'old-kernel',
      `kernel ${kernel} is older than ${oldestKernel.join('.')}`,
      'use a newer kernel',
    );
  return finding('ok', '', `kernel ${major}.${minor}`);
}

function judgeRights(capabilities: bigint): Finding {
  const has = (bit: bigint): boolean => ((capabilities >> bit) & 1n) === 1n;
  if (!has(capSysAdmin) || !has(capNetAdmin)) {
    return finding(
      'fail',
      'no-permission',
      'the daemon lacks CAP_SYS_ADMIN or CAP_NET_ADMIN: nothing can be started',
      'run coveyd as root',
    );
  }
  if (!has(capSysResource)) {
    return finding(
      'warn',
      'no-sys-resource',
      'no CAP_SYS_RESOURCE: ulimits above the daemon’s own and negative OOM scores are clamped',
      'give the daemon CAP_SYS_RESOURCE',
    );
  }
  return finding('ok', '', 'root with all capabilities that are needed');
}

function judgeTrial(
  trial: Trial,
  texts: {
    readonly code: ErrorCode;
    readonly works: string;
    readonly fails: string;
    readonly level: 'warn' | 'fail';
    readonly hint: string;
  },
): Finding {
  if (trial.kind === 'works') return finding('ok', '', texts.works);
  return finding(texts.level, texts.code, `${texts.fails} (${trial.why})`, texts.hint);
}

function judgeSeccomp(available: boolean): Finding {
  if (available) return finding('ok', '', 'seccomp: containers run with a system call filter');
  return finding(
    'warn',
    'no-seccomp',
    'the kernel has no seccomp filters: containers run without one',
    'use a kernel with CONFIG_SECCOMP_FILTER',
  );
}

function judgeSpace({ dataDir, space }: HostFacts): Finding {
  const text = `${dataDir} has ${gibibytes(space.freeBytes)} left of ${gibibytes(space.totalBytes)}`;
  const inodesLow = space.totalInodes > 0 && space.freeInodes < space.totalInodes * lowSpaceShare;
  if (inodesLow)
    return finding(
      'fail',
      'disk-low',
      `${dataDir} has ${space.freeInodes} of ${space.totalInodes} inodes left`,
      'covey image ls, covey image rm',
    );
  if (space.freeBytes < lowSpaceBytes)
    return finding('fail', 'disk-low', `${text}: image imports may fail`, 'covey image ls, covey image rm');
  if (space.freeBytes < space.totalBytes * lowSpaceShare)
    return finding('warn', 'disk-low', text, 'covey image ls, covey image rm');
  return finding('ok', '', text);
}

function gibibytes(bytes: number): string {
  return bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(0)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
