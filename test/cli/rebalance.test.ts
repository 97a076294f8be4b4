/** What a rebalance says of its moves while it waits for them. */
import t from 'tap';
import { describeMoves } from '../../src/cli/commands/rebalance.js';
import { status, task } from '../daemon/object-fixtures.js';

type Moved = ReturnType<typeof task>;

t.test('moves that wait, go on, are done or were given up are told apart', async t => {
  const [a, b] = ['a', 'b'] as Moved['nodeId'][];
  if (a === undefined || b === undefined) throw new Error('no nodes');
  const move = { nodeId: b, untilMs: 9_000 };
  const moves = [1, 2, 3, 4, 5].map(slot => {
    const { id } = task(`old${slot}`);
    return { taskId: id, serviceName: 'web', slot, fromNode: a, toNode: b };
  });
  const tasks = [
    task('old1', { slot: 1, move }),
    task('old2', { slot: 2, move }),
    task('new2', { slot: 2, nodeId: b, status: status('preparing', { message: 'pulling web:1, 40 %' }) }),
    task('old3', { slot: 3, move, desired: 'shutdown' }),
    task('new3', { slot: 3, nodeId: b }),
    task('old5', { slot: 5, status: status('running', { message: 'not moved to b: exit code 3' }) }),
  ];
  t.same(describeMoves(moves, tasks), {
    left: 2,
    stayed: ['web.5 not moved to b: exit code 3'],
    lines: ['2 of 5 tasks moved', '  web.1  waits for its turn', '  web.2  preparing: pulling web:1, 40 %'],
  });
});
