/** What people ask of the cluster: answers, refusals, and what is stored. */
import t from 'tap';
import { codeOf } from '../../../src/errors.js';
import type { NetworkPolicy, ServiceSpec, TaskSpec } from '../../../src/gen/types.js';
import { plainMount } from '../../../src/tasks/spec/mounts.js';
import { container, networkSpec, node, serviceSpec, taskSpec } from '../object-fixtures.js';
import { anySignal, callerOf, openPlane, type Plane } from '../plane-fixtures.js';

const create = (plane: Plane, over: Partial<ServiceSpec> = {}) =>
  plane.control.createService({ spec: serviceSpec(over) }, callerOf(7));
const all = { objects: [], stack: '' };
const port = (published: number, over: object = {}) =>
  ({ published, target: 80, protocol: 'tcp', mode: 'ingress', ...over }) as const;

async function refusal(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'accepted',
    (error: unknown) => `${codeOf(error)}: ${error instanceof Error ? error.message : ''}`,
  );
}

t.test('a service is stored with ids for names, a network of its own choice, and its owner', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const created = await create(plane);
  t.match(created, { specVersion: 1, removing: false, meta: { owner: 'uid:7' } });
  const attached = created.spec.task.networks.map(
    ({ network }) => plane.store.view().find('network', network)?.spec.name,
  );
  t.same(attached, ['default']);
  t.match(await refusal(create(plane)), /^already-exists: Cannot create service "web": the name is taken/);
});

