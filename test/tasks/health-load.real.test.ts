/** Health checks leave nothing behind (F13 of failures.md); `npm run torture -- health` does it 20,000 times. */
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { whyNotReal } from './fixtures.js';
import { runLoad } from './health-load.js';

const hasInit = ['docker-init', 'tini-static', 'catatonit'].some(
  name => linuxHost.processes.findOnPath(name) !== undefined,
);
const skip = whyNotReal() || (hasInit ? false : 'needs tini');

t.test('F13: checks of all kinds leave no process, descriptor or record', { skip }, async t => {
  const found = await runLoad(t, { checks: 200, warmUp: 40, prefix: 'cvth' });
  t.comment(`${found.checks} checks in ${found.seconds.toFixed(1)} s, ${found.rssGrowthMib.toFixed(1)} MiB more`);
  t.strictSame(found.zombies, []);
  t.strictSame(found.records, []);
  t.equal(found.children, 0, 'all children were waited for');
  t.ok(found.fdGrowth <= 0, `${found.fdGrowth} descriptors more`);
});
