import t from 'tap';
import type { ContainerSpec, ServiceSpec } from '../../../src/gen/types.js';
import { load, refusal, type World } from './load.js';

/** The one service of a file, from the lines below its image. */
function service(lines: string, world?: World): ServiceSpec {
  const text = `services:\n  web:\n    image: hello:1\n${lines.replaceAll(/^/gm, '    ')}\n`;
  const [found] = load(text, world).services;
  if (found === undefined) throw new Error('the file has no service');
  return found;
}

function container(lines: string, world?: World): ContainerSpec {
  const [found] = service(lines, world).task.containers;
  if (found === undefined) throw new Error('the service has no container');
  return found;
}

t.test('logging limits the files of the log; what it cannot be is refused', async t => {
  t.same(container('').log, undefined);
  t.same(container('logging: { driver: local, options: { max-size: 1m, max-file: "5" } }').log, {
    sizeMaxBytes: 2 ** 20,
    filesMax: 5,
  });
  t.same(container('logging: { driver: json-file }').log, undefined);
  for (const [text, code] of [
    ['{ driver: syslog }', 'stack-not-honoured'],
    ['{ options: { compress: "true" } }', 'stack-not-honoured'],
    ['{ options: { max-size: 5 } }', 'stack-type'],
    ['{ options: { max-file: "0" } }', 'stack-type'],
  ] as const) {
    t.match(refusal(`services: {web: {image: x, logging: ${text}}}`), new RegExp(`^${code}: .*logging`), text);
  }
});

t.test('a service of one line has the defaults of the cluster', async t => {
  t.same(service(''), {
    name: 'shop_web',
    labels: {},
    stack: 'shop',
    task: {
      containers: [
        {
          name: '',
          image: 'hello:1',
          entrypoint: [],
          command: [],
          env: [],
          workingDir: '',
          user: '',
          groups: [],
          hostname: '',
          labels: {},
          mounts: [],
          stopSignal: '',
          stopGraceMs: undefined,
          init: false,
          tty: false,
          stdin: false,
          capAdd: [],
          capDrop: [],
          readOnly: false,
          ulimits: [],
          sysctls: {},
          healthcheck: undefined,
          secrets: [],
          configs: [],
          shmBytes: 0,
          oomScoreAdj: undefined,
          extraHosts: [],
          dns: [],
          dnsSearch: [],
          dnsOptions: [],
          role: 'main',
          restart: 'always',
          postStart: [],
          preStop: [],
          readyCheck: undefined,
          privileged: false,
          userns: '',
          securityOpt: [],
          devices: [],
          deviceCgroupRules: [],
          pullPolicy: '',
        },
      ],
      limits: undefined,
      reservations: undefined,
      restart: { condition: 'any', delayMs: undefined, delayMaxMs: undefined, attemptsMax: 0, windowMs: 0 },
      placement: { constraints: [], perNodeMax: 0, spread: [] },
      networks: [{ network: 'shop_default', aliases: ['web'] }],
      runtime: '',
      force: 0,
    },
    ports: [],
    endpointMode: 'vip',
    mode: { kind: 'replicated', replicas: 1 },
  });
});