t.test('bad specs are refused with the field and what would be valid', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const inTask = (over: Partial<TaskSpec>): Partial<ServiceSpec> => ({ task: taskSpec(over) });
  const inContainer = (over: Parameters<typeof container>[0]): Partial<ServiceSpec> =>
    inTask({ containers: [container(over)] });
  const mount = { ...plainMount('bind', '/b'), source: '/a' };
  const file = { source: 's', target: '', uid: 0, gid: 0 };
  const amounts = { cpuNanos: 0, memoryBytes: 0, pids: 0 };
  const table: readonly (readonly [Partial<ServiceSpec>, RegExp])[] = [
    [{ name: '' }, /^bad-argument: Cannot accept spec\.name: a name is missing/],
    [
      { loss: { lostAfterMs: 999, reconcile: 'keep-original', stopAfterDisconnectMs: 0 } },
      /^bad-argument: Cannot accept spec\.loss\.lostAfterMs: 999 ms is less than 1000 ms/,
    ],
    [{ name: 'a b' }, /^bad-argument: Cannot accept spec\.name: "a b" is not made of/],
    [{ name: 'x'.repeat(64) }, /^bad-argument: .*has 64 characters, at most 63/],
    [{ name: '0123456789abcdefghijklmno' }, /^bad-argument: .*the form of an id/],
    [{ labels: { 'a b': '' } }, /^bad-argument: Cannot accept spec\.labels/],
    [
      { mode: { kind: 'replicated', replicas: 10_001 } },
      /^bad-argument: Cannot accept spec\.replicas: 10001 is more than 10000/,
    ],
    [inTask({ containers: [] }), /^bad-argument: .*at least one container/],
    [
      inTask({ containers: [container(), container({ name: 'x', image: '' })] }),
      /^image-bad-name: Cannot accept spec\.task\.containers\[1\]\.image/,
    ],
    [inTask({ containers: [container(), container()] }), /^bad-argument: .*two containers are called ""/],
    [inContainer({ image: 'Bad Name' }), /^image-bad-name: /],
    [
      inContainer({ env: ['=x'] }),
      /^bad-argument: Cannot accept spec\.task\.containers\[0\]\.env: "=x" is not of the form NAME=value/,
    ],
    [inContainer({ workingDir: 'tmp' }), /workingDir: "tmp" is no absolute path/],
    [inContainer({ hostname: '-x' }), /hostname/],
    [inContainer({ stopSignal: 'stop it' }), /stopSignal: "stop it" is no signal/],
    [inContainer({ mounts: [{ ...mount, target: 'data' }] }), /mounts\[0\]\.target: "data" is no absolute path/],
    [inContainer({ mounts: [{ ...mount, target: '/' }] }), /root file system/],
    [inContainer({ mounts: [{ ...mount, target: '/a/../..' }] }), /leads out/],
    [inContainer({ mounts: [mount, { ...mount, target: '/b/' }] }), /have the target "\/b"/],
    [
      inContainer({ mounts: [{ ...mount, target: '/run/secrets/s' }], secrets: [file] }),
      /have the target "\/run\/secrets\/s"/,
    ],
    [inContainer({ mounts: [{ ...mount, source: 'x' }] }), /source: "x" is no absolute path/],
    [inContainer({ mounts: [{ ...mount, kind: 'volume', source: '../x' }] }), /no name of a volume/],
    [inContainer({ mounts: [{ ...mount, kind: 'tmpfs' }] }), /a tmpfs has no source/],
    [inContainer({ mounts: [{ ...mount, propagation: 'wild' }] }), /"wild" is none of rprivate/],
    [inContainer({ sysctls: { 'vm.swappiness': '1' } }), /does not belong to a container/],
    [inContainer({ capAdd: ['NET ADMIN'] }), /no capability/],
    [
      inContainer({ ulimits: [{ name: 'nofile', soft: 2, hard: 1 }] }),
      /the soft limit of nofile, 2, is above the hard one, 1/,
    ],
    [inContainer({ oomScoreAdj: 2_000 }), /not within -1000 and 1000/],
    [inContainer({ extraHosts: ['db'] }), /not of the form host:address/],
    [inContainer({ dns: ['dns.example'] }), /no address/],
    [
      inContainer({
        healthcheck: { test: ['true'], intervalMs: 0, timeoutMs: 0, startPeriodMs: 0, startIntervalMs: 0, retries: 0 },
      }),
      /healthcheck\.test/,
    ],
    [inContainer({ secrets: [file] }), /^secret-not-found: Cannot find secret "s"/],
    [inContainer({ configs: [file] }), /^config-not-found: Cannot find config "s"/],
    [inTask({ networks: [{ network: 'nowhere', aliases: [] }] }), /^network-not-found: Cannot find network "nowhere"/],
    [
      inTask({
        networks: [
          { network: 'default', aliases: [] },
          { network: 'default', aliases: [] },
        ],
      }),
      /named twice/,
    ],
    [
      { ...inTask({ networks: [{ network: 'host', aliases: [] }] }), ports: [port(80)] },
      /ports can't be published from network "host"/,
    ],
    [
      inTask({
        networks: [
          { network: 'host', aliases: [] },
          { network: 'default', aliases: [] },
        ],
      }),
      /can't be combined/,
    ],
    [
      inTask({ placement: { constraints: ['zone==eu'], perNodeMax: 0, spread: [] } }),
      /placement\.constraints: "zone==eu": there is no key "zone"/,
    ],
    [inTask({ limits: { ...amounts, memoryBytes: 1_000 } }), /limits: memory of 1000 B is less than 4\.0 MiB/],
    [inTask({ limits: { ...amounts, cpuNanos: 1 } }), /CPU is less than 0\.001/],
    [
      inTask({ limits: { ...amounts, memoryBytes: 2 ** 23 }, reservations: { ...amounts, memoryBytes: 2 ** 24 } }),
      /memory of 16\.0 MiB is above the limit of 8\.0 MiB/,
    ],
    [inTask({ runtime: 'docker' }), /neither crun nor runc/],
    [
      inTask({ restart: { condition: 'any', attemptsMax: 0, windowMs: 0, delayMs: 5, delayMaxMs: 1 } }),
      /above the longest delay/,
    ],
    [{ ports: [port(80, { target: 0 })] }, /ports\[0\]\.target: 0 is not within/],
    [{ ports: [port(70_000)] }, /ports\[0\]\.published: 70000 is not within/],
    [{ ports: [port(80), port(80, { target: 81 })] }, /^port-conflict: .*port 80\/tcp is published twice/],
    [{ ports: [port(7_377)] }, /^port-conflict: .*covey itself uses it/],
    [{ endpointMode: 'dnsrr', ports: [port(80)] }, /dnsrr has no virtual address/],
  ];
  for (const [over, expected] of table) t.match(await refusal(create(plane, over)), expected, String(expected));
  t.equal(plane.store.view().count('service'), 0, 'nothing was stored');
});

