import t from 'tap';
import { planGlobal } from '../../../src/daemon/orchestrate/global.js';
import type { Circumstances, Footing, Step } from '../../../src/daemon/orchestrate/slot.js';
import type { Node, Task } from '../../../src/gen/types.js';
import { node, noUpdate, task } from '../object-fixtures.js';

const on = (nodeId: string, over: Parameters<typeof task>[1] = {}): Task =>
  task(`on-${nodeId}`, { nodeId: nodeId as Task['nodeId'], slot: 0, ...over });
const lost = (name: string): Node => node(name, { status: { state: 'lost', sinceMs: 0, message: '' } });
const available = (name: string, availability: Node['spec']['availability']): Node =>
  node(name, { spec: { name, labels: {}, availability } });

function plan(
  nodes: readonly Node[],
  tasks: readonly Task[],
  over: Partial<Circumstances> & {
    readonly specVersion?: number;
    readonly admits?: (node: Node) => boolean;
  } = {},
): readonly string[] {
  const { admits = () => true, specVersion = 1, ...rest } = over;
  const footing = (each: Task): Footing => {
    const found = nodes.find(({ id }) => id === each.nodeId);
    return found === undefined
      ? 'gone'
      : found.status.state === 'lost'
        ? 'lost'
        : found.spec.availability === 'drain'
          ? 'draining'
          : 'fine';
  };
  return planGlobal({ nodes, admits, countOthers: () => 0 }, tasks, {
    isCurrent: each => each.specVersion >= specVersion,
    nowMs: 0,
    reconcile: 'keep-original',
    footing,
    room: () => ({ kind: 'instead', message: '' }),
    update: noUpdate,
    ...rest,
  }).map(say);
}

function say(step: Step): string {
  if (step.kind === 'create') return `create on ${step.nodeId}`;
  return step.kind === 'retire' ? `${step.desired} ${step.task}` : step.kind;
}

t.test('one task on every node that is ready and active', async t => {
  t.same(plan([node('a'), node('b')], []), ['create on a', 'create on b']);
  t.same(plan([node('a'), node('b')], [on('a')]), ['create on b']);
  t.same(plan([lost('a'), available('b', 'pause'), available('c', 'drain')], []), []);
});

t.test('constraints admit nodes, and send tasks away', async t => {
  const admits = ({ id }: Node): boolean => id === 'a';
  t.same(plan([node('a'), node('b')], [on('b')], { admits }), ['create on a', 'shutdown on-b']);
});

t.test('drained: stopped; paused: kept; lost: kept; removed: forgotten', async t => {
  t.same(plan([available('a', 'drain')], [on('a')]), ['shutdown on-a']);
  t.same(plan([available('a', 'pause')], [on('a')]), []);
  t.same(plan([lost('a')], [on('a')]), []);
  t.same(plan([], [on('a')]), ['remove on-a']);
});

t.test('a paused node gets no replacement', async t => {
  const restart = on('a', { state: 'failed' });
  t.same(plan([available('a', 'pause')], [restart]), []);
  t.same(plan([node('a')], [restart]), ['create on a', 'shutdown on-a']);
});

t.test('a new spec goes from node to node, and does not wait for a lost one', async t => {
  const nodes = [node('a'), node('b'), lost('c')];
  const tasks = [on('a'), on('b'), on('c')];
  t.same(plan(nodes, tasks, { specVersion: 2 }), ['shutdown on-a']);
  t.same(plan(nodes, [on('a', { specVersion: 2 }), on('b'), on('c')], { specVersion: 2 }), ['shutdown on-b']);
  t.same(plan(nodes, [on('a', { specVersion: 2 }), on('b', { specVersion: 2 }), on('c')], { specVersion: 2 }), []);
});
