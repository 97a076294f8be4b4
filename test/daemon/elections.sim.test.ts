/**
 * 500 changes of the leader while people scale, create and remove: nobody's task is restarted
 * by an election, each slot has one task, each address and port one holder.
 */
import t from 'tap';
import { serviceSpec } from './object-fixtures.js';
import { create, findShared } from './plane-checks.js';
import { callerOf, openPlane, seededRandom } from './plane-fixtures.js';

const elections = 500;

t.test(`${elections} elections under churn restart no task, and nothing has two holders`, async t => {
  await using plane = await openPlane();
  const random = seededRandom(7);
  const dice = (below: number): number => Math.floor(random.fraction() * below);
  const ports = [{ published: 0, target: 80, protocol: 'tcp', mode: 'ingress' } as const];
  await create(plane, { name: 'steady', mode: { kind: 'replicated', replicas: 4 }, ports });
  const steady = new Set(plane.running('steady').map(task => task.id));
  const wrong: string[] = [];
  for (let election = 1; election <= elections; election += 1) {
    const others = [...plane.store.view().list('service')].filter(({ spec }) => spec.name !== 'steady');
    const other = others[dice(Math.max(1, others.length))];
    const move = dice(3);
    // Not waited for: the leader changes in the middle of it.
    if (other === undefined || (move === 0 && others.length < 3)) {
      const spec = serviceSpec({ name: `s${election}`, mode: { kind: 'replicated', replicas: 1 + dice(3) }, ports });
      await plane.control.createService({ spec }, callerOf());
    } else if (move === 1) {
      const spec = { ...other.spec, mode: { kind: 'replicated', replicas: dice(4) } as const };
      await plane.control.updateService({ service: other.id, version: 0, spec }, callerOf()).catch(() => undefined);
    } else await plane.control.removeService({ object: other.spec.name }, callerOf()).catch(() => undefined);
    await plane.reelect();
    if (election % 5 === 0) {
      await plane.settle();
      wrong.push(...findShared(plane.store.view()));
    }
    const now = plane.running('steady').filter(task => steady.has(task.id) && task.desired === 'running');
    if (now.length !== 4 || plane.tasks('steady').length !== 4)
      wrong.push(`election ${election}: a task was restarted`);
    if (wrong.length > 0) break;
  }
  t.same(wrong, []);
  t.same(plane.failures, [], 'no loop failed');
});
