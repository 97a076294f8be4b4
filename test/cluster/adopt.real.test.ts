/**
 * kill -9 of the daemon at 20 moments while 30 replicas come and go; `npm run torture -- adopt` does it 200 times.
 */
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { cannotCluster } from './dev-cluster.js';

interface Torture {
  readonly run: (options: {
    readonly rounds: number;
    readonly seed: number;
    readonly name: string;
    readonly say: (text: string) => void;
  }) => Promise<{ readonly passed: number; readonly failed: number }>;
}

t.test(
  'F2: the daemon may be killed at any moment: nothing restarts, nothing leaks',
  { skip: cannotCluster },
  async t => {
    const { run } = (await import(pathToFileURL('scripts/torture/adopt.mjs').href)) as Torture;
    const told: string[] = [];
    const outcome = await run({ rounds: 20, seed: 3, name: 'ad', say: text => told.push(text) });
    t.strictSame(outcome, { passed: 20, failed: 0 }, told.join('\n'));
  },
);