t.test('each key of a service becomes its field', async t => {
  const rows: readonly (readonly [string, Partial<ContainerSpec>])[] = [
    [`command: sh -c "echo 'a b'"`, { command: ['sh', '-c', "echo 'a b'"] }],
    ['command: [a, b c]', { command: ['a', 'b c'] }],
    ['command: null', { command: [] }],
    ['entrypoint: /bin/app --x', { entrypoint: ['/bin/app', '--x'] }],
    ['environment: {A: 1, B: x=y, C: ""}', { env: ['A=1', 'B=x=y', 'C='] }],
    ['environment: [A=1, B]', { env: ['A=1'] }],
    ['working_dir: /srv', { workingDir: '/srv' }],
    ['user: "1000:1000"', { user: '1000:1000' }],
    ['group_add: [docker, 44]', { groups: ['docker', '44'] }],
    ['hostname: box', { hostname: 'box' }],
    ['labels: [a=1, b]', { labels: { a: '1', b: '' } }],
    ['labels: {a: 42, b: null}', { labels: { a: '42', b: '' } }],
    ['stop_signal: SIGUSR1', { stopSignal: 'SIGUSR1' }],
    ['stop_grace_period: 1m30s', { stopGraceMs: 90_000 }],
    ['init: true', { init: true }],
    ['tty: true\nstdin_open: true', { tty: true, stdin: true }],
    ['read_only: true', { readOnly: true }],
    ['privileged: true', { privileged: true }],
    ['userns_mode: auto', { userns: 'auto' }],
    ['userns_mode: host', { userns: 'host' }],
    ['security_opt: [no-new-privileges, label=disable]', { securityOpt: ['no-new-privileges', 'label=disable'] }],
    ['devices: ["/dev/fuse", "/dev/a:/dev/b:r"]', { devices: ['/dev/fuse', '/dev/a:/dev/b:r'] }],
    ['devices: [{source: vendor.com/gpu=0}]', { devices: ['vendor.com/gpu=0'] }],
    ['devices: [{source: /dev/a, permissions: rw}]', { devices: ['/dev/a:/dev/a:rw'] }],
    ['device_cgroup_rules: ["c 10:* rw", "b 8:0 r"]', { deviceCgroupRules: ['c 10:* rw', 'b 8:0 r'] }],
    ['shm_size: 64m', { shmBytes: 67_108_864 }],
    ['oom_score_adj: -500', { oomScoreAdj: -500 }],
    ['cap_add: [net_admin]\ncap_drop: [ALL]', { capAdd: ['NET_ADMIN'], capDrop: ['ALL'] }],
    [
      'ulimits: {nproc: 10, nofile: {soft: 1, hard: 2}}',
      {
        ulimits: [
          { name: 'nproc', soft: 10, hard: 10 },
          { name: 'nofile', soft: 1, hard: 2 },
        ],
      },
    ],
    ['sysctls: {net.core.somaxconn: 1024}', { sysctls: { 'net.core.somaxconn': '1024' } }],
    ['extra_hosts: ["a:1.2.3.4", "b=::1", "c:[fd00::1]"]', { extraHosts: ['a:1.2.3.4', 'b:::1', 'c:fd00::1'] }],
    [
      'dns: 9.9.9.9\ndns_search: [x.test]\ndns_opt: ["ndots:2"]',
      { dns: ['9.9.9.9'], dnsSearch: ['x.test'], dnsOptions: ['ndots:2'] },
    ],
    ['init: "%{I:-yes}"', { init: true }],
  ];
  for (const [lines, expected] of rows) t.match(container(lines), expected, lines);
});

t.test('values without a value come from the environment, files come first', async t => {
  const world = {
    env: { PASSED: 'p' },
    files: { '/site/a.env': 'A=file\nB="kept"\nPASSED\n', '/site/.env': 'DOT=d\n' },
  };
  t.same(container('env_file: a.env\nenvironment: {A: own, PASSED: , NONE: , D: "%{DOT}"}', world).env, [
    'A=own',
    'B="kept"',
    'PASSED=p',
    'D=d',
  ]);
  t.same(container('env_file: [{path: none.env, required: false}, {path: ./a.env}]', world).env, [
    'A=file',
    'B="kept"',
    'PASSED=p',
  ]);
});

t.test('the environment goes before .env', async t => {
  const world = { env: { TAG: 'shell' }, files: { '/site/.env': 'TAG=file\nOTHER=x\n' } };
  t.same(container('environment: ["T=%{TAG}", "O=%{OTHER}"]', world).env, ['T=shell', 'O=x']);
});

