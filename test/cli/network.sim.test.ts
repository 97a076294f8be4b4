/**
 * Networks as people change them: what is asked of the managers, and what is refused here.
 */
import t from 'tap';
import type { Network, Service, UpdateNetworkRequest } from '../../src/gen/types.js';
import { asId, type NetworkId } from '../../src/ids.js';
import { type FakeDaemon, listing, openFakeDaemon } from './fake-daemon.js';
import { service } from './objects.js';

const network: Network = {
  id: asId<NetworkId>('net2'),
  meta: { version: 4, createdAtMs: 0, updatedAtMs: 0, owner: 'uid:0' },
  spec: {
    name: 'backend',
    labels: {},
    stack: '',
    driver: 'overlay',
    subnets: [],
    internal: false,
    attachable: false,
    policy: undefined,
  },
  subnets: ['10.1.0.0/28'],
};

interface Asked {
  readonly networks: UpdateNetworkRequest[];
  readonly services: Service['spec'][];
}

async function open(
  t: Parameters<typeof openFakeDaemon>[0],
  web: Service,
): Promise<Asked & { readonly daemon: FakeDaemon }> {
  const asked: Asked = { networks: [], services: [] };
  const daemon = await openFakeDaemon(t, {
    control: {
      ...listing([web], []),
      listNetworks: async () => ({ networks: [network], used: { net2: 11 }, asOf: undefined }),
      updateNetwork: async request => {
        asked.networks.push(request);
        return network;
      },
      updateService: async ({ spec }) => {
        asked.services.push(spec);
        return { ...web, spec };
      },
    },
  });
  return { ...asked, daemon };
}

const on = (...names: readonly string[]): Service => {
  const made = service({});
  const networks = names.map(name => ({ network: name, aliases: [] }));
  return { ...made, spec: { ...made.spec, task: { ...made.spec.task, networks } } };
};

t.test('a network is changed by what is said and nothing else', async t => {
  const { daemon, networks } = await open(t, on('net1'));
  const args = ['--label-add', 'a=1', '--label-rm', 'b', '--subnet-add', '10.2.0.0/24', '--internal', 'yes', 'backend'];
  t.match(await daemon.covey(['network', 'update', ...args]), { code: 0, out: 'backend\n' });
  t.match(networks, [
    { network: 'backend', labelsAdd: { a: '1' }, labelsRemove: ['b'], subnetsAdd: ['10.2.0.0/24'], internal: true },
  ]);
  t.equal(networks[0]?.attachable, undefined);
  t.match(await daemon.covey(['network', 'update', '--internal', 'maybe', 'backend']), { code: 2, err: /yes or no/ });
});

t.test('a service is put on one more network, under another name too, and taken off', async t => {
  const { daemon, services } = await open(t, on('net1'));
  t.equal((await daemon.covey(['network', 'connect', '-d', '--alias', 'shop', 'backend', 'web'])).code, 0);
  t.same(services[0]?.task.networks, [
    { network: 'net1', aliases: [] },
    { network: 'net2', aliases: ['shop'] },
  ]);
  t.match(await daemon.covey(['network', 'disconnect', '-d', 'backend', 'web']), { code: 4, err: /it is not on it/ });
});

t.test('its last network is not taken from a service', async t => {
  const last = await open(t, on('net2'));
  t.match(await last.daemon.covey(['network', 'disconnect', '-d', 'backend', 'web']), {
    code: 2,
    err: /it would be on none/,
  });
  const { daemon, services } = await open(t, on('net1', 'net2'));
  t.equal((await daemon.covey(['network', 'disconnect', '-d', 'backend', 'web'])).code, 0);
  t.same(services[0]?.task.networks, [{ network: 'net1', aliases: [] }]);
});

t.test('it is shown how full a network is', async t => {
  const { daemon } = await open(t, on('net1'));
  t.match((await daemon.covey(['network', 'ls'])).out, /backend +overlay +10\.1\.0\.0\/28 +11 +nearly, 84 %/);
});