t.test('a port has one owner in the cluster, and is free again when its owner goes', async t => {
  await using plane = await openPlane();
  await plane.settle();
  await create(plane, { ports: [port(8_080)] });
  t.match(
    await refusal(create(plane, { name: 'two', ports: [port(8_080)] })),
    /^port-conflict: Cannot publish port 8080\/tcp for service "two"/,
  );
  t.equal(await refusal(create(plane, { name: 'udp', ports: [port(8_080, { protocol: 'udp' })] })), 'accepted');
  plane.mute.add('a').add('b').add('c');
  await plane.settle();
  await plane.control.removeService({ object: 'web' }, callerOf());
  t.equal(
    await refusal(create(plane, { name: 'two', ports: [port(8_080)] })),
    'accepted',
    'although its tasks are still stopping',
  );
});

t.test('an update quotes the version that it read', async t => {
  await using plane = await openPlane();
  await create(plane);
  await plane.settle();
  const present = plane.store.view().findByName('service', 'web')!;
  const update = (version: number, spec: ServiceSpec) =>
    plane.control.updateService({ service: 'web', version, spec }, callerOf());
  t.match(await refusal(update(1, present.spec)), /^stale-version/);
  t.match(
    await refusal(update(present.meta.version, { ...present.spec, name: 'other' })),
    /its name can't become "other"/,
  );
  t.match(
    await refusal(update(present.meta.version, { ...present.spec, mode: { kind: 'global' } })),
    /its mode can't become global/,
  );
  const scaled = await update(present.meta.version, { ...present.spec, mode: { kind: 'replicated', replicas: 2 } });
  t.equal(scaled.specVersion, 1, 'scaling replaces nothing');
  const changed = await update(scaled.meta.version, { ...scaled.spec, task: { ...scaled.spec.task, force: 1 } });
  t.equal(changed.specVersion, 2);
});

t.test('objects go by id, name, or a beginning of the id that fits one only', async t => {
  await using plane = await openPlane({ nodes: [] });
  await plane.settle();
  await plane.addNode('aa1', { spec: node('one').spec });
  await plane.addNode('aa2', { spec: node('two').spec });
  const find = async (text: string): Promise<string> =>
    await plane.control
      .listNodes({ objects: [text], stack: '' }, callerOf())
      .then(({ nodes }) => nodes[0]?.id ?? '', codeOf);
  t.same(await Promise.all(['one', 'aa2', 'aa', 'b', ''].map(find)), [
    'aa1',
    'aa2',
    'ambiguous',
    'not-found',
    'not-found',
  ]);
});

t.test('lists count what runs and what is wanted', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 4 } });
  await create(plane, { name: 'all', mode: { kind: 'global' } });
  await plane.settle();
  const { services, running, wanted } = await plane.control.listServices(all, callerOf());
  t.same(
    services.map(({ id, spec }) => [spec.name, running[id], wanted[id]]),
    [
      ['all', 3, 3],
      ['web', 4, 4],
    ],
  );
  const { nodes, tasks } = await plane.control.listNodes(all, callerOf());
  t.same(
    nodes.map(({ id }) => tasks[id]).reduce((a = 0, b = 0) => a + b),
    7,
  );
  const { networks, used } = await plane.control.listNetworks({ objects: ['default'], stack: '' }, callerOf());
  t.equal(used[networks[0]!.id], 9, 'seven tasks and two virtual addresses');
});

