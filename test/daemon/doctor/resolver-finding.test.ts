import t from 'tap';
import { judgeResolver } from '../../../src/daemon/doctor/resolver-finding.js';

t.test('the resolver says what it was asked; nothing before the first question', async t => {
  t.same(judgeResolver(new Map()), []);
  const counters = new Map([
    ['dns_questions_total', 120],
    ['dns_upstream_answered_total', 7],
    ['dns_upstream_failed_total', 2],
  ]);
  const message =
    'resolver: 120 questions since the start, 7 answered by resolvers outside, 2 not, 0 over the limits, 0 broken';
  t.same(judgeResolver(counters), [{ level: 'ok', code: '', message, hint: '' }]);
});
