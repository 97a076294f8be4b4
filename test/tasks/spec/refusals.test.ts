import t from 'tap';
import { CoveyError } from '../../../src/errors.js';
import { load, refusal, type World } from './load.js';

interface Row {
  readonly title: string;
  readonly text: string;
  /** "code: Cannot use file:line:column: …", as far as it is given. */
  readonly expected: RegExp;
  readonly world?: World;
}

const web = 'services:\n  web:\n    image: x\n';

const rows: readonly Row[] = [
  { title: 'an open bracket', text: 'services:\n  web: [', expected: /^stack-syntax: Cannot use stack\.yaml:2:\d+: / },
  { title: 'a tab', text: 'services:\n\tweb: {}', expected: /^stack-syntax: .*:2:1: / },
  { title: 'a key twice', text: 'services:\n  a: {image: x}\n  a: {image: y}', expected: /^stack-syntax: .*:3:3: / },
  { title: 'a second document', text: `${web}---\na: b`, expected: /^stack-syntax: .*second document/ },
  { title: 'no map', text: '- a', expected: /^stack-syntax: .*:1:1: / },
  { title: 'an unknown anchor', text: 'services:\n  web: *base', expected: /^stack-syntax: .*:2:8: / },
  { title: 'an unknown tag', text: 'services:\n  web: !reset {}', expected: /^stack-syntax: .*:2:8: / },
  {
    title: 'an unknown key',
    text: `${web}    imagee: x`,
    expected: /^stack-unknown-key: Cannot use stack\.yaml:4:5: services\.web\.imagee is not a key of a service$/,
  },
  { title: 'an unknown key at the top', text: 'servces: {}', expected: /^stack-unknown-key: .*:1:1: servces/ },
  {
    title: 'an unknown key below deploy',
    text: `${web}    deploy: {replica: 3}`,
    expected: /^stack-unknown-key: .*:4:14: services\.web\.deploy\.replica/,
  },
  {
    title: 'a key that is not honoured',
    text: `${web}    ipc: host`,
    expected: /^stack-not-honoured: .*:4:5: services\.web\.ipc/,
  },
  {
    title: 'a rollback of rollbacks',
    text: `${web}    deploy:\n      rollback_config: {failure_action: rollback}`,
    expected: /^stack-type: .*:5:41: services\.web\.deploy\.rollback_config\.failure_action/,
  },
  {
    title: 'a share above one',
    text: `${web}    deploy:\n      update_config: {max_failure_ratio: 1.5}`,
    expected: /^stack-type: .*:5:42: .*max_failure_ratio .*from 0 to 1/,
  },
  {
    title: 'a port on an address',
    text: `${web}    ports: ["127.0.0.1:80:80"]`,
    expected: /^stack-type: .*:4:13: services\.web\.ports\[0\]/,
  },
  {
    title: 'a driver of volumes',
    text: `${web}volumes:\n  a: {driver: nfs}`,
    expected: /^stack-not-honoured: .*:5:15: volumes\.a\.driver/,
  },
  {
    title: 'the gateway of the host',
    text: `${web}    extra_hosts: ["h:host-gateway"]`,
    expected: /^stack-not-honoured: /,
  },
  {
    title: 'a list for a text',
    text: 'services:\n  web:\n    image: [a]',
    expected: /^stack-type: .*:3:12: services\.web\.image is a list, and has to be a text$/,
  },
  {
    title: 'a number for a text',
    text: 'services:\n  web:\n    image: 1.10',
    expected: /^stack-type: .*:3:12: .*the number 1\.1/,
  },
  { title: 'a word for a number', text: `${web}    deploy:\n      replicas: many`, expected: /^stack-type: .*:5:17: / },
  {
    title: 'a flag in the environment',
    text: `${web}    environment:\n      DEBUG: true`,
    expected: /^stack-type: .*:5:14: services\.web\.environment\.DEBUG is true/,
  },
  {
    title: 'a duration without a unit',
    text: `${web}    stop_grace_period: 10`,
    expected: /^stack-type: .*:4:24: .*unit/,
  },
  {
    title: 'a device for a rule about devices',
    text: `${web}    device_cgroup_rules: ["c 1:3 r", /dev/null]`,
    expected: /^stack-type: .*:4:38: services\.web\.device_cgroup_rules\[1\] .*MAJOR:MINOR/,
  },
  { title: 'a port out of range', text: `${web}    ports: ["80:99999"]`, expected: /^stack-type: .*:4:13: / },
  {
    title: 'a service without an image',
    text: 'services:\n  web: {}',
    expected: /^stack-type: .*:2:8: services\.web has no image/,
  },
  {
    title: 'replicas of a global service',
    text: `${web}    deploy: {mode: global, replicas: 2}`,
    expected: /^stack-type: .*:4:38: .*global/,
  },
  { title: 'two mounts at one place', text: `${web}    tmpfs: [/a, /a]`, expected: /^stack-type: .*"\/a"/ },
  {
    title: 'a health check of two minds',
    text: `${web}    healthcheck: {disable: true, test: x}`,
    expected: /^stack-type: .*disabled/,
  },
  {
    title: 'a secret from nowhere',
    text: `${web}secrets:\n  a: {}`,
    expected: /^stack-type: .*:5:6: secrets\.a needs exactly one of file, environment, external/,
  },
  {
    title: 'a variable that is not set',
    text: 'services:\n  web:\n    image: hello:%{NO_TAG}',
    expected: /^stack-variable: .*:3:18: the variable "NO_TAG" is not set$/,
  },
  {
    title: 'a variable with a message',
    text: 'services:\n  web:\n    image: "hello:%{TAG:?set it}"',
    expected: /^stack-variable: .*:3:19: "TAG" is not set: set it$/,
  },
  {
    title: 'a broken variable',
    text: 'services:\n  web:\n    image: %{',
    expected: /^stack-(?:type|syntax): .*:3:\d+/,
  },
  {
    title: 'a secret of a variable that is not set',
    text: `${web}secrets:\n  a: {environment: NONE}`,
    expected: /^stack-variable: .*:5:20: /,
  },
  {
    title: 'an undefined network',
    text: `${web}    networks: [nowhere]`,
    expected: /^stack-reference: .*:4:16: services\.web\.networks\[0\] names the network "nowhere"/,
  },
  {
    title: 'an undefined volume',
    text: `${web}    volumes: ["data:/d"]`,
    expected: /^stack-reference: .*:4:15: .*volume "data"/,
  },
  { title: 'an undefined secret', text: `${web}    secrets: [a]`, expected: /^stack-reference: .*:4:15: .*secret "a"/ },
  {
    title: 'an undefined config',
    text: `${web}    configs: [{source: a}]`,
    expected: /^stack-reference: .*:4:15: .*config "a"/,
  },
  {
    title: 'a missing file of variables',
    text: `${web}    env_file: none.env`,
    expected: /^stack-file: .*:4:15: .*"none\.env"/,
  },
  {
    title: 'a missing file of a secret',
    text: `${web}secrets:\n  a: {file: ./none}`,
    expected: /^stack-file: .*:5:13: /,
  },
  {
    title: 'a broken .env',
    text: web,
    world: { files: { '/site/.env': 'not a line' } },
    expected: /^stack-file: .*\/site\/\.env/,
  },
];

