/** Leaders change on a real Raft group of three, with its storage threads; `npm run torture -- elections` does it 500 times. */
import t from 'tap';
import { changeLeaders } from './elections.js';

t.test(
  'leaders that change under churn, by transfer or cut off, restart no task, and nothing has two holders',
  async t => {
    t.same(await changeLeaders(12, { seed: 3 }), []);
  },
);
