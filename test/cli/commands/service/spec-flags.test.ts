import t from 'tap';
import { serviceCommands } from '../../../../src/cli/commands/service/index.js';
import type { FlagWorld } from '../../../../src/cli/commands/service/list-flags.js';
import { changedSpec, createdSpec, nameFromImage } from '../../../../src/cli/commands/service/spec-flags.js';
import { parseLine } from '../../../../src/cli/parse.js';
import type { ServiceSpec } from '../../../../src/gen/types.js';
import { parseWords } from '../../../../src/tasks/spec/values.js';

const world: FlagWorld = {
  directory: '/site',
  homeDirectory: '/home/me',
  env: { FROM_SHELL: 'shell' },
  findFile: path => (path === '/site/a.env' ? new TextEncoder().encode('A=file\nB=2\n') : undefined),
  findId: (kind, name) => (kind === 'network' && name === 'back' ? 'id-of-back' : undefined),
};

async function parse(
  verb: 'create' | 'update',
  line: string,
): Promise<{ args: readonly string[]; flags: Awaited<ReturnType<typeof parseLine>>['flags'] }> {
  const command = serviceCommands.find(one => one.path[1] === verb);
  const words = parseWords(line);
  if (command === undefined || words.kind === 'bad') throw new Error(line);
  return await parseLine(command, words.value);
}

async function create(line: string): Promise<ServiceSpec> {
  const { args, flags } = await parse('create', line);
  const [image = '', ...command] = args;
  return createdSpec(flags, { image, command }, world);
}

async function change(spec: ServiceSpec, line: string): Promise<ServiceSpec> {
  const { flags } = await parse('update', `${line} web`);
  return changedSpec(spec, flags, world);
}

const main = (fields: object): object => ({ task: { containers: [fields] } });