t.test('health checks are a text for the shell, a list, or nothing', async t => {
  const rows: readonly (readonly [string, object | undefined])[] = [
    ['healthcheck: {test: curl -f x}', { test: ['CMD-SHELL', 'curl -f x'] }],
    [
      'healthcheck: {test: [CMD, a, b], interval: 10s, timeout: 1s, start_period: 5s, start_interval: 200ms, retries: 2}',
      {
        test: ['CMD', 'a', 'b'],
        intervalMs: 10_000,
        timeoutMs: 1_000,
        startPeriodMs: 5_000,
        startIntervalMs: 200,
        retries: 2,
      },
    ],
    ['healthcheck: {disable: true}', { test: ['NONE'], intervalMs: 0 }],
    ['healthcheck: {test: [NONE]}', { test: ['NONE'] }],
    ['healthcheck: {interval: 5s}', { test: [], intervalMs: 5_000 }],
  ];
  for (const [lines, expected] of rows) t.match(container(lines).healthcheck, expected ?? {}, lines);
});

t.test('ports have a short and a long form', async t => {
  t.same(service('ports: [80, "8080-8081:80-81", {target: 53, published: "53", protocol: udp, mode: host}]').ports, [
    { published: 0, target: 80, protocol: 'tcp', mode: 'ingress' },
    { published: 8080, target: 80, protocol: 'tcp', mode: 'ingress' },
    { published: 8081, target: 81, protocol: 'tcp', mode: 'ingress' },
    { published: 53, target: 53, protocol: 'udp', mode: 'host' },
  ]);
});

t.test('mounts are binds from the folder of the file, named volumes of the stack, or tmpfs', async t => {
  const text = `services:
  web:
    image: x
    volumes:
      - ./src:/src:ro
      - ~/conf:/conf
      - data:/data
      - /anonymous
      - {type: bind, source: ./opt, target: /opt, bind: {propagation: rslave, selinux: Z}}
      - {type: tmpfs, target: /t, tmpfs: {size: 10000, mode: 0700}}
      - {type: volume, source: shared, target: /shared, read_only: true, volume: {nocopy: true}}
    tmpfs: ["/run:size=1m", /tmp]
volumes:
  data:
  shared: {external: true, name: site-data}
`;
  const mounts = load(text).services[0]?.task.containers[0]?.mounts.map(mount => [
    mount.kind,
    mount.source,
    mount.target,
  ]);
  t.same(mounts, [
    ['bind', '/site/src', '/src'],
    ['bind', '/home/me/conf', '/conf'],
    ['volume', 'shop_data', '/data'],
    ['volume', '', '/anonymous'],
    ['bind', '/site/opt', '/opt'],
    ['tmpfs', '', '/t'],
    ['volume', 'site-data', '/shared'],
    ['tmpfs', '', '/run'],
    ['tmpfs', '', '/tmp'],
  ]);
  t.match(load(text).services[0]?.task.containers[0]?.mounts[4], { propagation: 'rslave', relabel: 'private' });
  t.match(load(text).services[0]?.task.containers[0]?.mounts[5], { tmpfsBytes: 10_000, tmpfsMode: 0o700 });
});

t.test('secrets and configs come from files, variables or the file itself', async t => {
  const text = `services:
  web:
    image: x
    secrets: [password, {source: key, target: /etc/key, uid: "5", gid: "6", mode: 0400}]
    configs: [app, {source: site, target: /site.conf, mode: "0640"}]
secrets:
  password: {file: ./password.txt}
  key: {environment: KEY}
configs:
  app: {content: "a=%{A:-1}\\n"}
  site: {external: true}
`;
  const stack = load(text, { files: { '/site/password.txt': 'hunter2' }, env: { KEY: 'k' } });
  const [main] = stack.services[0]?.task.containers ?? [];
  t.same(main?.secrets, [
    { source: 'shop_password', target: 'password', uid: 0, gid: 0, mode: undefined },
    { source: 'shop_key', target: '/etc/key', uid: 5, gid: 6, mode: 0o400 },
  ]);
  t.same(main?.configs, [
    { source: 'shop_app', target: '/app', uid: 0, gid: 0, mode: undefined },
    { source: 'site', target: '/site.conf', uid: 0, gid: 0, mode: 0o640 },
  ]);
  const contents = (files: readonly { readonly name: string; readonly data: Uint8Array }[]): object =>
    files.map(file => [file.name, new TextDecoder().decode(file.data)]);
  t.same(contents(stack.secrets), [
    ['shop_password', 'hunter2'],
    ['shop_key', 'k'],
  ]);
  t.same(contents(stack.configs), [['shop_app', 'a=1\n']]);
});

