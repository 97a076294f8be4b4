/** Stacks: planned, deployed, changed, removed, deployed again. */
import t from 'tap';
import { describeChange } from '../../../src/daemon/control/words.js';
import { codeOf } from '../../../src/errors.js';
import type { DeployStackRequest, DeployStackResponse, ServiceSpec, StackChange } from '../../../src/gen/types.js';
import { container, networkSpec, serviceSpec, taskSpec } from '../object-fixtures.js';
import { callerOf, openPlane, type Plane, wire } from '../plane-fixtures.js';

const request = (over: Partial<DeployStackRequest> = {}): DeployStackRequest => ({
  name: 'shop',
  services: [],
  networks: [],
  secrets: [],
  configs: [],
  prune: false,
  plan: false,
  expect: '',
  registryAuth: {},
  ...over,
});
const web = (over: Partial<ServiceSpec> = {}): ServiceSpec => serviceSpec({ name: 'shop_web', stack: 'shop', ...over });
const image = (name: string, over: Parameters<typeof container>[0] = {}) => ({
  task: taskSpec({ containers: [container({ image: name, ...over })] }),
});
const secret = (text: string) => ({ name: 'shop_key', labels: {}, data: Buffer.from(text) });
const key = { source: 'shop_key', target: 'key', uid: 0, gid: 0 };
const say = ({ kind, object, name, details }: StackChange): string => [kind, object, name, ...details].join(' | ');

async function deploy(plane: Plane, over: Partial<DeployStackRequest>): Promise<DeployStackResponse> {
  const answer = await plane.control.deployStack(request(over), callerOf());
  await plane.settle();
  return answer;
}

t.test('a stack is stored in one transaction, and its services share a network of its own', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const before = plane.log.entries.length;
  const answer = await plane.control.deployStack(
    request({ services: [web({ mode: { kind: 'replicated', replicas: 2 } }), web({ name: 'shop_db' })] }),
    callerOf(),
  );
  const stored = wire.type('Transaction').decode(plane.log.entries[before]!);
  t.same(
    stored.changes.map(({ action }) => action.kind),
    ['network', 'service', 'service'],
  );
  t.same(answer.changes.map(say), [
    'create | network | default',
    'create | service | web | 2 replicas of hello:1',
    'create | service | db | 1 replica of hello:1',
  ]);
  await plane.settle();
  t.equal(plane.running().length, 3);
  const networks = new Set(
    plane
      .tasks()
      .flatMap(task => task.endpoints.map(({ networkId }) => plane.store.view().find('network', networkId)?.spec.name)),
  );
  t.same([...networks], ['shop_default']);
  t.equal(answer.serviceIds.length, 2);
});

t.test('deploying the same again changes nothing', async t => {
  await using plane = await openPlane();
  const stack = { services: [web()], networks: [networkSpec({ name: 'shop_back' })], secrets: [secret('x')] };
  await deploy(plane, stack);
  const before = plane.log.entries.length;
  const answer = await deploy(plane, stack);
  t.same([...new Set(answer.changes.map(({ kind }) => kind))], ['unchanged']);
  t.equal(plane.log.entries.length, before);
});

t.test('all of a stack or nothing', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const bad = web({ name: 'shop_bad', task: taskSpec({ networks: [{ network: 'nowhere', aliases: [] }] }) });
  await t.rejects(deploy(plane, { services: [web(), bad], secrets: [secret('x')] }), { code: 'network-not-found' });
  t.same([plane.store.view().count('service'), plane.store.view().count('secret')], [0, 0]);
  await t.rejects(deploy(plane, { services: [web({ name: 'a b' })] }), {
    code: 'bad-argument',
    message: 'Cannot accept services."a b".name',
  });
  await t.rejects(deploy(plane, { services: [web(), web()] }), {
    message: 'Cannot accept services: "shop_web" is there twice',
  });
  const port = { published: 80, target: 80, protocol: 'tcp', mode: 'ingress' } as const;
  await t.rejects(deploy(plane, { services: [web({ ports: [port] }), web({ name: 'shop_two', ports: [port] })] }), {
    code: 'port-conflict',
  });
});

