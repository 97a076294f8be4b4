/** What is asked of a leadership that is over is answered: the next one waits until nothing of it runs any more. */
import t from 'tap';
import { openPresence } from '../../../src/daemon/dispatcher/presence.js';
import { openReports } from '../../../src/daemon/dispatcher/reports.js';
import { asId, type TaskId } from '../../../src/ids.js';
import { openLifetime } from '../../../src/lifetime.js';
import { makeFakeClock } from '../../fake-clock.js';
import { memoryStore, put, silent } from '../node-fixtures.js';
import { node, status } from '../object-fixtures.js';

t.test('a node that says hello to a leadership that is over, or ends meanwhile, holds nobody up', async t => {
  const store = await memoryStore();
  const known = node('a');
  await put(store, [{ kind: 'put', table: 'node', object: known }]);
  const lifetime = openLifetime('leading', { onFailure: (_name, error) => t.fail(String(error)) });
  const parts = { store, clock: makeFakeClock(), log: silent, lifetime, count: () => undefined };
  const presence = openPresence({
    ...parts,
    patience: () => () => ({ silentMs: 1_000, lostMs: 10_000, heartbeatMs: 1_000 }),
    ownNodeId: undefined,
    onPeriod: () => undefined,
    onLost: () => undefined,
  });
  const reports = openReports(parts);
  await lifetime[Symbol.asyncDispose]();
  reports.add(known.id, [{ taskId: asId<TaskId>('t'), status: status('running') }]);
  await reports.settled([asId<TaskId>('t')]);
  await presence.ready(known.id, known.description, 5);
  t.ok(lifetime.signal.aborted, 'both have answered');
});
