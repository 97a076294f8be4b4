/**
 * Our reading of stack files against Docker's: `docker stack config` (which needs no daemon) normalises a file; read by us, its
 * output has to give the same specs as the file itself.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type LoadedStack, loadStack } from '../../../src/tasks/spec/index.js';

const docker = findDocker();

function findDocker(): string | undefined {
  try {
    execFileSync('docker', ['stack', 'config', '--help'], { stdio: 'ignore' });
    return 'docker';
  } catch {
    return undefined;
  }
}

const environment = { HOME: '/root', PATH: process.env['PATH'] ?? '', FROM_SHELL: 'shell', TAG: '2', EMPTY: '' };

function load(directory: string, files: readonly string[], substitute: boolean): LoadedStack {
  return loadStack(
    files.map(path => ({ path, text: fs.readFileSync(join(directory, path), 'utf8') })),
    {
      name: 'shop',
      directory,
      homeDirectory: '/root',
      environment,
      substitute,
      findFile: path => (fs.existsSync(path) ? fs.readFileSync(path) : undefined),
    },
  );
}

/** Specs without what Docker orders anew. */
function comparable(stack: LoadedStack): unknown {
  const byName = <Item extends { readonly name: string }>(items: readonly Item[]): readonly Item[] =>
    [...items].sort((a, b) => (a.name < b.name ? -1 : 1));
  const services = byName(stack.services).map(service => ({
    ...service,
    ports: service.ports.map(port => JSON.stringify(port)).sort(),
    task: {
      ...service.task,
      networks: [...service.task.networks].sort((a, b) => (a.network < b.network ? -1 : 1)),
      containers: service.task.containers.map(container => ({
        ...container,
        env: [...container.env].sort(),
        mounts: container.mounts.map(mount => JSON.stringify(mount)).sort(),
        ulimits: container.ulimits.map(limit => JSON.stringify(limit)).sort(),
        secrets: container.secrets.map(secret => JSON.stringify(secret)).sort(),
        configs: container.configs.map(config => JSON.stringify(config)).sort(),
      })),
    },
  }));
  return JSON.parse(
    JSON.stringify({
      services,
      networks: byName(stack.networks),
      secrets: byName(stack.secrets),
      configs: byName(stack.configs),
    }),
  );
}

const head = 'version: "3.13"\n';

