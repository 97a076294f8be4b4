/**
 * The system call filter of containers, in the form of an OCI config. Calls that need a capability are allowed with it and
 * answer EPERM without; calls that nobody knows answer ENOSYS, so that programs fall back to older ones.
 *
 * Pure. Used by bundle.ts for runc, and compiled once (Kernel.compileSeccomp) for crun.
 *
 * Not here: the names (seccomp-names.ts).
 */
import type { SeccompProfile, SeccompRule } from '../../host.js';
import { allowedCalls, callsByCapability, refusedCalls } from './seccomp-names.js';

const EPERM = 1;
const ENOSYS = 38;
/** clone(2) flags that make namespaces: every CLONE_NEW* but CLONE_NEWTIME, which shares its bit with the exit signal. */
const namespaceFlags = 0x7e020000;
/** What personality(2) may ask: Linux, with 32 bit addresses, without randomization, both, and "which one is it". */
const personalities = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];
const AF_VSOCK = 40;

const architectures: Readonly<Record<string, readonly string[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
};

const callsByArchitecture: Readonly<Record<string, string>> = {
  x64: 'arch_prctl modify_ldt',
  arm64: 'arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2',
};

/** `architecture` as Node names it. A container with every capability is not filtered: undefined. */
export function planSeccomp(capabilities: readonly string[], architecture: string): SeccompProfile | undefined {
  const known = architectures[architecture];
  if (known === undefined) return undefined;
  const has = new Set(capabilities);
  const given = new Set(
    Object.entries(callsByCapability).flatMap(([cap, calls]) => (has.has(cap) ? words(calls) : [])),
  );
  const gated = [...new Set(Object.values(callsByCapability).flatMap(words))];
  const refused = gated.filter(name => !given.has(name) && name !== 'clone' && name !== 'clone3');
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: ENOSYS,
    architectures: known,
    syscalls: [
      allow([...words(allowedCalls), ...words(callsByArchitecture[architecture] ?? ''), ...given]),
      { names: [...words(refusedCalls), ...refused], action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
      ...cloneRules(has.has('CAP_SYS_ADMIN')),
      ...personalities.map(value => allow(['personality'], { index: 0, value, op: 'SCMP_CMP_EQ' })),
      allow(['socket'], { index: 0, value: AF_VSOCK, op: 'SCMP_CMP_NE' }),
    ],
  };
}

/** Without the right to make namespaces: clone without their flags. clone3, whose flags a filter cannot see, is in no list. */
function cloneRules(mayMakeNamespaces: boolean): readonly SeccompRule[] {
  return mayMakeNamespaces
    ? []
    : [allow(['clone'], { index: 0, value: namespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' })];
}

function allow(names: readonly string[], ...args: NonNullable<SeccompRule['args']>): SeccompRule {
  return { names, action: 'SCMP_ACT_ALLOW', ...(args.length === 0 ? {} : { args }) };
}

function words(text: string): readonly string[] {
  return text.split(/\s+/).filter(word => word !== '');
}