t.test('flags of create become fields of the spec', async t => {
  const rows: readonly (readonly [string, object])[] = [
    ['registry.site:5000/team/web:2', { name: 'web', mode: { kind: 'replicated', replicas: 1 }, endpointMode: 'vip' }],
    ['--name shop --replicas 3 hello:1', { name: 'shop', mode: { kind: 'replicated', replicas: 3 } }],
    ['--userns auto --privileged --shm-size 8m x', main({ userns: 'auto', privileged: true, shmBytes: 8 * 2 ** 20 })],
    [
      '--device /dev/fuse --device vendor.com/gpu=0 --security-opt no-new-privileges --tmpfs /x:size=1m x',
      main({
        devices: ['/dev/fuse', 'vendor.com/gpu=0'],
        securityOpt: ['no-new-privileges'],
        mounts: [{ kind: 'tmpfs', target: '/x', tmpfsBytes: 2 ** 20 }],
      }),
    ],
    ['--device-cgroup-rule "c 10:229 rw" x', main({ deviceCgroupRules: ['c 10:229 rw'] })],
    ['--mode global hello:1', { mode: { kind: 'global' } }],
    ['hello:1 sh -c "echo a"', main({ image: 'hello:1', command: ['sh', '-c', 'echo a'] })],
    ['--entrypoint "/bin/app -x" x', main({ entrypoint: ['/bin/app', '-x'] })],
    [
      '-p 8080:80 -p published=53,target=53,protocol=udp,mode=host x',
      {
        ports: [
          { published: 8080, target: 80, protocol: 'tcp', mode: 'ingress' },
          { published: 53, target: 53, protocol: 'udp', mode: 'host' },
        ],
      },
    ],
    ['-e A=1 -e FROM_SHELL -e NONE --env-file a.env x', main({ env: ['A=1', 'B=2', 'FROM_SHELL=shell'] })],
    [
      '--mount type=bind,source=./d,target=/d,readonly --mount source=v,target=/v x',
      main({
        mounts: [
          { kind: 'bind', source: '/site/d', target: '/d', readOnly: true },
          { kind: 'volume', source: 'v', target: '/v' },
        ],
      }),
    ],
    [
      '--network back --network name=front,alias=a,alias=b x',
      {
        task: {
          networks: [
            { network: 'id-of-back', aliases: [] },
            { network: 'front', aliases: ['a', 'b'] },
          ],
        },
      },
    ],
    [
      '--constraint node.role==worker --replicas-max-per-node 2 x',
      { task: { placement: { constraints: ['node.role==worker'], perNodeMax: 2, spread: [] } } },
    ],
    [
      '--limit-cpu 0.5 --limit-memory 64M --limit-pids 10 --reserve-cpu 1 --reserve-memory 1g x',
      {
        task: {
          limits: { cpuNanos: 5e8, memoryBytes: 67_108_864, pids: 10 },
          reservations: { cpuNanos: 1e9, memoryBytes: 1_073_741_824, pids: 0 },
        },
      },
    ],
    [
      '--restart-condition on-failure --restart-delay 2s --restart-max-attempts 3 --restart-window 1m x',
      {
        task: { restart: { condition: 'on-failure', delayMs: 2_000, attemptsMax: 3, windowMs: 60_000 } },
      },
    ],
    [
      '-u 1:2 -w /srv --hostname box --init -t --read-only x',
      main({ user: '1:2', workingDir: '/srv', hostname: 'box', init: true, tty: true, readOnly: true }),
    ],
    ['--cap-add net_admin --cap-drop ALL x', main({ capAdd: ['NET_ADMIN'], capDrop: ['ALL'] })],
    [
      '--ulimit nofile=1:2 --sysctl net.core.somaxconn=5 x',
      main({ ulimits: [{ name: 'nofile', soft: 1, hard: 2 }], sysctls: { 'net.core.somaxconn': '5' } }),
    ],
    [
      '--secret pw --secret source=key,target=/k,uid=1,mode=0400 --config app x',
      main({
        secrets: [
          { source: 'pw', target: 'pw', uid: 0 },
          { source: 'key', target: '/k', uid: 1, mode: 0o400 },
        ],
        configs: [{ source: 'app', target: '/app' }],
      }),
    ],
    ['-l a=1 --container-label b x', { labels: { a: '1' }, task: { containers: [{ labels: { b: '' } }] } }],
    ['--stop-signal SIGINT --stop-grace-period 3s x', main({ stopSignal: 'SIGINT', stopGraceMs: 3_000 })],
    [
      '--health-cmd "curl x" --health-interval 5s --health-retries 2 x',
      main({ healthcheck: { test: ['CMD-SHELL', 'curl x'], intervalMs: 5_000, retries: 2 } }),
    ],
    [
      '--health-http :8080/live --health-timeout 1s x',
      main({
        healthcheck: { test: [], probe: { ask: { kind: 'http', port: 8080, path: '/live' } }, timeoutMs: 1_000 },
      }),
    ],
    ['--health-tcp 5432 x', main({ healthcheck: { test: [], probe: { ask: { kind: 'tcp', port: 5432 } } } })],
    ['--no-healthcheck x', main({ healthcheck: { test: ['NONE'] } })],
    [
      '--endpoint-mode dnsrr --host a:1.2.3.4 --dns 9.9.9.9 --dns-search x --dns-option ndots:1 x',
      {
        endpointMode: 'dnsrr',
        task: {
          containers: [{ extraHosts: ['a:1.2.3.4'], dns: ['9.9.9.9'], dnsSearch: ['x'], dnsOptions: ['ndots:1'] }],
        },
      },
    ],
  ];
  for (const [line, expected] of rows) t.match(await create(line), expected, line);
});

t.test('flags that contradict one another or make no sense are refused', async t => {
  const rows: readonly (readonly [string, RegExp])[] = [
    ['--mode global --replicas 2 x', /--replicas/],
    ['--mode sometimes x', /"sometimes" for --mode/],
    ['--no-healthcheck --health-cmd x x', /--no-healthcheck/],
    ['--no-healthcheck --health-retries 3 x', /--no-healthcheck/],
    ['--health-tcp 80 --health-cmd x x', /--health-cmd/],
    ['--health-tcp 0 x', /"0" for --health-tcp/],
    ['-p 80:99999 x', /"80:99999" for --publish/],
    ['--mount target=relative x', /--mount/],
    ['--limit-memory 5x x', /"5x" for --limit-memory/],
    ['--env-file none.env x', /none\.env/],
    ['--secret colour=red x', /--secret/],
    ['-e =x x', /--env/],
  ];
  for (const [line, message] of rows) await t.rejects(create(line), { message }, line);
});

