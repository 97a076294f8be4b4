import t from 'tap';
import { linkGroup } from '../../src/netns/constants.js';
import { planHostRoutes } from '../../src/netns/host-routes.js';

const link = (index: number, name: string, group = 0) => ({
  index,
  name,
  group,
  mac: '',
  mtu: 1_500,
  up: true,
  kind: '',
});

t.test('what a host has of its own: addresses and routes, without loopback, coveys and the default route', async t => {
  const routes = planHostRoutes({
    links: [link(1, 'lo'), link(2, 'eth0'), link(3, 'covey0', linkGroup), link(4, 'docker0')],
    addresses: [
      { index: 1, prefix: '127.0.0.1/8' },
      { index: 2, prefix: '10.91.0.7/24' },
      { index: 3, prefix: '169.254.2.1/30' },
      { index: 4, prefix: '172.17.0.1/16' },
    ],
    routes: [
      { index: 2, destination: '0.0.0.0/0' },
      { index: 2, destination: '10.91.0.0/24' },
      { index: 2, destination: '169.254.0.0/16' },
      { index: 2, destination: '10.20.0.0/14' },
      { index: 0, destination: '10.30.0.0/16' },
    ],
  });
  t.same(routes, [
    { prefix: '10.20.0.0/14', device: 'eth0' },
    { prefix: '172.17.0.0/16', device: 'docker0' },
    { prefix: '10.91.0.0/24', device: 'eth0' },
  ]);
});

t.test('the shortest prefixes are told when there are too many', async t => {
  const many = Array.from({ length: 100 }, (_, at) => ({ index: 2, destination: `10.1.${at}.0/24` }));
  const routes = planHostRoutes({
    links: [link(2, 'eth0')],
    addresses: [],
    routes: [...many, { index: 2, destination: '10.2.0.0/16' }],
  });
  t.equal(routes.length, 64);
  t.same(routes[0], { prefix: '10.2.0.0/16', device: 'eth0' });
});
