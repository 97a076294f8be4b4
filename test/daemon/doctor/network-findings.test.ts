import t from 'tap';
import { judgeFirewall, refuseBlocked } from '../../../src/daemon/doctor/network-findings.js';

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
