/**
 * Which capabilities a container gets: Docker's fourteen, with what its spec adds and drops. Pure.
 */
import { CoveyError } from '../../errors.js';

export const defaultCapabilities: readonly string[] = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_MKNOD',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

/** By number, as the kernel counts them (capability.h). */
export const knownCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
];

/**
 * Docker's rules: ALL in add stands for every capability, ALL in drop for none; what is dropped by name goes even from ALL,
 * what is added by name stays even with drop ALL. `available` is what the daemon itself has: no more can be given.
 */
export function planCapabilities(
  spec: { readonly capAdd: readonly string[]; readonly capDrop: readonly string[] },
  available: readonly string[],
): readonly string[] {
  const add = spec.capAdd.map(parseCapability);
  const drop = spec.capDrop.map(parseCapability);
  const base = add.includes('ALL') ? available : drop.includes('ALL') ? [] : defaultCapabilities;
  const wanted = new Set([...base.filter(name => !drop.includes(name)), ...add.filter(name => name !== 'ALL')]);
  const missing = add.find(name => name !== 'ALL' && !available.includes(name));
  if (missing !== undefined) {
    throw new CoveyError('bad-bundle', `Cannot give capability "${missing}": the daemon does not have it itself`);
  }
  return knownCapabilities.filter(name => wanted.has(name) && available.includes(name));
}

/** "NET_ADMIN", "cap_net_admin", "all". */
function parseCapability(text: string): string {
  const upper = text.toUpperCase();
  if (upper === 'ALL' || upper === 'CAP_ALL') return 'ALL';
  const name = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (knownCapabilities.includes(name)) return name;
  throw new CoveyError('bad-bundle', `Cannot give or take capability "${text}": there is none of that name`, {
    hint: 'NET_ADMIN, SYS_PTRACE and the like, or ALL; see capabilities(7)',
  });
}

/** The names in a mask of /proc/PID/status ("CapEff:\t000001ffffffffff"). */
export function parseCapabilityMask(status: string, field: 'CapEff' | 'CapBnd'): readonly string[] {
  const mask = new RegExp(`^${field}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1];
  if (mask === undefined) return [];
  const bits = BigInt(`0x${mask}`);
  return knownCapabilities.filter((_name, bit) => ((bits >> BigInt(bit)) & 1n) === 1n);
}