t.test('a plan says what would be done, does nothing, and has a mark that the deployment can insist on', async t => {
  await using plane = await openPlane();
  await deploy(plane, { services: [web(image('web:1'))] });
  const before = plane.log.entries.length;
  const stack = { services: [web(image('web:2'))] };
  const plan = await deploy(plane, { ...stack, plan: true });
  t.same(plan.changes.map(say), [
    'unchanged | network | default',
    'update | service | web | image web:1 -> web:2 | update 1 at a time, stop first',
  ]);
  t.equal(plane.log.entries.length, before);
  t.equal((await deploy(plane, { ...stack, plan: true })).mark, plan.mark, 'a plan of the same has the same mark');
  await t.rejects(deploy(plane, { ...stack, expect: 'ffffffff' }), { code: 'plan-changed' });
  await deploy(plane, { services: [web({ ...image('web:1'), labels: { x: '1' } })] });
  await t.rejects(deploy(plane, { ...stack, expect: plan.mark }), { code: 'plan-changed' }, 'somebody was faster');
  const again = await deploy(plane, { ...stack, plan: true });
  await deploy(plane, { ...stack, expect: again.mark.slice(0, 4) });
  t.same(
    plane.running().map(task => task.spec.containers[0]?.image),
    ['web:2'],
  );
});

t.test('a secret whose content changed is a new object, its users follow, and the old one goes', async t => {
  await using plane = await openPlane();
  const services = [web(image('hello:1', { secrets: [key] })), web({ name: 'shop_db' })];
  await deploy(plane, { services, secrets: [secret('one')] });
  const used = () => plane.running('shop_web').map(task => task.spec.containers[0]?.secrets[0]?.source);
  const [first] = used();
  const answer = await deploy(plane, { services, secrets: [secret('two')] });
  t.same(answer.changes.filter(({ kind }) => kind !== 'unchanged').map(say), [
    'update | secret | key | new version | rolls: web',
    'update | service | web | secrets changed | update 1 at a time, stop first',
  ]);
  t.not(used()[0], first);
  t.match(plane.store.view().findByName('secret', 'shop_key'), { id: used()[0], data: Buffer.from('two') });
  t.equal(plane.store.view().count('secret'), 2, 'the old one is kept for a rollback');
  await plane.control.removeStack({ name: 'shop' }, callerOf());
  await plane.settle();
  t.equal(plane.store.view().count('secret'), 0, 'and goes with the service');
});

t.test('going back to old content while it is still there takes the old object', async t => {
  await using plane = await openPlane();
  const services = [web(image('hello:1', { secrets: [key] }))];
  await deploy(plane, { services, secrets: [secret('one')] });
  const first = plane.store.view().findByName('secret', 'shop_key')?.id;
  plane.mute.add('a').add('b').add('c');
  await deploy(plane, { services, secrets: [secret('two')] });
  t.equal(plane.store.view().count('secret'), 2, 'a task still has the old one');
  await deploy(plane, { services, secrets: [secret('one')] });
  t.equal(plane.store.view().findByName('secret', 'shop_key')?.id, first);
  plane.mute.clear();
  await plane.settle();
  t.equal(plane.store.view().count('secret'), 2);
});

t.test('prune removes services that are not named any more', async t => {
  await using plane = await openPlane();
  await deploy(plane, { services: [web(), web({ name: 'shop_db' })] });
  t.same(
    (await deploy(plane, { services: [web()] })).changes.map(({ kind }) => kind),
    ['unchanged', 'unchanged'],
  );
  t.same((await deploy(plane, { services: [web()], prune: true })).changes.map(say), [
    'unchanged | network | default',
    'unchanged | service | web',
    'remove | service | db',
  ]);
  t.same(
    [...plane.store.view().list('service')].map(({ spec }) => spec.name),
    ['shop_web'],
  );
});

