import t from 'tap';
import { announcementFrame, findArp, probeFrame } from '../../src/netns/arp.js';
import { isWanted, pcapHeader, pcapRecord } from '../../src/netns/capture.js';
import { findStep, markingTable, openWays, type TraceStep } from '../../src/netns/trace.js';

/** Ethernet, IPv4 without options, and the first bytes of TCP. */
function frame(from: string, to: string, ports: readonly [number, number], protocol = 6): Buffer {
  const bytes = Buffer.alloc(60);
  bytes.writeUInt16BE(0x0800, 12);
  bytes[14] = 0x45;
  bytes[23] = protocol;
  bytes.set(from.split('.').map(Number), 26);
  bytes.set(to.split('.').map(Number), 30);
  bytes.writeUInt16BE(ports[0], 34);
  bytes.writeUInt16BE(ports[1], 36);
  return bytes;
}

t.test('a file that tcpdump reads: its header, and a packet with its time in microseconds', async t => {
  t.same(pcapHeader().toString('hex'), 'd4c3b2a1020004000000000000000000000004000100000000'.slice(0, 48));
  const record = pcapRecord({ frame: Buffer.from('abcd'), sizeBytes: 1_500, atMs: 1_700_000_000_123.456 });
  t.equal(record.readUInt32LE(0), 1_700_000_000);
  t.ok(Math.abs(record.readUInt32LE(4) - 123_456) <= 1, String(record.readUInt32LE(4)));
  t.same([record.readUInt32LE(8), record.readUInt32LE(12), record.subarray(16).toString()], [4, 1_500, 'abcd']);
});

t.test('packets are chosen by address and port, in both directions', async t => {
  const packet = frame('10.0.1.11', '10.0.1.12', [4_567, 80]);
  const all = { address: '', port: 0 };
  for (const [filter, wanted] of [
    [all, true],
    [{ ...all, address: '10.0.1.12' }, true],
    [{ ...all, address: '10.0.1.11' }, true],
    [{ ...all, address: '10.0.1.13' }, false],
    [{ ...all, port: 80 }, true],
    [{ ...all, port: 4_567 }, true],
    [{ ...all, port: 81 }, false],
    [{ address: '10.0.1.12', port: 81 }, false],
  ] as const) {
    t.equal(isWanted(packet, filter), wanted, JSON.stringify(filter));
  }
  t.notOk(isWanted(frame('10.0.1.11', '10.0.1.12', [80, 80], 1), { ...all, port: 80 }), 'ICMP has no ports');
  t.notOk(isWanted(Buffer.alloc(10), { ...all, port: 80 }), 'cut short');
});

t.test('ARP: a question changes nobody, a word names the sender', async t => {
  const mac = '02:00:00:00:00:07';
  t.same(findArp(probeFrame(mac, '192.0.2.10')), { senderMac: mac, senderAddress: '0.0.0.0' });
  t.same(findArp(announcementFrame(mac, '192.0.2.10')), { senderMac: mac, senderAddress: '192.0.2.10' });
  t.equal(findArp(frame('10.0.1.11', '10.0.1.12', [1, 2])), undefined);
  t.equal(findArp(Buffer.alloc(20)), undefined);
});

t.test('the way of a packet: where it came in, each rule that said something, what it became', async t => {
  const ways = openWays({
    table: 'covey',
    rule: (chain, handle) => (handle === 9 ? undefined : `text of ${chain} ${handle}`),
    device: index => `link${index}`,
  });
  const step: TraceStep = {
    id: 0xab,
    table: 'covey',
    chain: 'balance',
    handle: 4,
    kind: 'rule',
    verdict: 'goto pick2',
    packet: 'tcp 10.0.1.11:1 > 10.0.1.200:80 [S]',
    iif: 3,
    oif: 0,
  };
  t.same(ways.take({ ...step, table: 'other' }), []);
  t.same(ways.take(step), [
    'packet ab  tcp 10.0.1.11:1 > 10.0.1.200:80 [S]  from link3',
    '    balance           text of balance 4  => goto pick2',
  ]);
  t.same(ways.take({ ...step, verdict: 'continue' }), []);
  const now = { ...step, chain: 'forward', handle: 9, verdict: 'accept', packet: 'tcp 10.0.1.11:1 > 10.0.1.12:80 [S]' };
  t.same(ways.take({ ...now, oif: 4 }), [
    '    is now  tcp 10.0.1.11:1 > 10.0.1.12:80 [S] to link4',
    '    forward           rule 9  => accept',
  ]);
  t.same(ways.take({ ...now, kind: 'policy', handle: undefined, verdict: 'drop' }), ['    forward           => drop']);
  t.equal(ways.count(), 1);
  t.equal(findStep(Buffer.alloc(24)), undefined, 'another message');
});

t.test('packets are marked that leave the task or go to it, within the filter', async t => {
  const place = { device: 'v1', addresses: ['10.0.1.11'] };
  const rules = markingTable('inet x', place, { address: '10.0.1.12', port: 80 });
  for (const side of ['sport', 'dport']) {
    const ofPort = `meta l4proto { tcp, udp } th ${side} 80 limit rate`;
    t.ok(rules.includes(`iifname "v1" ip daddr 10.0.1.12 ${ofPort}`), rules);
    t.ok(rules.includes(`ip daddr 10.0.1.11 ip saddr 10.0.1.12 ${ofPort}`), rules);
  }
  t.match(markingTable('inet x', place, { address: '', port: 0 }), /iifname "v1" limit rate/);
});
