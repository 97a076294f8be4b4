import t from 'tap';
import { chooseAddress, defaultRouteInterface, joinHostPort, listenHost } from '../../src/daemon/addresses.js';
import type { InterfaceAddress } from '../../src/host.js';

const eth0: InterfaceAddress = { interfaceName: 'eth0', address: '10.0.0.11', family: 'IPv4' };
const eth1: InterfaceAddress = { interfaceName: 'eth1', address: '192.0.2.5', family: 'IPv4' };
const six: InterfaceAddress = { interfaceName: 'eth0', address: 'fd00::11', family: 'IPv6' };
const base = { asked: undefined, listen: { host: '0.0.0.0', port: 7377 }, addresses: [eth0], defaultInterface: 'eth0' };

t.test('an address for other nodes is chosen where only one makes sense', async t => {
  t.equal(chooseAddress(base), '10.0.0.11:7377');
  t.equal(chooseAddress({ ...base, addresses: [eth1, six, eth0] }), '10.0.0.11:7377', 'that of the default route');
  t.equal(chooseAddress({ ...base, addresses: [eth1], defaultInterface: undefined }), '192.0.2.5:7377', 'the only one');
  t.equal(chooseAddress({ ...base, addresses: [six] }), '[fd00::11]:7377', 'IPv6 when there is nothing else');
  t.equal(
    chooseAddress({ ...base, listen: { host: '192.0.2.5', port: 1 } }),
    '192.0.2.5:1',
    'that which is listened on',
  );
});

t.test('what was asked wins, as an address or as an interface', async t => {
  t.equal(chooseAddress({ ...base, asked: '192.0.2.9:99' }), '192.0.2.9:99');
  t.equal(chooseAddress({ ...base, asked: 'rack1' }), 'rack1:7377');
  t.equal(chooseAddress({ ...base, addresses: [eth0, eth1], asked: 'eth1' }), '192.0.2.5:7377');
});

t.test('nothing is guessed among several', async t => {
  t.throws(() => chooseAddress({ ...base, addresses: [eth0, eth1], defaultInterface: undefined }), {
    code: 'bad-argument',
    state: /10\.0\.0\.11 on eth0, 192\.0\.2\.5 on eth1/,
  });
  t.throws(() => chooseAddress({ ...base, addresses: [] }), { code: 'bad-argument' });
});

t.test('where others come by IPv6 it is listened to, too, unless somebody has said where', async t => {
  const all = { host: '0.0.0.0', port: 7377 };
  t.equal(listenHost(all, ['10.0.0.11:7377']), '0.0.0.0');
  t.equal(listenHost(all, ['[fd00::1]:7377']), '::');
  t.equal(listenHost({ host: '10.0.0.11', port: 1 }, ['[fd00::1]:7377']), '10.0.0.11');
});

t.test('the default route is found in /proc/net/route', async t => {
  const text =
    'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth1\t005B0A0A\t0\t1\t0\t0\t0\t00FFFFFF\neth0\t00000000\tFE5B0A0A\t3\t0\t0\t0\t00000000\n';
  t.equal(defaultRouteInterface({ findTextSync: () => text }), 'eth0');
  t.equal(defaultRouteInterface({ findTextSync: () => undefined }), undefined);
  t.equal(joinHostPort('fd00::1', 1), '[fd00::1]:1');
});
