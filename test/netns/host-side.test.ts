import t from 'tap';
import { chooseHostLink, forwardingOf, planForwarding } from '../../src/netns/host-side.js';

t.test('the link of host and fabric is a /30 that nothing touches', async t => {
  const first = chooseHostLink('covey', []);
  t.match(first.hostAddress, /^169\.254\./);
  t.same(chooseHostLink('covey', []), first, 'the same each time');
  t.notSame(chooseHostLink('other', []), first, 'two coveys begin at different places');
  const second = chooseHostLink('covey', [`${first.fabricAddress}/32`]);
  t.notSame(second, first);
  t.same(
    chooseHostLink('covey', ['0.0.0.0/0', '169.254.0.0/16', 'fe80::/64']),
    first,
    'what covers everything does not count',
  );
  t.throws(() => chooseHostLink('covey', ['169.254.0.0/17']), { code: 'subnet-conflict' });
});

const reading = (values: Record<string, string>) => (name: string) => values[name];

t.test('forwarding is switched on where it is off, and noted with its former value', async t => {
  const read = reading({
    [forwardingOf('eth0')]: '0',
    [forwardingOf('eth1')]: '1',
    'net/ipv4/conf/all/forwarding': '0',
  });
  t.same(planForwarding({ uplinks: ['eth0', 'eth1'], noted: [], read }), {
    switchOn: ['eth0'],
    guarded: ['eth0'],
    changes: [{ name: forwardingOf('eth0'), before: '0', after: '1' }],
  });
});

const noted = [{ name: forwardingOf('eth0'), before: '0', after: '1' }];

t.test('what was switched on stays guarded, and is switched on again when somebody switched it off', async t => {
  const on = reading({ [forwardingOf('eth0')]: '1', 'net/ipv4/conf/all/forwarding': '0' });
  t.same(planForwarding({ uplinks: ['eth0'], noted, read: on }), { switchOn: [], guarded: ['eth0'], changes: noted });
  const off = reading({ [forwardingOf('eth0')]: '0', 'net/ipv4/conf/all/forwarding': '0' });
  t.same(planForwarding({ uplinks: ['eth0'], noted, read: off }), {
    switchOn: ['eth0'],
    guarded: ['eth0'],
    changes: noted,
  });
});

t.test('a host that forwards altogether is not guarded', async t => {
  const read = reading({ [forwardingOf('eth0')]: '1', 'net/ipv4/conf/all/forwarding': '1' });
  t.same(planForwarding({ uplinks: ['eth0'], noted, read }).guarded, []);
});
