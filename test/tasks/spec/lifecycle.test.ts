import t from 'tap';
import { load, refusal } from './load.js';

const file = (lines: string): string => `services:\n  web:\n    image: web:1\n${lines.replaceAll(/^/gm, '    ')}\n`;
const containers = (lines: string) => load(file(lines)).services[0]?.task.containers ?? [];

t.test('hooks are read as Compose writes them', async t => {
  const [main] = containers(
    [
      'post_start:',
      '  - command: ./migrate --all "two words"',
      '    user: root',
      '    working_dir: /srv',
      '    environment: { A: 1 }',
      'pre_stop:',
      '  - command: [sh, -c, drain]',
    ].join('\n'),
  );
  t.match(main?.postStart, [
    { command: ['./migrate', '--all', 'two words'], user: 'root', workingDir: '/srv', env: ['A=1'] },
  ]);
  t.match(main?.preStop, [{ command: ['sh', '-c', 'drain'], user: '', env: [] }]);
});

t.test('x-covey adds init containers, sidecars, ready checks and shared directories', async t => {
  const all = containers(
    [
      'x-covey:',
      '  ready: { http: { port: 8080, path: /ready, status: "200-299", headers: { Host: app } }, interval: 2s, retries: 4 }',
      '  init:',
      '    - { name: migrate, image: app:2, command: migrate }',
      '  sidecars:',
      '    - { name: proxy, image: proxy:1, restart: "no", ready: { tcp: 8443 } }',
      '    - { name: logs, image: logs:1, environment: [A=b] }',
      '  shared:',
      '    spool: /spool',
      '    ram: { target: /ram, size: 64m }',
    ].join('\n'),
  );
  t.match(
    all.map(({ name, role, restart, image, mounts }) => ({
      name,
      role,
      restart,
      image,
      targets: mounts.map(one => one.target),
    })),
    [
      { name: '', role: 'main', image: 'web:1', targets: ['/spool', '/ram'] },
      { name: 'migrate', role: 'init', image: 'app:2', targets: ['/spool', '/ram'] },
      { name: 'proxy', role: 'sidecar', restart: 'never', image: 'proxy:1' },
      { name: 'logs', role: 'sidecar', restart: 'always' },
    ],
  );
  t.match(all[0]?.readyCheck, {
    intervalMs: 2_000,
    failures: 4,
    probe: { kind: 'http', port: 8080, path: '/ready', statusMin: 200, statusMax: 299, headers: { Host: 'app' } },
  });
  t.match(all[2]?.readyCheck?.probe, { kind: 'tcp', port: 8443 });
  t.match(all[0]?.mounts[1], { kind: 'shared', source: 'ram', tmpfsBytes: 64 * 2 ** 20 });
  t.strictSame(all[3]?.env, ['A=b']);
});

t.test('short forms of ready checks', async t => {
  const rows = [
    ['http: ":8080/ready"', { kind: 'http', port: 8080, path: '/ready', scheme: 'http' }],
    ['http: "https://:8443"', { kind: 'http', port: 8443, path: '/', scheme: 'https' }],
    ['tcp: 5432', { kind: 'tcp', port: 5432 }],
    ['grpc: 9000/users', { kind: 'grpc', port: 9000, service: 'users' }],
    ['exec: test -e /up', { kind: 'exec', test: ['CMD-SHELL', 'test -e /up'] }],
    ['exec: [test, -e, /up]', { kind: 'exec', test: ['CMD', 'test', '-e', '/up'] }],
  ] as const;
  for (const [text, probe] of rows)
    t.strictSame(
      { ...containers(`x-covey: { ready: { ${text} } }`)[0]?.readyCheck?.probe },
      probe.kind === 'http' ? { ...probe, headers: {}, statusMin: 0, statusMax: 0 } : probe,
      text,
    );
});

t.test('a health check over the network stands in the place of healthcheck', async t => {
  const [main] = containers('x-covey: { health: { http: ":8080/live", interval: 2s, start_period: 1m, retries: 5 } }');
  t.match(main?.healthcheck, {
    ...{ test: [], intervalMs: 2_000, timeoutMs: 0, startPeriodMs: 60_000, retries: 5 },
    probe: { ask: { kind: 'http', port: 8080, path: '/live' } },
  });
  const [, proxy] = containers('x-covey: { sidecars: [ { name: p, image: p, health: { tcp: 8443 } } ] }');
  t.match(proxy?.healthcheck?.probe, { ask: { kind: 'tcp', port: 8443 } });
});

t.test('driver options, labels and parts of volumes reach the mount', async t => {
  const text = [
    file(
      'volumes:\n  - { type: volume, source: data, target: /data, volume: { subpath: a/b } }\n  - { type: image, source: "assets:1", target: /assets, image: { subpath: www } }',
    ),
    'volumes:\n  data:\n    driver_opts: { type: nfs, device: ":/export", o: addr=10.0.0.9 }\n    labels: { tier: gold }\n',
  ].join('');
  t.match(load(text).services[0]?.task.containers[0]?.mounts, [
    {
      kind: 'volume',
      source: 'shop_data',
      subpath: 'a/b',
      volumeOptions: { type: 'nfs', device: ':/export', o: 'addr=10.0.0.9' },
      volumeLabels: { tier: 'gold' },
    },
    { kind: 'image', source: 'assets:1', subpath: 'www' },
  ]);
});

t.test('what makes no sense is refused with its path', async t => {
  const rows = [
    ['x-covey: { redy: {} }', 'stack-unknown-key'],
    ['x-covey: { ready: { tcp: 1, exec: a } }', 'stack-type'],
    ['x-covey: { ready: { tcp: 70000 } }', 'stack-type'],
    ['x-covey: { health: { exec: a } }', 'stack-type'],
    ['x-covey: { health: { tcp: 1, http: 2 } }', 'stack-type'],
    ['healthcheck: { test: a }\nx-covey: { health: { tcp: 1 } }', 'stack-type'],
    ['x-covey: { init: [ { image: a } ] }', 'stack-type'],
    ['x-covey: { init: [ { name: a, image: a, restart: always } ] }', 'stack-unknown-key'],
    ['x-covey: { sidecars: [ { name: a, image: a, ports: ["80"] } ] }', 'stack-not-honoured'],
    ['x-covey: { shared: { a: rel } }', 'stack-type'],
    ['post_start: [ { command: a, privileged: true } ]', 'stack-not-honoured'],
    ['pre_stop: [ { user: a } ]', 'stack-type'],
    ['volumes: [ { type: volume, source: data, target: /d, volume: { subpath: ../x } } ]', 'stack-type'],
  ] as const;
  for (const [text, code] of rows) t.match(refusal(file(text)), new RegExp(`^${code}: `), text);
});
