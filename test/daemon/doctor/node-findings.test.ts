/** What doctor says of a node whose managers are away. */
import t from 'tap';
import { judgeNode, type NodeFacts } from '../../../src/daemon/doctor/node-findings.js';
import { CoveyError } from '../../../src/errors.js';
import { task } from '../object-fixtures.js';

const day = 86_400_000;
const nowMs = 100 * day;
const well: NodeFacts = {
  nowMs,
  role: 'worker',
  session: { kind: 'connected', term: 3, sinceMs: nowMs - day },
  unreached: [],
  leaderless: undefined,
  certificate: { validFromMs: nowMs - 40 * day, validUntilMs: nowMs + 50 * day },
  tasks: [],
};
const worst = (facts: Partial<NodeFacts>) => judgeNode({ ...well, ...facts }).filter(({ level }) => level !== 'ok');

t.test('a node whose managers answer has nothing to complain about', async t => {
  t.same(worst({}), []);
  t.match(judgeNode(well)[1]?.message, /good until .* UTC, for 50 days/);
});

t.test('managers that do not answer are told: since when, at which addresses, and why', async t => {
  const problem = new CoveyError('no-connection', 'Cannot reach the other side');
  const unreached = [{ address: '10.0.0.11:7377', nodeId: 'm1', sinceMs: nowMs - 90_000, problem }];
  const lost = worst({ session: { kind: 'connecting', problem, sinceMs: nowMs - 95_000, isLost: true }, unreached });
  t.match(lost, [
    { level: 'fail', code: 'managers-unreachable', message: /no manager has answered for 95 s \(Cannot reach/ },
    {
      level: 'warn',
      message: /no answer from the manager at 10\.0\.0\.11:7377 since 90 s: Cannot reach/,
      hint: /nc -vz 10\.0\.0\.11 7377/,
    },
  ]);
  t.match(worst({ session: { kind: 'connecting', problem: undefined, sinceMs: nowMs - 3_000, isLost: false } }), [
    { message: /since this daemon started 3 s ago/ },
  ]);
  t.match(worst({ role: 'manager', leaderless: '1 of 3 managers answer here, 2 are needed' }), [
    { level: 'fail', code: 'no-leader', message: /1 of 3 managers answer/ },
  ]);
});

t.test('a certificate that is not renewed is told before it ends, and after', async t => {
  const certificate = { validFromMs: nowMs - 80 * day, validUntilMs: nowMs + 10 * day };
  t.match(worst({ certificate }), [{ level: 'warn', code: 'certificate-due', message: /for 10 days, and should/ }]);
  t.match(worst({ certificate: { ...certificate, validUntilMs: nowMs - day } }), [
    { level: 'fail', message: /ended 24 h ago/ },
  ]);
});

t.test('what runs here is counted', async t => {
  const tasks = [task('a1'), task('a2', { state: 'failed' })];
  t.match(judgeNode({ ...well, tasks }).at(-1), { level: 'ok', message: '1 task running here with 1 container' });
});
