// Tasks come to one of two nodes, are asked from the other, and go: links, namespaces, routes, rules, entries, connections and
// tables of addresses are as they were afterwards. A round is one task.
import { goThroughCycles } from '../../dist/test/netns/cycles.js';

export async function run({ rounds, say }) {
  const { answered, differences, connections } = await goThroughCycles(rounds, round => {
    if (round % 100 === 0) say(`${round} of ${rounds}`);
  });
  for (const line of differences.slice(0, 20)) say(line);
  if (connections > 0) say(`${connections} connections to tasks that are gone`);
  const failed = rounds - answered + differences.length + connections;
  return { passed: answered, failed };
}
