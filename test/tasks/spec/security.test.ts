import t from 'tap';
import { inlineProfile, parseDevice, parseDeviceRule, parseSecurityOptions } from '../../../src/tasks/spec/security.js';

const plain = {
  seccomp: undefined,
  apparmor: undefined,
  labels: [],
  noNewPrivileges: false,
  bareSystemPaths: false,
};

t.test('security options are read as Docker writes them, and the later word counts', async t => {
  const table: readonly (readonly [readonly string[], Partial<typeof plain> | Record<string, unknown>])[] = [
    [[], {}],
    [['seccomp=unconfined'], { seccomp: 'unconfined' }],
    [['seccomp:unconfined', 'seccomp=builtin'], {}],
    [['seccomp={"defaultAction":"x"}'], { seccomp: { profile: '{"defaultAction":"x"}' } }],
    [['no-new-privileges'], { noNewPrivileges: true }],
    [['no-new-privileges:true', 'no-new-privileges=false'], {}],
    [['apparmor=my-profile'], { apparmor: 'my-profile' }],
    [
      ['label=disable', 'label=type:svirt_t', 'label=level:s0:c1,c2'],
      { labels: ['disable', 'type:svirt_t', 'level:s0:c1,c2'] },
    ],
    [['systempaths=unconfined'], { bareSystemPaths: true }],
  ];
  for (const [texts, wanted] of table) {
    t.strictSame(parseSecurityOptions(texts), { kind: 'ok', value: { ...plain, ...wanted } }, texts.join(' '));
  }
});

t.test('what is none of them is refused with what is valid', async t => {
  for (const text of [
    'seccomp=',
    'seccomp=profile.json',
    'apparmor=',
    'apparmor=a b',
    'label=',
    'label=type:a b',
    'no-new-privileges=maybe',
    'systempaths=masked',
    'credentialspec=x',
    'privileged',
    '',
  ]) {
    t.match(parseSecurityOptions([text]), { kind: 'bad', valid: /\w/ }, text);
  }
});

t.test('a profile travels as its content, without the blanks of its file', async t => {
  const find = (path: string): Uint8Array | undefined =>
    ({ 'ok.json': Buffer.from('{ "defaultAction": "SCMP_ACT_ALLOW" }\n'), 'bad.json': Buffer.from('{') })[path];
  t.match(inlineProfile('seccomp=ok.json', find), { value: 'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}' });
  t.match(inlineProfile('seccomp=unconfined', find), { value: 'seccomp=unconfined' });
  t.match(inlineProfile('no-new-privileges', find), { value: 'no-new-privileges' });
  t.match(inlineProfile('seccomp=bad.json', find), { kind: 'bad', valid: /JSON/ });
  t.match(inlineProfile('seccomp=none.json', find), { kind: 'bad', valid: /no file "none.json"/ });
});

t.test('devices are paths or names of vendors', async t => {
  const path = (source: string, target = source, access = 'rwm') => ({ kind: 'path', source, target, access });
  const table = [
    ['/dev/fuse', path('/dev/fuse')],
    ['/dev/fuse:r', path('/dev/fuse', '/dev/fuse', 'r')],
    ['/dev/sda:/dev/xvda', path('/dev/sda', '/dev/xvda')],
    ['/dev/sda:/dev/xvda:mr', path('/dev/sda', '/dev/xvda', 'mr')],
    ['vendor.com/gpu=0', { kind: 'cdi', name: 'vendor.com/gpu=0' }],
    ['nvidia.com/gpu=GPU-1:2', { kind: 'cdi', name: 'nvidia.com/gpu=GPU-1:2' }],
  ] as const;
  for (const [text, value] of table) t.strictSame(parseDevice(text), { kind: 'ok', value }, text);
  for (const text of [
    '',
    'dev/fuse',
    '/dev/a:/dev/b:x',
    '/dev/a:/dev/b:rr',
    '/dev/a:/etc/b',
    '/dev/../etc/x',
    'gpu=0',
    'a/b=',
  ]) {
    t.equal(parseDevice(text).kind, 'bad', text);
  }
});

t.test('rules for devices are read as Docker writes them', async t => {
  const table = [
    ['c 10:229 rwm', { type: 'c', major: 10, minor: 229, access: 'rwm' }],
    ['b 8:* r', { type: 'b', major: 8, minor: undefined, access: 'r' }],
    ['c *:* mw', { type: 'c', major: undefined, minor: undefined, access: 'mw' }],
    ['a *:* rwm', { type: 'a', major: undefined, minor: undefined, access: 'rwm' }],
  ] as const;
  for (const [text, value] of table) t.strictSame(parseDeviceRule(text), { kind: 'ok', value }, text);
  const wrong = ['', 'c 10:229', 'c 10 rw', 'd 1:1 r', 'c 1:1 rr', 'c 1:1 x', 'c -1:1 r', 'c 1:9999999 r', 'c  1:1 r'];
  for (const text of [...wrong, 'c 1:1 r ', 'C 1:1 r', 'a 1:* rwm', 'a *:* r']) {
    t.match(parseDeviceRule(text), { kind: 'bad', valid: /\w/ }, text);
  }
});
