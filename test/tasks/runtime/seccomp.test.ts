import t from 'tap';
import { linuxSeccomp } from '../../../src/host-linux/seccomp.js';
import { defaultCapabilities, knownCapabilities } from '../../../src/tasks/runtime/capabilities.js';
import { planSeccomp } from '../../../src/tasks/runtime/seccomp.js';

/** What the profile answers to a call without arguments that matter. */
function answer(capabilities: readonly string[], name: string): string {
  const profile = planSeccomp(capabilities, 'x64');
  const rules = profile?.syscalls.filter(rule => rule.names.includes(name)) ?? [];
  const rule = rules.find(({ args }) => args === undefined);
  if (rules.length > 0 && rule === undefined) return 'depends';
  return rule === undefined ? 'ENOSYS' : rule.action === 'SCMP_ACT_ALLOW' ? 'allowed' : `errno ${rule.errnoRet}`;
}

t.test('calls are allowed, refused or unknown', async t => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['read', 'allowed', 'allowed'],
    ['execve', 'allowed', 'allowed'],
    ['statx', 'allowed', 'allowed'],
    ['mount', 'errno 1', 'allowed'],
    ['unshare', 'errno 1', 'allowed'],
    ['setns', 'errno 1', 'allowed'],
    ['bpf', 'errno 1', 'allowed'],
    ['chroot', 'allowed', 'allowed'],
    ['clone', 'depends', 'allowed'],
    ['clone3', 'ENOSYS', 'allowed'],
    ['keyctl', 'errno 1', 'errno 1'],
    ['io_uring_setup', 'errno 1', 'errno 1'],
    ['kexec_load', 'errno 1', 'errno 1'],
    ['personality', 'depends', 'depends'],
    ['socket', 'depends', 'depends'],
    ['a_call_of_the_future', 'ENOSYS', 'ENOSYS'],
  ];
  for (const [name, plain, privileged] of rows) {
    t.equal(answer(defaultCapabilities, name), plain, name);
    t.equal(answer(knownCapabilities, name), privileged, `${name} with all capabilities`);
  }
});

t.test('no call is both allowed and refused', async t => {
  for (const capabilities of [[], defaultCapabilities, knownCapabilities]) {
    const unconditional = planSeccomp(capabilities, 'x64')?.syscalls.filter(rule => rule.args === undefined) ?? [];
    const names = unconditional.flatMap(rule => [...new Set(rule.names)]);
    t.equal(new Set(names).size, names.length, `${capabilities.length} capabilities`);
  }
});

t.test('an architecture that is not known gets no filter rather than a wrong one', async t => {
  t.equal(planSeccomp(defaultCapabilities, 'mips'), undefined);
  t.ok(planSeccomp(defaultCapabilities, 'arm64')?.architectures.includes('SCMP_ARCH_AARCH64'));
});

t.test('it compiles to a filter that the kernel takes in size', async t => {
  const profile = planSeccomp(defaultCapabilities, process.arch);
  const filter = profile === undefined ? undefined : linuxSeccomp.compileSeccomp(profile);
  if (filter === undefined) {
    t.pass('no profile for this architecture, or no libseccomp');
    return;
  }
  t.equal(filter.length % 8, 0, 'instructions of 8 bytes');
  t.ok(filter.length / 8 <= 4_096, `${filter.length / 8} of at most 4096 instructions`);
});
