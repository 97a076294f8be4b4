/** Credentials that come with a service: who gets them, who never sees them, and how long they are kept. */
import t from 'tap';
import { isNamedOn, planAssignments } from '../../../src/daemon/dispatcher/assignments.js';
import { codeOf } from '../../../src/errors.js';
import { asId, type NodeId } from '../../../src/ids.js';
import { serviceSpec } from '../object-fixtures.js';
import { callerOf, openPlane, type Plane } from '../plane-fixtures.js';

const authOf = (password: string): string =>
  JSON.stringify({ auths: { 'r:5': { auth: Buffer.from(`me:${password}`).toString('base64') } } });
const kept = (plane: Plane, service: string): string | undefined => {
  const found = plane.store.view().find('secret', service);
  return found === undefined ? undefined : Buffer.from(found.data).toString();
};

t.test('credentials travel to the nodes of the tasks, are in no answer, and end with the service', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const { control, store } = plane;
  const spec = serviceSpec();
  const made = await control.createService({ spec, registryAuth: authOf('one') }, callerOf());
  await plane.settle();
  t.equal(kept(plane, made.id), authOf('one'));
  const [task] = store.view().tasksOfService(made.id);
  const sent = planAssignments(store.view(), asId<NodeId>(task?.nodeId ?? ''), () => false).secrets;
  t.strictSame([...sent.keys()], [made.id], 'its node gets them');
  t.ok(isNamedOn(store.view(), task?.nodeId ?? '', new Set([made.id])), 'and is told when they change');
  t.notOk(isNamedOn(store.view(), 'elsewhere', new Set([made.id])));
  t.strictSame([...planAssignments(store.view(), 'elsewhere', () => false).secrets.keys()], []);

  const all = { objects: [], stack: '' };
  const answers = JSON.stringify([
    made,
    await control.listSecrets(all, callerOf()),
    await control.listServices(all, callerOf()),
    await control.listTasks({ tasks: [], service: '', node: '', stack: '', current: false }, callerOf()),
  ]);
  t.notMatch(answers, /auths|bWU6/, 'nobody is shown them');
  t.strictSame((await control.listSecrets(all, callerOf())).secrets, []);
  for (const text of [made.id, made.id.slice(0, 8), `registry credentials of ${made.id}`]) {
    const asked = control.listSecrets({ objects: [text], stack: '' }, callerOf());
    t.equal(await asked.then(() => 'found', codeOf), 'secret-not-found', text);
  }

  const update = (registryAuth: string | undefined) => {
    const { id, meta } = store.view().find('service', made.id) ?? made;
    return control.updateService({ service: id, version: meta.version, spec: made.spec, registryAuth }, callerOf());
  };
  await update(undefined);
  t.equal(kept(plane, made.id), authOf('one'), 'an update that says nothing of them leaves them');
  t.equal((await update(authOf('two'))).specVersion, made.specVersion, 'a new password replaces no task');
  t.equal(kept(plane, made.id), authOf('two'));
  await update(JSON.stringify({ auths: {} }));
  t.equal(kept(plane, made.id), '', 'who has none any more takes them away');
  await update(authOf('three'));
  await control.removeService({ object: made.id }, callerOf());
  await plane.settle();
  t.equal(kept(plane, made.id), undefined, 'they go with the service');
});

t.test('credentials that cannot be read are refused without a word of them', async t => {
  await using plane = await openPlane();
  await plane.settle();
  for (const registryAuth of ['{"auths": {"r:5": {"auth": "bWU6c2VjcmV0"}', '[]', '{"auths": 5}', 'x'.repeat(70_000)]) {
    const refused = plane.control.createService({ spec: serviceSpec(), registryAuth }, callerOf());
    const error = await refused.then(
      () => undefined,
      (problem: unknown) => problem,
    );
    t.equal(codeOf(error), 'bad-argument', registryAuth.slice(0, 20));
    t.notMatch(JSON.stringify([String(error), error]), /bWU6/);
  }
  t.strictSame([...plane.store.view().list('secret')], []);
});

t.test('a stack brings them for each of its services', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const named = (name: string) => serviceSpec({ name: `s_${name}`, stack: 's' });
  const request = { name: 's', services: [named('a'), named('b')], networks: [], secrets: [], configs: [] };
  const flags = { prune: false, plan: false, expect: '' };
  const answer = await plane.control.deployStack(
    { ...request, ...flags, registryAuth: { s_a: authOf('one') } },
    callerOf(),
  );
  const [a = '', b = ''] = answer.serviceIds;
  t.equal(kept(plane, a), authOf('one'));
  t.equal(kept(plane, b), undefined);
  t.notMatch(JSON.stringify(answer), /auths|bWU6/);
  await plane.control.deployStack({ ...request, ...flags, registryAuth: {} }, callerOf());
  t.equal(kept(plane, a), authOf('one'), 'deployed again without them it keeps them');
  await plane.control.removeStack({ name: 's' }, callerOf());
  await plane.settle();
  t.equal(kept(plane, a), undefined);
});
