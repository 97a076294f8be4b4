import t from 'tap';
import { planWays } from '../../../src/daemon/dispatcher/policy.js';
import type { AllowRule, Service } from '../../../src/gen/types.js';
import { asId, type ServiceId } from '../../../src/ids.js';
import { serviceSpec } from '../object-fixtures.js';

const service = (name: string, labels: Record<string, string>, stack = ''): Pick<Service, 'id' | 'spec'> => ({
  id: asId<ServiceId>(name.padEnd(25, '0')),
  spec: { ...serviceSpec({ name, labels }), stack },
});
const services = [
  service('web', { app: 'web', tier: 'front' }, 'shop'),
  service('db', { app: 'db' }, 'shop'),
  service('cron', { app: 'cron', trusted: '' }),
];
const ways = (...rules: Partial<AllowRule>[]): string[] =>
  planWays(
    rules.map(rule => ({ from: [], to: [], ports: [], ...rule })),
    services,
  ).map(({ fromService, toService, ports }) =>
    [fromService, toService, ...ports.map(port => `${port.protocol}/${port.first}-${port.last}`)]
      .map(text => text.replace(/0+$/, ''))
      .join(' '),
  );
const tcp = (first: number, last = first) => ({ protocol: 'tcp', first, last }) as const;

t.test('services are chosen by labels, all of which they have, and by the names that each has by itself', async t => {
  t.same(ways(), [], 'no rule, no way');
  t.same(ways({ from: ['app=web'], to: ['app=db'] }), ['web db']);
  t.same(ways({ from: ['app=web', 'tier=back'], to: ['app=db'] }), []);
  t.same(ways({ from: ['trusted'], to: ['covey.service=web'] }), ['cron web']);
  t.same(ways({ from: ['covey.stack=shop'], to: ['app=db'] }), ['db db', 'web db']);
  t.same(ways({ to: ['app=db'] }), ['cron db', 'db db', 'web db'], 'no label: every service, itself included');
});

t.test('ports of several rules are joined without overlaps; a rule without ports opens all', async t => {
  const pair = { from: ['app=web'], to: ['app=db'] };
  t.same(ways({ ...pair, ports: [tcp(80, 90), tcp(443)] }, { ...pair, ports: [tcp(85, 100), tcp(101)] }), [
    'web db tcp/80-101 tcp/443-443',
  ]);
  t.same(ways({ ...pair, ports: [{ protocol: 'udp', first: 53, last: 53 }, tcp(53)] }), ['web db tcp/53-53 udp/53-53']);
  t.same(ways({ ...pair, ports: [tcp(80)] }, pair), ['web db']);
});
