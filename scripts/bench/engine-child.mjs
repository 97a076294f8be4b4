// Starts tasks one after the other on a real engine (overlay root, routed network, volume-free), under the flags that it was
// called with, and prints the milliseconds from the assignment to `running` of each as JSON. Called by engine.mjs.
import { strictEqual } from 'node:assert';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const tests = join(dirname(fileURLToPath(import.meta.url)), '../../dist/test/tasks');
const { openStage } = await import(join(tests, 'whole-stage.js'));
const { fullSet, wholeTask } = await import(join(tests, 'whole.js'));

const rounds = Number(process.argv[2]);
const samples = [];
const same = { strictSame: (a, b, words) => strictEqual(JSON.stringify(a), JSON.stringify(b), words) };
await using stage = await openStage(same, 'cvbe');
const { agent } = await stage.open();
const warmUp = 5;
for (let round = 0; round < rounds + warmUp; round += 1) {
  const task = wholeTask({ container: { mounts: [], secrets: [] } });
  const begin = performance.now();
  const running = new Promise(resolve => {
    const listening = agent.onReport(reports => {
      if (!reports.some(report => report.taskId === task.id && report.status.state === 'running')) return;
      listening[Symbol.dispose]();
      resolve(performance.now());
    });
  });
  await agent.assign(fullSet([task]));
  const end = await running;
  if (round >= warmUp) samples.push(end - begin);
  await agent.assign(fullSet([]));
  while (agent.reports().length > 0) await new Promise(resolve => setTimeout(resolve, 5));
}
process.stdout.write(JSON.stringify(samples));
