// Leaders change under churn, on a real Raft group of three managers in one process: no task is restarted, and no address, port or
// slot has two holders. A round is one change.
import { changeLeaders } from '../../dist/test/daemon/elections.js';

export async function run({ rounds, seed, say }) {
  const wrong = await changeLeaders(rounds, { seed });
  for (const line of wrong) say(line);
  return { passed: wrong.length === 0 ? rounds : 0, failed: wrong.length };
}
