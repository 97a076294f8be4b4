import t from 'tap';
import { describe, type FabricObject, keyOf } from '../../src/netns/fabric-object.js';
import { planFabric } from '../../src/netns/plan.js';

const route = (destination: string, device: string, via?: string): FabricObject => ({
  kind: 'route',
  table: 254,
  destination,
  device,
  ...(via === undefined ? {} : { via }),
});
const rule = (mark: number, table: number): FabricObject => ({ kind: 'rule', priority: 102, mark, table });
const neighbour: FabricObject = { kind: 'neighbour', device: 'cv0', address: '169.254.64.2', mac: '02:c0:00:00:00:02' };
const forwarding: FabricObject = {
  kind: 'forwarding',
  device: 'cv0',
  mac: '02:c0:00:00:00:02',
  destination: '192.0.2.2',
};
const address: FabricObject = { kind: 'address', device: 'cv0', prefix: '169.254.64.1/32' };
const map = (...objects: FabricObject[]) => new Map(objects.map(object => [keyOf(object), object]));
const texts = (objects: readonly FabricObject[]): string[] => objects.map(describe);

t.test('what is as wanted stays', async t => {
  const all = [route('10.0.0.1/32', 'cv0', '169.254.64.2'), rule(1, 2), neighbour, forwarding, address];
  t.same(planFabric(map(...all), map(...all)), { before: [], replaced: [], after: [] });
});

t.test('what others hang on comes first and goes last', async t => {
  const all = [rule(1, 2), route('10.0.0.1/32', 'cv0', '169.254.64.2'), neighbour, forwarding, address];
  const kinds = ['address', 'forwarding', 'neighbour', 'route', 'rule'];
  t.same(
    planFabric(map(...all), map()).before.map(object => object.kind),
    kinds,
  );
  t.same(
    planFabric(map(), map(...all)).after.map(object => object.kind),
    [...kinds].reverse(),
  );
});

t.test('a route that moves is replaced in its place, never removed', async t => {
  const plan = planFabric(map(route('10.0.0.1/32', 'vabc')), map(route('10.0.0.1/32', 'cv0', '169.254.64.2')));
  t.same(texts(plan.before), ['route 254 10.0.0.1/32 vabc']);
  t.same(plan.after, []);
});

t.test('a rule that leads elsewhere is added before the old one goes', async t => {
  const plan = planFabric(map(rule(5, 20)), map(rule(5, 10)));
  t.same(plan, { before: [rule(5, 20)], replaced: [rule(5, 10)], after: [] });
});
