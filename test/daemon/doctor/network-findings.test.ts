import t from 'tap';
import { judgeFirewall, judgeNetwork, refuseBlocked } from '../../../src/daemon/doctor/network-findings.js';

const problem = { hook: 'input', what: 'rules may drop UDP port 7378', command: 'iptables-legacy -I INPUT' } as const;

t.test('a firewall in the way fails with its hook, the port and one command', async t => {
  t.match(judgeFirewall([problem], []), [
    { level: 'fail', code: 'firewall-drops', message: /input hook.*7378/, hint: problem.command },
  ]);
  t.throws(() => refuseBlocked([problem]), {
    code: 'firewall-drops',
    state: /input hook.*7378/,
    hint: problem.command,
  });
});

t.test('one that was opened is told, one that drops nothing is not', async t => {
  const change = { kind: 'nft-rule', name: 'ip filter INPUT' } as const;
  t.match(judgeFirewall([], [change]), [{ level: 'ok', message: /ip filter INPUT/ }]);
  t.same(judgeFirewall([], [{ kind: 'link', name: 'covey0' }]), []);
  t.doesNotThrow(() => refuseBlocked([]));
});

t.test('what somebody destroyed of the overlay is told, with how often and what it was last', async t => {
  const network = (networkMended?: { times: number; lastAtMs: number; last: string[] }) => ({
    firewallProblems: () => [],
    changes: () => [],
    facts: () => ({ routes: [], networkMended }),
  });
  t.same(judgeNetwork(network(), 9_000), []);
  t.match(judgeNetwork(network({ times: 2, lastAtMs: 4_000, last: ['set route 254 10.1.0.5/32'] }), 9_000), [
    { level: 'warn', code: 'network-mended', message: /mended 2 times, last 5 s ago: set route 254 10\.1\.0\.5/ },
  ]);
});
