import t from 'tap';
import { load } from './load.js';

const base = `services:
  web:
    image: a
    command: [one]
    environment: {A: 1, B: 1}
    ports: ["8080:80", "53:53/udp", "90"]
    volumes: ["data:/d", "other:/o"]
    cap_add: [NET_ADMIN]
    tty: true
    healthcheck: {test: [CMD, a], interval: 5s}
    networks: {front: {aliases: [x]}}
    secrets: [{source: s, target: t}]
    deploy: {replicas: 2, placement: {constraints: [a==b]}, restart_policy: {condition: none, delay: 1s}, resources: {limits: {memory: 1M}}, update_config: {parallelism: 2, order: start-first, delay: 5s}}
networks: {front: {attachable: true}}
volumes: {data: , other: }
secrets: {s: {external: true}}
`;

const later = `services:
  web:
    image: b
    command: [two]
    environment: [B=2, C=2]
    ports: ["8080:81", "53:54"]
    volumes: ["new:/d"]
    cap_add: [SYS_TIME]
    tty: false
    healthcheck: {test: [CMD, b]}
    networks: {front: {aliases: [y]}, back: }
    secrets: [{source: s, target: u}]
    deploy: {placement: {constraints: [c==d]}, restart_policy: {delay: 2s}, resources: {limits: {cpus: "1"}}, update_config: {order: stop-first, failure_action: rollback, x-deadline: 2m}, rollback_config: {parallelism: 0, monitor: 1s, max_failure_ratio: 0.5}}
  extra: {image: c}
networks: {front: {internal: true}, back: }
volumes: {new: }
`;

t.test('a later file goes over an earlier one: maps by key, lists appended, values replaced', async t => {
  const stack = load([base, later]);
  const [web, extra] = stack.services;
  const [main] = web?.task.containers ?? [];
  t.equal(extra?.name, 'shop_extra');
  t.match(main, {
    image: 'b',
    command: ['two'],
    env: ['A=1', 'B=2', 'C=2'],
    capAdd: ['NET_ADMIN', 'SYS_TIME'],
    tty: false,
  });
  t.same(
    main?.mounts.map(mount => `${mount.source}:${mount.target}`),
    ['shop_other:/o', 'shop_new:/d'],
  );
  t.same(
    web?.ports.map(port => `${port.published}:${port.target}/${port.protocol}`),
    ['53:53/udp', '0:90/tcp', '8080:81/tcp', '53:54/tcp'],
  );
  t.match(main?.healthcheck, { test: ['CMD', 'b'], intervalMs: 5_000 });
  t.same(
    main?.secrets.map(secret => secret.target),
    ['u'],
  );
  t.same(web?.task.networks, [
    { network: 'shop_front', aliases: ['web', 'y'] },
    { network: 'shop_back', aliases: ['web'] },
  ]);
  t.match(web?.task, {
    placement: { constraints: ['a==b', 'c==d'] },
    restart: { condition: 'none', delayMs: 2_000 },
    limits: { memoryBytes: 1_048_576, cpuNanos: 1_000_000_000 },
  });
  t.same(web?.update, {
    parallelism: 2,
    delayMs: 5_000,
    monitorMs: undefined,
    failureAction: 'rollback',
    maxFailureRatio: 0,
    order: 'stop-first',
    deadlineMs: 120_000,
  });
  t.match(web?.rollback, { parallelism: 0, monitorMs: 1_000, failureAction: 'pause', maxFailureRatio: 0.5 });
  t.equal(extra?.update, undefined);
  t.match(web?.mode, { kind: 'replicated', replicas: 2 });
  t.match(
    stack.networks.find(network => network.name === 'shop_front'),
    { internal: true, attachable: false },
    'objects are replaced whole',
  );
});

t.test('problems of the second file name it', async t => {
  t.throws(() => load([base, 'services:\n  web: {imagee: x}']), { message: /stack2\.yaml:2:9/ });
});
