/** A manager that does not know what became of a change asks for it again under its name: it happens once, and is answered alike. */
import t from 'tap';
import { tokenHandlers } from '../../../src/daemon/ca/index.js';
import { makeNumbering } from '../../../src/daemon/control-once.js';
import type { CallContext } from '../../../src/grpc.js';
import { asId, type ClusterId } from '../../../src/ids.js';
import { networkSpec, serviceSpec, taskSpec } from '../object-fixtures.js';
import { anySignal, callerOf, openPlane, type Plane, seededRandom, wire } from '../plane-fixtures.js';

const numbering = makeNumbering(seededRandom());
const named = (): CallContext => ({ ...callerOf(7), once: numbering.begin().once });

async function twice<Answer>(ask: (context: CallContext) => Promise<Answer>): Promise<readonly [Answer, Answer]> {
  const context = named();
  return [await ask(context), await ask(context)];
}

const create = (plane: Plane, name: string) => plane.control.createService({ spec: serviceSpec({ name }) }, named());

t.test('a service that is removed again does not take along one of its name that was made since', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const first = await create(plane, 'web');
  const context = named();
  const answer = await plane.control.removeService({ object: 'web' }, context);
  t.equal(answer.id, first.id);
  await plane.settle();
  t.same(await plane.control.removeService({ object: 'web' }, context), { id: 'web' }, 'nothing is left to be found');
  const second = await create(plane, 'web');
  await plane.control.removeService({ object: 'web' }, context);
  t.equal(plane.store.view().find('service', second.id)?.removing, false);
});

t.test('so with networks', async t => {
  await using plane = await openPlane();
  await plane.settle();
  await plane.control.createNetwork({ spec: networkSpec({ name: 'inside' }) }, named());
  const [, again] = await twice(context => plane.control.removeNetwork({ object: 'inside' }, context));
  t.same(again, { id: 'inside' });
});

t.test('a node that is removed again is gone; to another command it is not there', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const [node] = plane.store.view().list('node');
  const name = node?.spec.name ?? '';
  const [first, again] = await twice(context => plane.control.removeNode({ node: name, force: true }, context));
  t.same([first, again], [{ id: node?.id }, { id: name }]);
  t.equal(plane.store.view().find('node', node?.id ?? ''), undefined);
  await t.rejects(plane.control.removeNode({ node: name, force: true }, named()), { code: 'not-found' });
});

t.test('a service that is rolled back again does not go forward', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const { id, spec } = await create(plane, 'web');
  const { version } = plane.store.view().find('service', id)?.meta ?? { version: 0 };
  const task = taskSpec({ ...spec.task, force: 1 });
  await plane.control.updateService({ service: id, version, spec: { ...spec, task } }, named());
  await plane.settle();
  await twice(context => plane.control.rollbackService({ service: id, to: 0 }, context));
  t.equal(plane.store.view().find('service', id)?.spec.task.force, spec.task.force);
});

t.test('labels of a node that are changed again are no longer the version that was read', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const [node] = plane.store.view().list('node');
  const request = { node: node?.id ?? '', version: node?.meta.version ?? 0, labelsAdd: { a: '1' }, labelsRemove: [] };
  const [, again] = await twice(context => plane.control.updateNode(request, context));
  t.same(again.spec.labels, { a: '1' });
});

t.test('a token that is made again is there once, and the one that was answered last is good', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const { store, clock } = plane;
  const spec = wire.type('ClusterSpec').decode(new Uint8Array());
  const keys = { rootCertificate: new Uint8Array(1), rootKey: new Uint8Array(1) };
  const numbers = { vniOverlay: 1, vniIngress: 2, tunnelIndexLast: 0 };
  const cluster = { id: asId<ClusterId>('c'), spec, ...keys, ...numbers };
  await store.update(() => [{ kind: 'put', table: 'cluster', object: cluster }], {
    principal: 'system',
    signal: anySignal(),
  });
  const tokens = tokenHandlers({ store, clock, random: seededRandom(9), address: () => '10.0.0.1:7377' });
  const request = { role: 'worker', expiresMs: 0, usesMax: 0, labels: {} } as const;
  const [first, second] = await twice(context => tokens.createJoinToken(request, context));
  t.equal(store.view().count('joinToken'), 1);
  t.equal(first.joinToken.id, second.joinToken.id);
  t.not(first.token, second.token, 'a secret is in no answer but the last');
  const [, again] = await twice(context => tokens.removeJoinToken({ object: second.joinToken.id }, context));
  t.same(again, { id: second.joinToken.id });
});