/** Percent signs before a brace stand for dollar signs. */
const cases: Readonly<Record<string, readonly string[]>> = {
  'scalars of the environment': [
    `services:
  web:
    image: x
    environment:
      A: on
      B: yes
      C: 012
      D: 0o17
      E: 0x1F
      F: 1e3
      G: 1_000
      H: 3.10
      I: 60:30
      J: 2026-01-02
      K: 2026-01-02T03:04:05Z
      L: "012"
      M: .5
      N: 08
      O: -0x10
      P: +5
      Q: 1.0
      R: 123456789012345678901234567890
      S: 0b11
      T: 1e21
      U: 0.00001
      V: "with: colon"
      W: 2026-01-02 03:04:05
      X: 18446744073709551615
`,
  ],
  'values from files and from the shell': [
    `services:
  web:
    image: x:%{TAG}
    env_file: [one.env, two.env]
    environment: {A: own, FROM_SHELL: , D: "%{EMPTY:-e}", E: "%{EMPTY-e}", F: "%{NONE:-n}", G: "$$x"}
    labels: ["a=1", "b", "c=%{TAG}"]
`,
  ],
  'lists and maps': [
    `services:
  web:
    image: x
    command: sh -c 'echo "a b"; exit 1'
    entrypoint: /bin/app "two words" three\\ words
    sysctls: [net.core.somaxconn=1024]
    extra_hosts: {a: 1.2.3.4, b: "::1"}
    dns: 9.9.9.9
    dns_search: [a.test, b.test]
    tmpfs: [/run, "/tmp:size=1m"]
    ulimits: {nproc: 65535, nofile: {soft: 20000, hard: 40000}}
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    read_only: true
    tty: true
    stdin_open: true
    init: true
    stop_signal: SIGUSR1
    stop_grace_period: 1m30s
    user: "1000:1000"
    working_dir: /srv
    hostname: box
    healthcheck: {test: curl x, interval: 10s, timeout: 1s, retries: 3, start_period: 5s, start_interval: 200ms}
`,
  ],
  'ports and mounts': [
    `services:
  web:
    image: x
    ports:
      - 3000
      - "3001-3003"
      - "8000:8000"
      - "9090-9091:8080-8081"
      - "6060:6060/udp"
      - "7000-7001:70"
      - {target: 80, published: 8080, protocol: tcp, mode: host}
    volumes:
      - /var/lib/a
      - /opt/data:/b
      - .:/code
      - ./static:/c:ro
      - ~/configs:/d
      - data:/e
      - {type: bind, source: ./opt, target: /opt, bind: {propagation: rshared}}
      - {type: tmpfs, target: /f, tmpfs: {size: 10000}}
      - {type: volume, source: other, target: /g, read_only: true, volume: {nocopy: true}}
volumes: {data: , other: {name: theirs, external: true}}
`,
  ],
  'deploy, networks, secrets, configs': [
    `services:
  web:
    image: x
    networks: {front: {aliases: [www]}, back: }
    secrets: [a, {source: b, target: c, uid: "5", gid: "6", mode: 0440}]
    configs: [d]
    deploy:
      mode: replicated
      replicas: 6
      labels: [FOO=BAR]
      endpoint_mode: dnsrr
      resources: {limits: {cpus: "0.001", memory: 50M, pids: 100}, reservations: {cpus: "0.0001", memory: 20M}}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}
      placement: {constraints: [node.labels.a==b], max_replicas_per_node: 5, preferences: [{spread: node.labels.zone}]}
  all: {image: y, deploy: {mode: global}}
networks:
  front: {driver: overlay, attachable: true, ipam: {config: [{subnet: 172.16.238.0/24}]}, labels: {a: b}}
  back: {external: true, name: backbone}
secrets: {a: {file: ./one.env}, b: {external: true}}
configs: {d: {file: ./two.env, labels: {x: "y"}}}
`,
  ],
  'anchors and own keys': [
    `x-base: &base
  image: x
  environment: {A: "1"}
services:
  web:
    <<: *base
    x-note: 5
    labels: &labels {a: b}
  other:
    <<: *base
    environment: {B: "2"}
    labels: *labels
`,
  ],
  'two files': [
    `services:
  web: {image: a, command: [one], environment: {A: 1, B: 1}, ports: ["8080:80", "53:53/udp"], volumes: ["data:/d", "/o"], cap_add: [X], networks: {front: {aliases: [x]}}, deploy: {replicas: 2, placement: {constraints: [a==b]}, restart_policy: {condition: none, delay: 1s}}, healthcheck: {interval: 5s}}
networks: {front: {attachable: true}}
volumes: {data: }
`,
    `services:
  web: {image: b, command: [two], environment: [B=2, C=2], ports: ["8080:81"], volumes: ["new:/d"], cap_add: [Y], networks: {front: {aliases: [y]}, back: }, deploy: {placement: {constraints: [c==d]}, restart_policy: {delay: 2s}}, healthcheck: {timeout: 1s}}
  extra: {image: c}
networks: {front: {internal: true}, back: }
volumes: {new: }
`,
  ],
};

t.test(
  'Docker’s own normal form of a file means the same to us',
  { skip: docker === undefined ? 'docker is not installed' : false },
  async t => {
    for (const [title, texts] of Object.entries(cases)) {
      const directory = t.testdir({
        'one.env': 'A=file\nB="kept" # too\n# comment\nC=1\n',
        'two.env': 'C=2\nFROM_SHELL\nNOWHERE\n',
      });
      const files = texts.map((_, at) => `stack${at}.yaml`);
      for (const [at, text] of texts.entries()) {
        fs.writeFileSync(join(directory, files[at] ?? ''), head + text.replaceAll(/%(?=\{)/g, '$'));
      }
      const normal = execFileSync('docker', ['stack', 'config', ...files.flatMap(file => ['-c', file])], {
        cwd: directory,
        env: environment,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      fs.writeFileSync(join(directory, 'normal.yaml'), normal);
      t.same(comparable(load(directory, files, true)), comparable(load(directory, ['normal.yaml'], false)), title);
    }
  },
);

const vectors = process.env['COVEY_VECTORS'] ?? '../shared/vectors';
const example = join(vectors, 'stack/full-example.yml');
const noExample = fs.existsSync(example) ? false : `${example} is not there`;

t.test(
  'Docker’s full example is refused for what is not honoured, and for nothing else',
  { skip: noExample },
  async t => {
    try {
      load(join(vectors, 'stack'), ['full-example.yml'], true);
      t.fail('it was loaded');
    } catch (error) {
      const text = `${(error as Error).message}; ${(error as { readonly state?: string }).state ?? ''}`;
      t.match(error, { code: 'stack-not-honoured' });
      t.match(text, /services\.foo\.build is not honoured/);
      t.notMatch(text, /is not a key of/);
    }
  },
);
