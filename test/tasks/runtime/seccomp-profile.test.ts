import * as fs from 'node:fs';
import t from 'tap';
import { defaultCapabilities, knownCapabilities } from '../../../src/tasks/runtime/capabilities.js';
import { planSeccomp } from '../../../src/tasks/runtime/seccomp.js';
import { planSeccompProfile } from '../../../src/tasks/runtime/seccomp-profile.js';

const place = { capabilities: defaultCapabilities, architecture: 'amd64', kernel: '6.1.0-18-amd64' };
const plan = (profile: unknown, more = {}) => planSeccompProfile(JSON.stringify(profile), { ...place, ...more });

t.test('rules hold by capability, architecture and kernel', async t => {
  const rule = (includes: object, excludes: object = {}) => ({
    names: ['x'],
    action: 'SCMP_ACT_ALLOW',
    includes,
    excludes,
  });
  const table: readonly (readonly [object, object, boolean])[] = [
    [{}, {}, true],
    [{ caps: ['CAP_SYS_ADMIN'] }, {}, false],
    [{ caps: ['CAP_CHOWN', 'CAP_KILL'] }, {}, true],
    [{ arches: ['amd64', 'x32'] }, {}, true],
    [{ arches: ['s390x'] }, {}, false],
    [{ minKernel: '4.8' }, {}, true],
    [{ minKernel: '6.2' }, {}, false],
    [{}, { caps: ['CAP_CHOWN'] }, false],
    [{}, { caps: ['CAP_SYS_ADMIN'] }, true],
    [{}, { arches: ['amd64'] }, false],
  ];
  for (const [includes, excludes, wanted] of table) {
    const { syscalls } = plan({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: [rule(includes, excludes)] });
    t.equal(syscalls.length === 1, wanted, JSON.stringify([includes, excludes]));
  }
});

t.test("words of Docker's form become those of the runtime's", async t => {
  const planned = plan({
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrno: 'ENOSYS',
    archMap: [
      { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] },
      { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: ['SCMP_ARCH_ARM'] },
    ],
    syscalls: [
      { name: 'mount', action: 'SCMP_ACT_ERRNO', errno: 'EPERM', args: [{ index: 1, value: 40, op: 'SCMP_CMP_NE' }] },
    ],
  });
  t.strictSame(planned, {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 38,
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
    syscalls: [
      {
        names: ['mount'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: 1,
        args: [{ index: 1, value: 40, valueTwo: 0, op: 'SCMP_CMP_NE' }],
      },
    ],
  });
});

t.test('a profile that is not one is refused with what is wrong', async t => {
  const bad: readonly (readonly [unknown, RegExp])[] = [
    [[], /no object/],
    [{}, /defaultAction "undefined"/],
    [{ defaultAction: 'SCMP_ACT_NOTIFY' }, /SCMP_ACT_NOTIFY/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: {} }, /syscalls is no list/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: [1], action: 'SCMP_ACT_ALLOW' }] }, /names holds no text/],
    [{ defaultAction: 'SCMP_ACT_ERRNO', defaultErrno: 'EWHAT' }, /errno "EWHAT"/],
  ];
  for (const [profile, error] of bad) t.throws(() => plan(profile), { code: 'bad-bundle', message: error });
});

const shipped = '/usr/share/containers/seccomp.json';
const missing = fs.existsSync(shipped) ? false : 'needs golang-github-containers-common';

/** Two calls aside, which Docker allows and that list leaves out. */
t.test('our own filter allows nothing that the profile of containers-common refuses', { skip: missing }, async t => {
  for (const capabilities of [defaultCapabilities, [], ['CAP_SYS_PTRACE'], knownCapabilities]) {
    const theirs = planSeccompProfile(fs.readFileSync(shipped, 'utf8'), { ...place, capabilities });
    const allowed = (
      syscalls: readonly { readonly action: string; readonly names: readonly string[] }[],
    ): Set<string> => new Set(syscalls.filter(rule => rule.action === 'SCMP_ACT_ALLOW').flatMap(rule => rule.names));
    const known = new Set(theirs.syscalls.flatMap(rule => rule.names));
    const own = planSeccomp(capabilities, 'x64');
    const wider = [...allowed(own?.syscalls ?? [])].filter(
      name => known.has(name) && !allowed(theirs.syscalls).has(name),
    );
    t.strictSame(wider, ['io_pgetevents', 'vmsplice'], `${capabilities.length} capabilities`);
  }
});
