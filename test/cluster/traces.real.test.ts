/**
 * What goes up comes down: nothing of covey stays on the machine.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { cannotCluster, openDevCluster, run } from './dev-cluster.js';
import { compareStates, readMachineState } from './machine-state.js';

t.test(
  'a dev-cluster that was used and killed leaves nothing behind',
  { skip: cannotCluster, timeout: 600_000 },
  async t => {
    const before = readMachineState();
    await t.test('used and killed', async t => {
      const cluster = openDevCluster(t, { name: 'tr', workers: 1 });
      cluster.must(1, 'stack', 'deploy', '-c', 'examples/hello/stack.yaml', 'hello');
      cluster.script('kill', '2');
    });
    t.same(compareStates(before, readMachineState(), /covey-tr\b|covey-dev\/tr\b|\btr\d+\b|\bcvtr/), []);
    t.equal(fs.existsSync('/run/covey-dev/tr'), false);
  },
);

/** A set-up under a running suite would replace what it runs on; where the check has set up before, it has nothing to do. */
const setUp = process.env['CI'] === 'true' ? [] : ['--no-setup'];

const foreign = fs.existsSync('/var/lib/covey') || fs.existsSync('/run/covey/covey.sock');

t.test(
  'the quickstart runs twice, and --down removes every trace',
  { skip: cannotCluster || (foreign && 'a covey of this machine is in the way'), timeout: 600_000 },
  async t => {
    const before = readMachineState();
    t.teardown(() => run(['scripts/quickstart', '--down'], { timeoutMs: 120_000 }));
    const first = run(['scripts/quickstart', '--port', '18080', ...setUp], { timeoutMs: 240_000 });
    t.equal(first.status, 0, first.stdout + first.stderr);
    for (const shown of [/hello_web\.3.*running/, /\$ curl http/, /hello_client\.1/, /--down/])
      t.match(first.stdout, shown);
    const again = run(['scripts/quickstart', '--port', '18080', ...setUp], { timeoutMs: 240_000 });
    t.equal(again.status, 0, again.stdout + again.stderr);
    const down = run(['scripts/quickstart', '--down'], { timeoutMs: 120_000 });
    t.equal(down.status, 0, down.stdout + down.stderr);
    t.same(
      compareStates(
        before,
        readMachineState(),
        /\bcovey0\b|\/run\/covey\/|\/var\/lib\/covey\b|inet covey\b|cgroup\/([^/]+\/)?covey\//,
      ),
      [],
    );
    t.equal(fs.existsSync('/var/lib/covey') || fs.existsSync('/run/covey'), false);
  },
);