t.test('removal takes services, then what they used; what others use stays until they let go', async t => {
  await using plane = await openPlane();
  const networks = [networkSpec({ name: 'shop_back' })];
  await deploy(plane, { services: [web(image('hello:1', { secrets: [key] }))], networks, secrets: [secret('x')] });
  await plane.control.createService(
    { spec: serviceSpec({ name: 'guest', task: taskSpec({ networks: [{ network: 'shop_back', aliases: [] }] }) }) },
    callerOf(),
  );
  await plane.settle();
  const answer = await plane.control.removeStack({ name: 'shop' }, callerOf());
  t.same(answer.changes.map(say).sort(), [
    'remove | network | back',
    'remove | network | default',
    'remove | secret | key',
    'remove | service | web',
  ]);
  await plane.settle();
  t.same([...plane.store.view().list('network')].map(({ spec }) => spec.name).sort(), [
    'default',
    'host',
    'none',
    'shop_back',
  ]);
  t.same([plane.store.view().count('secret'), plane.store.view().findByName('service', 'shop_web')], [0, undefined]);
  await plane.control.removeService({ object: 'guest' }, callerOf());
  await plane.settle();
  t.equal(plane.store.view().findByName('network', 'shop_back'), undefined);
  await t.rejects(plane.control.removeStack({ name: 'shop' }, callerOf()), { code: 'not-found' });
});

t.test('deployed again while it is being removed: it takes the place of the old one', async t => {
  await using plane = await openPlane();
  const stack = {
    services: [
      web({
        ...image('hello:1', { secrets: [key] }),
        ports: [{ published: 8_080, target: 80, protocol: 'tcp', mode: 'ingress' }],
      }),
    ],
    secrets: [secret('x')],
  };
  await deploy(plane, stack);
  plane.mute.add('a').add('b').add('c');
  await plane.control.removeStack({ name: 'shop' }, callerOf());
  await plane.settle();
  const answer = await deploy(plane, stack);
  t.match(answer.changes.map(say), [
    'update | network | default | kept, it was being removed',
    'update | secret | key | kept, it was being removed',
    'create | service | web',
  ]);
  plane.mute.clear();
  await plane.settle();
  t.equal(plane.running('shop_web').length, 1);
  t.match(plane.store.view().findByName('service', 'shop_web'), { removing: false, ports: [{ published: 8_080 }] });
  t.equal(plane.store.view().count('secret'), 1);
});

t.test('names of others are not taken', async t => {
  await using plane = await openPlane();
  await plane.settle();
  await plane.control.createService({ spec: serviceSpec({ name: 'shop_web' }) }, callerOf());
  await t.rejects(deploy(plane, { services: [web()] }), { code: 'already-exists' });
  await deploy(plane, { name: 'other', networks: [networkSpec({ name: 'shop_net' })] });
  await t.rejects(deploy(plane, { networks: [networkSpec({ name: 'shop_net' })] }), {
    code: 'already-exists',
    state: 'it belongs to stack "other"',
  });
});

t.test('a change of driver or prefix under living services is refused', async t => {
  await using plane = await openPlane();
  await deploy(plane, { networks: [networkSpec({ name: 'shop_net' })] });
  const refused = await deploy(plane, {
    networks: [networkSpec({ name: 'shop_net', subnets: ['10.5.0.0/24'] })],
  }).catch(codeOf);
  t.equal(refused, 'network-in-use');
  await t.rejects(
    deploy(plane, {
      networks: [
        networkSpec({ name: 'shop_a', subnets: ['10.5.0.0/24'] }),
        networkSpec({ name: 'shop_b', subnets: ['10.5.0.0/16'] }),
      ],
    }),
    { code: 'subnet-conflict' },
  );
});

t.test('changes in words', async t => {
  const old = web();
  const table: readonly (readonly [Partial<ServiceSpec>, readonly string[]])[] = [
    [{}, []],
    [{ mode: { kind: 'replicated', replicas: 3 } }, ['1 -> 3 replicas']],
    [image('web:2'), ['image hello:1 -> web:2', 'update 1 at a time, stop first']],
    [
      image('hello:1', { env: ['A=secret'], stopGraceMs: 5, readOnly: true }),
      ['environment +A', 'read only, stop grace ms changed', 'update 1 at a time, stop first'],
    ],
    [{ ports: [{ published: 80, target: 8_080, protocol: 'tcp', mode: 'ingress' }] }, ['port 80:8080/tcp new']],
    [{ labels: { a: '' } }, ['labels changed']],
    [
      { task: taskSpec({ placement: { constraints: ['node.id==a'], perNodeMax: 0, spread: [] } }) },
      ['placement changed', 'update 1 at a time, stop first'],
    ],
    [
      { task: taskSpec({ containers: [container(), container({ name: 'side' })] }) },
      ['container side new', 'update 1 at a time, stop first'],
    ],
  ];
  for (const [over, words] of table) t.same(describeChange(old, web(over)), words);
});
