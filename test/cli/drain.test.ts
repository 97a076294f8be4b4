/** What a drain says of the tasks that are still there. */
import t from 'tap';
import { describeDrain } from '../../src/cli/drain.js';
import { status, task } from '../daemon/object-fixtures.js';

t.test('a drain counts what is left, and names what finds no place elsewhere', async t => {
  const nodeId = 'a' as ReturnType<typeof task>['nodeId'];
  const elsewhere = '' as typeof nodeId;
  const here = [
    task('one', { nodeId, slot: 1 }),
    task('two', { nodeId, slot: 2 }),
    task('gone', { nodeId, state: 'shutdown' }),
  ];
  const waiting = {
    ...task('two-next', { nodeId: elsewhere, slot: 2 }),
    status: { ...status('pending'), message: 'no node fits: 1 looked at; 1 is draining' },
  };
  const seen = describeDrain([...here, waiting], 'a');
  t.same(
    seen.left.map(({ id }) => id),
    ['one', 'two'],
  );
  t.match(seen.obstacles, [/\.2 can't run elsewhere yet: no node fits: 1 looked at; 1 is draining$/]);
  t.same(describeDrain([waiting], 'a'), { left: [], obstacles: [] });
});