t.test('tasks are found by service, node and place', async t => {
  await using plane = await openPlane();
  await create(plane, { mode: { kind: 'replicated', replicas: 3 } });
  await plane.settle();
  await plane.report(plane.running()[0]!.id, { state: 'failed' });
  await plane.settle();
  const slot = plane.tasks().find(({ status }) => status.state === 'failed')!.slot;
  const list = async (over: object) =>
    (
      await plane.control.listTasks(
        { tasks: [], service: '', node: '', stack: '', current: false, ...over },
        callerOf(),
      )
    ).tasks;
  t.equal((await list({ service: 'web' })).length, 4);
  t.equal((await list({ current: true })).length, 3);
  t.equal(
    (await list({ node: 'a' })).every(({ nodeId }) => nodeId === 'a'),
    true,
  );
  const inSlot = await list({ tasks: [`web.${slot}`] });
  t.same(
    inSlot.map(({ status }) => status.state === 'failed'),
    [false, true],
    'the present one first',
  );
  t.equal((await list({ tasks: [inSlot[0]!.id.slice(0, 12)] }))[0]?.id, inSlot[0]!.id);
});

t.test('networks: made with a prefix, refused when they overlap, kept while they are used', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const make = (over: Parameters<typeof networkSpec>[0]) =>
    plane.control.createNetwork({ spec: networkSpec(over) }, callerOf());
  const made = await make({ name: 'back' });
  t.match(made.subnets, [/^10\.208\.\d+\.0\/20$/]);
  t.match(await refusal(make({ name: 'back' })), /^already-exists/);
  t.match(await refusal(make({ name: 'x', subnets: [made.subnets[0]!] })), /^subnet-conflict/);
  t.match(await refusal(make({ name: 'x', subnets: ['10.0.0.1/8'] })), /no IPv4 prefix/);
  t.match(await refusal(make({ name: 'x', subnets: ['10.0.0.0/30'] })), /not between \/8 and \/29/);
  t.match(await refusal(make({ name: 'x', driver: 'host', subnets: ['10.5.0.0/24'] })), /has no addresses/);
  await create(plane, { task: taskSpec({ networks: [{ network: 'back', aliases: [] }] }) });
  t.match(
    await refusal(plane.control.removeNetwork({ object: 'back' }, callerOf())),
    /^network-in-use: Cannot remove network "back": services are attached/,
  );
  t.match(await refusal(plane.control.removeNetwork({ object: 'default' }, callerOf())), /every cluster has it/);
  await plane.control.removeService({ object: 'web' }, callerOf());
  await plane.settle();
  t.equal(await refusal(plane.control.removeNetwork({ object: 'back' }, callerOf())), 'accepted');
});

t.test('the policy of a network: the whole of it, over the version that was read, with what can be meant', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const made = await plane.control.createNetwork({ spec: networkSpec({ name: 'back' }) }, callerOf());
  const rule = { from: ['app=web'], to: ['app=db'], ports: [{ protocol: 'tcp' as const, first: 5_432, last: 5_432 }] };
  const set = (policy: Partial<NetworkPolicy> | undefined, over: { version?: number; network?: string } = {}) =>
    plane.control.setNetworkPolicy(
      {
        network: 'back',
        version: 0,
        ...(policy === undefined ? {} : { policy: { closed: true, allow: [rule], metadata: false, ...policy } }),
        ...over,
      },
      callerOf(),
    );
  const changed = await set({}, { version: made.meta.version });
  t.match(changed.spec, { name: 'back', policy: { closed: true, allow: [rule] } });
  t.same(changed.subnets, made.subnets);
  t.match(await refusal(set({}, { version: made.meta.version })), /^stale-version.*was changed meanwhile/s);
  t.match(await refusal(set({ closed: false })), /policy.closed: an open network needs no rules/);
  t.match(await refusal(set({ allow: [{ ...rule, from: ['=web'] }] })), /allow\[0\].from: "=web" is no label/);
  const backwards = [{ protocol: 'udp' as const, first: 9, last: 8 }];
  t.match(await refusal(set({ allow: [{ ...rule, ports: backwards }] })), /9-8 is no range/);
  t.match(await refusal(set({}, { network: 'host' })), /it has the driver host/);
  t.equal((await set(undefined)).spec.policy, undefined, 'none: open again');
});