t.test('update changes only what is named', async t => {
  const before = await create(
    '--name web -p 8080:80 -e A=1 -e B=2 -l x=1 --constraint a==b --network back --mount source=v,target=/v --cap-drop ALL --init hello:1 run',
  );
  t.same(await change(before, '--force'), { ...before, task: { ...before.task, force: 1 } });
  const rows: readonly (readonly [string, object])[] = [
    ['--image hello:2', main({ image: 'hello:2', command: ['run'] })],
    ['--args "walk --slow"', main({ command: ['walk', '--slow'] })],
    ['--replicas 0', { mode: { kind: 'replicated', replicas: 0 } }],
    ['--env-add B=3 --env-add C=4 --env-rm A', main({ env: ['B=3', 'C=4'] })],
    ['--label-rm x --label-add y=2', { labels: { y: '2', x: undefined } }],
    ['--publish-rm 80 --publish-add 9090:90', { ports: [{ published: 9090, target: 90 }] }],
    ['--constraint-rm a==b', { task: { placement: { constraints: [] } } }],
    ['--network-rm back', { task: { networks: [] } }],
    ['--mount-rm /v', main({ mounts: [] })],
    ['--cap-add ALL', main({ capAdd: ['ALL'], capDrop: [] })],
    ['--init=false', main({ init: false })],
    [
      '--update-parallelism 0 --update-order start-first',
      { update: { parallelism: 0, order: 'start-first', delayMs: 0 } },
    ],
    [
      '--update-failure-action rollback --update-max-failure-ratio .25 --update-deadline 2m',
      { update: { failureAction: 'rollback', maxFailureRatio: 0.25, deadlineMs: 120_000 } },
    ],
    ['--rollback-delay 3s --rollback-monitor 0', { rollback: { delayMs: 3_000, monitorMs: 0 } }],
    [
      '--lost-after 2s --reconcile keep-replacement --stop-after-disconnect 1m',
      { loss: { lostAfterMs: 2_000, reconcile: 'keep-replacement', stopAfterDisconnectMs: 60_000 } },
    ],
    ['--lost-after 30s', { loss: { lostAfterMs: 30_000, reconcile: 'keep-original', stopAfterDisconnectMs: 0 } }],
    ['--limit-memory 1m', { task: { limits: { memoryBytes: 1_048_576 } } }],
  ];
  for (const [line, expected] of rows) t.match(await change(before, line), expected, line);
  await t.rejects(change(before, '--rollback-failure-action rollback'), { message: /rollback/ });
  await t.rejects(change(before, '--reconcile keep-both'), { message: /reconcile/ });
  await t.rejects(change(before, '--update-max-failure-ratio 2'), { message: /max-failure-ratio/ });
  const [port] = (await change(before, '--publish-add 8080:81')).ports;
  t.match(port, { published: 8080, target: 81 }, 'the same published port is replaced');
  await t.rejects(change({ ...before, mode: { kind: 'global' } }, '--replicas 2'), { message: /--replicas/ });
});

t.test('a service without a name is called as its image', async t => {
  t.equal(nameFromImage('hello:1'), 'hello');
  t.equal(nameFromImage('a/b/c@sha256:00'), 'c');
  t.equal(nameFromImage('my_app:1'), 'my-app');
});

t.test('security options are taken away by their name, devices and memory by their place', async t => {
  const spec = await create('--security-opt seccomp=unconfined --device /dev/fuse --tmpfs /x --tmpfs /y hello:1');
  const line = '--security-opt-rm seccomp --security-opt-add no-new-privileges --device-rm /dev/fuse --tmpfs-rm /x';
  const changed = await change(spec, line);
  t.match(changed, main({ securityOpt: ['no-new-privileges'], devices: [] }));
  t.strictSame(
    changed.task.containers[0]?.mounts.map(({ target }) => target),
    ['/y'],
  );
  for (const bad of ['--security-opt x=y', '--device fuse', '--userns yes', '--security-opt seccomp=none.json']) {
    await t.rejects(create(`${bad} hello:1`), { code: 'bad-argument' }, bad);
  }
});