t.test('networks have the name of the stack before theirs, unless they are others’', async t => {
  const text = `services:
  web: {image: x, networks: {front: {aliases: [www]}, back: , site: }}
  db: {image: x, networks: [back]}
  lone: {image: x}
networks:
  front: {attachable: true, labels: {a: b}, ipam: {config: [{subnet: 10.9.0.0/24}]}}
  back: {internal: true, name: backbone}
  site: {external: true}
`;
  const stack = load(text);
  t.same(
    stack.services.map(one => one.task.networks),
    [
      [
        { network: 'shop_front', aliases: ['web', 'www'] },
        { network: 'backbone', aliases: ['web'] },
        { network: 'site', aliases: ['web'] },
      ],
      [{ network: 'backbone', aliases: ['db'] }],
      [{ network: 'shop_default', aliases: ['lone'] }],
    ],
  );
  t.same(stack.networks.map(network => network.name).sort(), ['backbone', 'shop_default', 'shop_front']);
  t.match(
    stack.networks.find(network => network.name === 'shop_front'),
    { attachable: true, labels: { a: 'b' }, subnets: ['10.9.0.0/24'], driver: 'overlay', stack: 'shop' },
  );
});

t.test('a service may use the network of its node, or none', async t => {
  t.same(service('network_mode: host').task.networks, [{ network: 'host', aliases: [] }]);
  t.same(load('services: {web: {image: x, network_mode: none}}').networks, [], 'and then needs none of the stack');
  t.match(
    refusal('services: {web: {image: x, network_mode: bridge}}'),
    /^stack-not-honoured: .*:1:\d+: services\.web\.network_mode/,
  );
  t.match(refusal('services: {web: {image: x, network_mode: host, networks: [a]}, b: {image: y}}'), /^stack-type: /);
});

t.test('deploy says how many, where, how much and how often', async t => {
  const found = service(`deploy:
  replicas: "%{N:-3}"
  labels: {tier: front}
  endpoint_mode: dnsrr
  resources:
    limits: {cpus: "0.5", memory: 50M, pids: 100}
    reservations: {cpus: 0.25, memory: 20M}
  restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 2m}
  placement: {constraints: [node.labels.disk==ssd], max_replicas_per_node: 2, preferences: [{spread: node.labels.zone}]}`);
  t.match(found, {
    labels: { tier: 'front' },
    mode: { kind: 'replicated', replicas: 3 },
    endpointMode: 'dnsrr',
    task: {
      limits: { cpuNanos: 500_000_000, memoryBytes: 52_428_800, pids: 100 },
      reservations: { cpuNanos: 250_000_000, memoryBytes: 20_971_520, pids: 0 },
      restart: { condition: 'on-failure', delayMs: 5_000, attemptsMax: 3, windowMs: 120_000 },
      placement: { constraints: ['node.labels.disk==ssd'], perNodeMax: 2, spread: ['node.labels.zone'] },
    },
  });
  t.same(service('deploy: {mode: global}').mode, { kind: 'global' });
  t.match(service('deploy: {x-lost-after: 2s, x-reconcile: keep-replacement, x-stop-after-disconnect: 1m}').loss, {
    lostAfterMs: 2_000,
    reconcile: 'keep-replacement',
    stopAfterDisconnectMs: 60_000,
  });
});

t.test('restart counts where deploy says nothing', async t => {
  t.match(service('restart: "no"').task.restart, { condition: 'none' });
  t.match(service('restart: always').task.restart, { condition: 'any' });
  t.match(service('restart: on-failure:4').task.restart, { condition: 'on-failure', attemptsMax: 4 });
  t.match(service('restart: always\ndeploy: {restart_policy: {condition: none}}').task.restart, { condition: 'none' });
});
