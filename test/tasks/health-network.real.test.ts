/** Health checks that ask over the network; programs as checks are in inside.real.test.ts. */
import * as fs from 'node:fs';
import t from 'tap';
import type { HealthProbe } from '../../src/gen/types.js';
import { makeTask, openRig, whyNotReal } from './fixtures.js';

const times = { intervalMs: 200, timeoutMs: 2_000, startPeriodMs: 0, startIntervalMs: 100, retries: 3 };
const asks: readonly HealthProbe['ask'][] = [
  { kind: 'http', scheme: '', port: 8080, path: '/live', headers: {}, statusMin: 0, statusMax: 0 },
  { kind: 'tcp', port: 8080 },
];
const answering =
  "while [ ! -e /tmp/ill ]; do printf 'HTTP/1.0 204 ok\\r\\n\\r\\n' | nc -l -p 8080; done; exec sleep 1000";

t.test('health over the network', { skip: whyNotReal() }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtq' });
  for (const ask of asks) {
    await t.test(
      `${ask.kind}: a task runs once it answers, and ends as unhealthy when it does not any more`,
      async t => {
        const healthcheck = { ...times, test: [], probe: { ask } };
        const task = makeTask({ container: { command: ['sh', '-c', answering], healthcheck } });
        const first = await rig.run(task);
        t.match(first, { state: 'running', health: 'healthy' });
        fs.writeFileSync(`/proc/${first.pid}/root/tmp/ill`, '');
        const last = await rig.wait(task.id, 'complete');
        t.match(last, { state: 'failed', errorCode: 'unhealthy', error: /nothing listens there/ });
      },
    );
  }
});
