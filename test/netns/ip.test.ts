import t from 'tap';
import {
  addressOfNumber,
  isAddressV4,
  numberOfV4,
  overlapsV4,
  parseAddress,
  parsePrefix,
  renderAddress,
} from '../../src/netns/ip.js';

t.test('an address is the same after bytes and back', async t => {
  for (const address of [
    '0.0.0.0',
    '10.0.1.255',
    '255.255.255.255',
    '::',
    '::1',
    'fe80::1',
    '2001:db8::5:0:0:1',
    'fd00:1:2:3:4:5:6:7',
    '1::',
    '1:0:0:2::3',
  ]) {
    t.equal(renderAddress(parseAddress(address)), address);
  }
  t.equal(renderAddress(parseAddress('2001:0DB8:0:0:0:0:0:1')), '2001:db8::1');
  t.equal(renderAddress(parseAddress('::ffff:10.1.2.3')), '::ffff:a01:203');
});

t.test('what is no address is refused', async t => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4.5',
    'a.b.c.d',
    '1.2.3.4/8',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    'g::1',
    '12345::',
  ]) {
    t.throws(() => parseAddress(text), { code: 'bad-argument' }, text);
    t.notOk(isAddressV4(text));
  }
});

t.test('prefixes', async t => {
  t.same(parsePrefix('10.0.0.0/8'), { address: '10.0.0.0', bits: 8 });
  t.same(parsePrefix('10.0.0.1'), { address: '10.0.0.1', bits: 32 });
  t.same(parsePrefix('fd00::/64'), { address: 'fd00::', bits: 64 });
  for (const text of ['10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/x', 'x/8', 'fd00::/129'])
    t.throws(() => parsePrefix(text), { code: 'bad-argument' }, text);
  const overlap = (a: string, b: string): boolean => overlapsV4(parsePrefix(a), parsePrefix(b));
  t.ok(overlap('10.0.0.0/8', '10.1.2.3'));
  t.ok(overlap('10.1.2.3', '10.0.0.0/8'));
  t.ok(overlap('0.0.0.0/0', '192.0.2.1'));
  t.notOk(overlap('10.0.0.0/30', '10.0.0.4/30'));
  t.equal(addressOfNumber(numberOfV4('200.1.2.3')), '200.1.2.3');
});
