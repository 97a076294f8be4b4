/**
 * Seeded disorder: people create, scale, change and remove; nodes are lost, come back, drain; tasks fail; leaders change. At
 * every step no address has two owners and every change of a task stands in the table of edges; afterwards everything is as
 * it was asked for.
 *
 * Replay one: COVEY_SEED=<seed> node dist/test/daemon/convergence.sim.test.js
 */
import t, { type Test } from 'tap';
import { codeOf } from '../../src/errors.js';
import type { Task } from '../../src/gen/types.js';
import { hasPath, isEnded, refuseTaskDeletion, refuseTaskWrite } from '../../src/raft/store.js';
import { serviceSpec, taskSpec } from './object-fixtures.js';
import { callerOf, openPlane, type Plane, seededRandom } from './plane-fixtures.js';

const names = ['one', 'two', 'three', 'four'];
const nodes = ['a', 'b', 'c', 'd'];
const everyRole = {
  roles: new Set(['orchestrate', 'allocate', 'schedule', 'agent', 'reconcile', 'reap']),
  nodeId: undefined,
};

/** Refusals that people get for asking at a bad moment. */
const expected = ['already-exists', 'not-found', 'stale-version', 'port-conflict'];

type Dice = (below: number) => number;
type Move = (plane: Plane, dice: Dice) => Promise<void>;

const moves: readonly Move[] = [
  async (plane, dice) => {
    const name = names[dice(names.length)]!;
    const mode = dice(4) === 0 ? ({ kind: 'global' } as const) : ({ kind: 'replicated', replicas: dice(7) } as const);
    const ports =
      dice(3) === 0
        ? [{ published: 0, target: 80, protocol: 'tcp', mode: dice(2) === 0 ? 'host' : 'ingress' } as const]
        : [];
    await plane.control.createService({ spec: serviceSpec({ name, mode, ports }) }, callerOf());
  },
  async (plane, dice) => {
    const present = plane.store.view().findByName('service', names[dice(names.length)]!);
    if (present?.spec.mode.kind !== 'replicated') return;
    const spec = { ...present.spec, mode: { kind: 'replicated', replicas: dice(9) } as const };
    await plane.control.updateService({ service: present.id, version: present.meta.version, spec }, callerOf());
  },
  async (plane, dice) => {
    const present = plane.store.view().findByName('service', names[dice(names.length)]!);
    if (present === undefined) return;
    const constraints = dice(3) === 0 ? [`node.id!=${nodes[dice(4)]}`] : [];
    const task = taskSpec({
      networks: present.spec.task.networks,
      force: dice(1_000),
      placement: { constraints, perNodeMax: 0, spread: [] },
    });
    await plane.control.updateService(
      { service: present.id, version: present.meta.version, spec: { ...present.spec, task } },
      callerOf(),
    );
  },
  async (plane, dice) => {
    await plane.control.removeService({ object: names[dice(names.length)]! }, callerOf());
  },
  async (plane, dice) => {
    const running = plane.tasks().filter(task => task.status.state === 'running' && !plane.mute.has(task.nodeId));
    const victim = running[dice(Math.max(1, running.length))];
    if (victim !== undefined)
      await plane.report(victim.id, { state: (['failed', 'complete', 'failed'] as const)[dice(3)]! });
  },
  async (plane, dice) => {
    const name = nodes[dice(nodes.length)]!;
    plane.mute.add(name);
    if (dice(2) === 0) await plane.setNode(name, node => ({ ...node, status: { ...node.status, state: 'lost' } }));
  },
  async (plane, dice) => await comeBack(plane, nodes[dice(nodes.length)]!),
  async (plane, dice) => {
    const availability = (['active', 'drain', 'pause'] as const)[dice(3)]!;
    await plane.control.updateNode(
      { node: nodes[dice(nodes.length)]!, version: 0, availability, labelsAdd: {}, labelsRemove: [] },
      callerOf(),
    );
  },
  async plane => await plane.reelect(),
  async (plane, dice) => await plane.clock.advance(dice(20_000)),
];

async function comeBack(plane: Plane, name: string): Promise<void> {
  plane.mute.delete(name);
  await plane.setNode(name, node => ({ ...node, status: { ...node.status, state: 'ready' } }));
}