t.test('a port on which a program of a machine listens is not taken from it', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const [first] = [...plane.store.view().list('node')];
  if (first === undefined) throw new Error('no node');
  const listening = [{ protocol: 'tcp' as const, port: 8_080, program: 'nginx (pid 812)' }];
  const description = { ...first.description, network: { prefixes: [], listening } };
  await plane.store.update(() => [{ kind: 'put', table: 'node', object: { ...first, description } }], {
    principal: 'uid:0',
    signal: AbortSignal.timeout(10_000),
  });
  const refused = await create(plane, { name: 'proxy', ports: [port(8_080)] }).catch(error => error);
  t.match(refused, { code: 'port-conflict', state: `nginx (pid 812) listens there on node ${first.spec.name}` });
  t.equal((await create(plane, { name: 'other', ports: [port(8_081)] })).spec.name, 'other');
  t.equal(
    (await create(plane, { name: 'own', ports: [port(8_080, { mode: 'host' })] })).spec.name,
    'own',
    'placed elsewhere',
  );
});

t.test('nodes: labels and availability; the last manager stays', async t => {
  await using plane = await openPlane({ nodes: [] });
  await plane.addNode('m', { role: 'manager' });
  const update = (over: object) =>
    plane.control.updateNode({ node: 'm', version: 0, labelsAdd: {}, labelsRemove: [], ...over }, callerOf());
  t.match((await update({ labelsAdd: { zone: 'eu', x: '1' }, availability: 'pause' })).spec, {
    labels: { zone: 'eu', x: '1' },
    availability: 'pause',
  });
  t.same((await update({ labelsRemove: ['x'] })).spec.labels, { zone: 'eu' });
  t.match(await refusal(update({ version: 1 })), /^stale-version/);
  t.match(await refusal(plane.control.removeNode({ node: 'm', force: true }, callerOf())), /^last-manager/);
});

t.test('keys and contents of secrets never leave by Control', async t => {
  await using plane = await openPlane();
  const data = Buffer.from('confidential');
  await plane.control.deployStack(
    {
      name: 's',
      services: [],
      networks: [],
      secrets: [{ name: 's_key', labels: {}, data }],
      configs: [{ name: 's_conf', labels: {}, data }],
      prune: false,
      plan: false,
      expect: '',
      registryAuth: {},
    },
    callerOf(),
  );
  const { secrets } = await plane.control.listSecrets(all, callerOf());
  const { configs } = await plane.control.listConfigs(all, callerOf());
  t.same(
    [...secrets, ...configs].map(each => each.data.length),
    [0, 0],
  );
  await t.rejects(plane.control.getCluster({}, callerOf()), { code: 'not-in-cluster' });
  await plane.store.update(
    () => [
      {
        kind: 'put',
        table: 'cluster',
        object: {
          id: 'c' as never,
          spec: {
            pool: '',
            poolPieceBits: 0,
            taskHistoryMax: 5,
            certificateDays: 1,
            heartbeatMs: 1,
            lostAfterMs: 10,
            dataPort: 1,
          },
          rootCertificate: data,
          rootKey: data,
          vniOverlay: 1,
          vniIngress: 2,
          tunnelIndexLast: 0,
        },
      },
    ],
    { principal: 'system', signal: anySignal() },
  );
  const cluster = await plane.control.getCluster({}, callerOf());
  t.same([cluster.rootKey.length, cluster.rootCertificate.length], [0, data.length]);
  const updated = await plane.control.updateCluster({ certificateGraceDays: 3 }, callerOf());
  t.same([updated.rootKey.length, updated.spec.certificateGraceDays, updated.spec.certificateDays], [0, 3, 1]);
});
