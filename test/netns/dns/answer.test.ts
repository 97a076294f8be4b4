import * as dnsPacket from 'dns-packet';
import fc from 'fast-check';
import t from 'tap';
import type { NetworkId } from '../../../src/ids.js';
import { answerQuery, findQuery, renderCut, renderServerFailure, sizeLimitOf } from '../../../src/netns/dns/answer.js';
import { hostServers, parseNameservers } from '../../../src/netns/dns/host-servers.js';
import { buildRecords } from '../../../src/netns/dns/records.js';
import { endpointItem, id, serviceItem, tables } from '../lab.js';

const asker = { stack: '', networks: new Set([id<NetworkId>('net1')]), upstreams: [] };
const many = Array.from({ length: 50 }, (_, slot) =>
  endpointItem({ task: `m${slot}x`, service: 'many', node: 1, slot: slot + 1, address: `10.0.1.${slot + 1}` }),
);
const records = buildRecords(
  tables(serviceItem({ name: 'web', vip: '10.0.1.200' }), serviceItem({ name: 'many' }), ...many),
);

function query(name: string, options: { edns?: number; flags?: number; type?: dnsPacket.RecordType } = {}): Buffer {
  const opt = {
    type: 'OPT',
    name: '.',
    udpPayloadSize: options.edns,
    flags: 0,
    options: [],
  } as unknown as dnsPacket.Answer;
  return dnsPacket.encode({
    id: 4711,
    type: 'query',
    flags: options.flags ?? dnsPacket.RECURSION_DESIRED,
    questions: [{ name, type: options.type ?? 'A' }],
    additionals: options.edns === undefined ? [] : [opt],
  });
}

function answer(
  packet: Buffer,
  transport: 'udp' | 'tcp' = 'udp',
  who: typeof asker | 'nobody' = asker,
): Buffer | undefined {
  const reply = answerQuery(packet, {
    records,
    asker: who === 'nobody' ? undefined : who,
    transport,
    random: () => 0.5,
  });
  return reply.kind === 'reply' ? reply.packet : undefined;
}

const decoded = (packet: Buffer | undefined) =>
  dnsPacket.decode(packet ?? Buffer.alloc(0)) as dnsPacket.DecodedPacket & { rcode: string };

t.test('the answer has the id, the letters and the wish for recursion of the question', async t => {
  const reply = decoded(answer(query('WeB')));
  t.match(reply, { id: 4711, rcode: 'NOERROR', flag_qr: true, flag_rd: true, flag_ra: true, flag_aa: true });
  t.equal(reply.questions?.[0]?.name, 'WeB');
  t.match(reply.answers, [{ name: 'WeB', data: '10.0.1.200', ttl: 30 }]);
  t.match(decoded(answer(query('web', { flags: 0 }))), { flag_rd: false });
});

t.test('what does not fit is cut and marked; EDNS takes more, TCP all', async t => {
  const plain = answer(query('many'));
  t.match(decoded(plain), { flag_tc: true, answers: [] });
  t.ok((plain?.length ?? 0) <= 512);
  const large = answer(query('many', { edns: 4_096 }));
  t.match(decoded(large), { flag_tc: false, additionals: [{ type: 'OPT' }] });
  t.equal(decoded(large).answers?.length, 50);
  t.ok((large?.length ?? 0) <= 1_232);
  t.equal(decoded(answer(query('many'), 'tcp')).answers?.length, 50);
});

t.test('a negative answer may be remembered for a second', async t => {
  const reply = decoded(answer(query('nobody')));
  t.match(reply, { rcode: 'NXDOMAIN', authorities: [{ type: 'SOA', ttl: 1, data: { minimum: 1 } }] });
  t.match(decoded(answer(query('web', { type: 'AAAA' }))), {
    rcode: 'NOERROR',
    answers: [],
    authorities: [{ type: 'SOA' }],
  });
});

t.test('who is not known is refused; other operations are not done', async t => {
  t.equal(decoded(answer(query('web'), 'udp', 'nobody')).rcode, 'REFUSED');
  t.equal(decoded(answer(query('web', { flags: 4 << 11 }))).rcode, 'NOTIMP');
});

t.test('names outside are left to the caller', async t => {
  t.match(answerQuery(query('www.example.org'), { records, asker, transport: 'udp', random: () => 0 }), {
    kind: 'outside',
    query: { name: 'www.example.org', id: 4711 },
  });
  const asked = findQuery(query('www.example.org', { edns: 4_096 }));
  if (asked === undefined) throw new Error('no query');
  t.equal(decoded(renderServerFailure(asked)).rcode, 'SERVFAIL');
  t.match(decoded(renderCut(asked)), { flag_tc: true, rcode: 'NOERROR' });
  t.equal(sizeLimitOf(asked, 'udp'), 1_232);
  t.equal(sizeLimitOf(asked, 'udp', 65_535), 4_096);
  t.equal(sizeLimitOf({ ...asked, edns: 100 }, 'udp'), 512);
});

t.test('no bytes whatever make it throw', async () => {
  const some = query('web', { edns: 1_232 });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(some.length - 1), fc.nat(255), (noise, at, value) => {
      answer(Buffer.from(noise));
      const bent = Buffer.from(some);
      bent[at] = value;
      answer(bent);
    }),
    { numRuns: 2_000 },
  );
});

t.test('the host’s resolvers, not its local stub', async t => {
  t.same(parseNameservers('# x\nnameserver 192.0.2.1\n  nameserver 2001:db8::1 # y\nsearch a\n'), [
    '192.0.2.1',
    '2001:db8::1',
  ]);
  const files: Record<string, string> = {
    '/etc/resolv.conf': 'nameserver 127.0.0.53',
    '/run/systemd/resolve/resolv.conf': 'nameserver 192.0.2.9',
  };
  t.same(
    hostServers(path => files[path]),
    ['192.0.2.9'],
  );
  t.same(
    hostServers(path => (path.startsWith('/etc') ? files[path] : undefined)),
    ['127.0.0.53'],
  );
  t.same(
    hostServers(() => undefined),
    [],
  );
});
