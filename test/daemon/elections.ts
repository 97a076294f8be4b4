/**
 * People ask for things while leaders change, on a real group of three managers; afterwards each change is looked at. Used by the
 * test (a few changes) and by `npm run torture -- elections` (500).
 */
import { isEnded, type View } from '../../src/raft/store.js';
import { openGroupPlane } from './group-plane.js';
import { serviceSpec } from './object-fixtures.js';
import { findShared } from './plane-checks.js';
import { callerOf, seededRandom } from './plane-fixtures.js';

const steadyCount = 4;

/** What was wrong, and after which change. */
export async function changeLeaders(changes: number, { seed }: { readonly seed: number }): Promise<readonly string[]> {
  await using plane = await openGroupPlane(['a', 'b', 'c']);
  const random = seededRandom(seed);
  const dice = (below: number): number => Math.floor(random.fraction() * below);
  const ports = [{ published: 0, target: 80, protocol: 'tcp', mode: 'ingress' } as const];
  const create = (name: string, replicas: number): Promise<void> =>
    plane.ask(control => {
      const spec = serviceSpec({ name, mode: { kind: 'replicated', replicas }, ports });
      return control.createService({ spec }, callerOf());
    });
  await create('steady', steadyCount);
  // A leader that went away in the middle of its pass leaves it to be tried again in a while: what settles may do so without tasks.
  let steady: readonly string[] = [];
  while (steady.length < steadyCount || steady.some(task => !task.includes(' running running '))) {
    await new Promise(resolve => setTimeout(resolve, 5));
    await plane.settle();
    steady = steadyTasks(await plane.view());
  }
  const wrong: string[] = [];
  for (let change = 1; change <= changes && wrong.length === 0; change += 1) {
    const others = [...(await plane.view()).list('service')].filter(({ spec }) => spec.name !== 'steady');
    const other = others[dice(Math.max(1, others.length))];
    const move = dice(3);
    // Under way while the leader changes.
    const asked =
      other === undefined || (move === 0 && others.length < 3)
        ? create(`s${change}`, 1 + dice(3))
        : plane.ask(control =>
            move === 1
              ? control.updateService(
                  {
                    service: other.id,
                    version: 0,
                    spec: { ...other.spec, mode: { kind: 'replicated', replicas: dice(4) } },
                  },
                  callerOf(),
                )
              : control.removeService({ object: other.id }, callerOf()),
          );
    await plane.changeLeader(dice(4) === 0 ? 'cut' : 'transfer');
    await asked;
    await plane.settle();
    const view = await plane.view();
    wrong.push(...findShared(view).map(what => `change ${change}: ${what}`));
    const now = steadyTasks(view);
    if (now.join() !== steady.join()) wrong.push(`change ${change}: a task was restarted: ${now} after ${steady}`);
  }
  return wrong;
}

function steadyTasks(view: View): readonly string[] {
  return [...view.list('task')]
    .filter(task => task.serviceName === 'steady' && (task.desired !== 'running' || !isEnded(task.status.state)))
    .map(task => `${task.id} ${task.desired} ${task.status.state} ${task.status.attempt}`)
    .sort();
}