t.test('what cannot be done as asked is refused with its place', async t => {
  for (const row of rows) t.match(refusal(row.text, row.world), row.expected, row.title);
});

t.test('keys that ask for nothing, and keys of the user’s own, are no matter', async t => {
  const text = `x-common: &common {image: x, init: true}\nversion: "3.13"\nservices:\n  web:\n    <<: *common\n    privileged: false\n    devices: []\n    x-note: 1\n    build:\n`;
  t.match(load(text).services[0]?.task.containers[0], { image: 'x', init: true });
});

t.test('merge keys: own keys win, then the first of a list; maps are replaced, not mixed', async t => {
  const text = `x-a: &a {image: a, environment: {A: 1}, user: a}\nx-b: &b {image: b, hostname: b}\nservices:\n  web:\n    <<: [*a, *b]\n    environment: {B: 2}\n`;
  t.match(load(text).services[0]?.task.containers[0], { image: 'a', user: 'a', hostname: 'b', env: ['B=2'] });
});

t.test('anchors cannot make a file endless', async t => {
  const lines = Array.from(
    { length: 12 },
    (_, at) => `x-${at + 1}: &a${at + 1} [${Array(9).fill(`*a${at}`).join(', ')}]`,
  );
  t.match(refusal(`x-0: &a0 [a]\n${lines.join('\n')}`), /^stack-syntax: .*100000/);
});

t.test('all problems of a file are told at once', async t => {
  try {
    load(`${web}    imagee: x\n    ipc: host\n    user: 5\n`);
    t.fail('it was loaded');
  } catch (error) {
    t.ok(error instanceof CoveyError);
    t.match(error, {
      code: 'stack-unknown-key',
      hint: 'write image',
      state: /2 more problems: 5:5: .*ipc.*; 6:11: .*user/,
    });
  }
});

t.test('numbers that read otherwise than they are written are noted', async t => {
  const { warnings } = load(`${web}    environment: {VERSION: 3.10, MODE: 0755, SAME: 5}`);
  t.same(
    warnings.map(warning => warning.message),
    [
      'services.web.environment.VERSION: 3.10 without quotes is read as 3.1',
      'services.web.environment.MODE: 0755 without quotes is read as 493',
    ],
  );
});

t.test('the name is that of the command, else that of the file', async t => {
  t.equal(load(`name: inside\n${web}`).name, 'shop');
  t.match(load(`name: inside\n${web}`).warnings, [{ message: /"inside".*"shop"/ }]);
});
