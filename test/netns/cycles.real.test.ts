import t from 'tap';
import { goThroughCycles } from './cycles.js';
import { skipUnlessRoot } from './stage.js';

t.test(
  'tasks that come, are asked and go leave nothing, on no node',
  { ...skipUnlessRoot, timeout: 600_000 },
  async t => {
    const rounds = 50;
    t.same(await goThroughCycles(rounds), { answered: rounds, differences: [], connections: 0 });
  },
);