/** Owners of each address among what may be alive. */
function sharedAddresses(plane: Plane): readonly string[] {
  const owners = new Map<string, number>();
  const own = (addresses: readonly string[]): void => {
    for (const address of addresses) owners.set(address, (owners.get(address) ?? 0) + 1);
  };
  for (const task of plane.tasks())
    if (!isEnded(task.status.state)) for (const { addresses } of task.endpoints) own(addresses);
  for (const { vips } of plane.store.view().list('service')) for (const { addresses } of vips) own(addresses);
  return [...owners].filter(([, count]) => count > 1).map(([address]) => address);
}

function illegalEdges(plane: Plane): readonly string[] {
  return plane.history.flatMap(event => {
    if (event.table !== 'task') return [];
    if (event.kind === 'delete') return refuseTaskDeletion(event.old, everyRole) ?? [];
    const from = event.old?.status.state ?? 'none';
    const to = event.object.status.state;
    const refusal = refuseTaskWrite(event.old, event.object, everyRole);
    return refusal ?? (from === to || hasPath(from, to, everyRole.roles) ? [] : [`${from} to ${to}`]);
  });
}

async function heal(plane: Plane): Promise<void> {
  for (const name of nodes) {
    await comeBack(plane, name);
    await plane.control.updateNode(
      { node: name, version: 0, availability: 'active', labelsAdd: {}, labelsRemove: [] },
      callerOf(),
    );
  }
  for (let minute = 0; minute < 4; minute++) {
    await plane.settle();
    await plane.clock.advance(60_000);
  }
  await plane.settle();
}

/** What is not as it was asked for. */
function discrepancies(plane: Plane): readonly string[] {
  const found: string[] = [];
  const view = plane.store.view();
  for (const service of view.list('service')) {
    const { name, mode, task } = service.spec;
    const admitted = nodes.filter(node => !task.placement.constraints.includes(`node.id!=${node}`));
    // A port of the host is there once on each node.
    const room = service.spec.ports.some(port => port.mode === 'host') ? admitted.length : Number.POSITIVE_INFINITY;
    const wanted = mode.kind === 'replicated' ? Math.min(mode.replicas, room) : admitted.length;
    const running = plane.running(name).filter(each => each.specVersion === service.specVersion);
    if (running.length !== wanted) found.push(`${name}: ${running.length} of ${wanted} run`);
    const slots = new Set(running.map(each => (each.slot === 0 ? each.nodeId : each.slot)));
    if (slots.size !== running.length) found.push(`${name}: a slot runs twice`);
    if (running.some(each => !admitted.includes(each.nodeId))) found.push(`${name}: on a node that it may not use`);
  }
  const left = plane.tasks().filter(task => !isEnded(task.status.state) && task.desired !== 'running');
  if (left.length > 0) found.push(`left over: ${left.map(describe).join(', ')}`);
  const orphans = plane.tasks().filter(task => view.find('service', task.serviceId) === undefined);
  if (orphans.length > 0) found.push(`without a service: ${orphans.map(describe).join(', ')}`);
  return found;
}

function describe(task: Task): string {
  return `${task.serviceName}.${task.slot} on ${task.nodeId} ${task.desired}/${task.status.state}`;
}

async function run(t: Test, seed: number): Promise<void> {
  const random = seededRandom(seed);
  const dice: Dice = below => Math.floor(random.fraction() * below);
  await using plane = await openPlane({ nodes });
  for (let step = 0; step < 60; step++) {
    try {
      await moves[dice(moves.length)]!(plane, dice);
    } catch (error) {
      if (!expected.includes(codeOf(error))) throw error;
    }
    if (dice(3) > 0) await plane.settle();
    const shared = sharedAddresses(plane);
    if (shared.length > 0) t.fail(`seed ${seed}, step ${step}: two owners of ${shared.join(', ')}`);
  }
  await heal(plane);
  t.same({ seed, found: discrepancies(plane) }, { seed, found: [] });
  t.same({ seed, found: illegalEdges(plane) }, { seed, found: [] });
  t.same({ seed, failures: plane.failures }, { seed, failures: [] });
  const before = plane.log.entries.length;
  await plane.reelect();
  await plane.settle();
  t.equal(plane.log.entries.length, before, `seed ${seed}: a new leader finds nothing to do`);
}

t.test('after any disorder everything comes to be as it was asked for', async t => {
  const chosen = process.env['COVEY_SEED'];
  const seeds = chosen === undefined ? Array.from({ length: 25 }, (_, at) => at + 1) : [Number(chosen)];
  for (const seed of seeds) await run(t, seed);
});
