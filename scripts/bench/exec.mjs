// Two nodes: a program run in a task of the other node, as the whole command that people type, and as the call alone. Beside
// the time on the clock the processor time of the command: it hardly depends on what else the machine does.
import * as fs from 'node:fs';
import { openDevCluster, sleeperSpec, timeCreate } from './dev-cluster.mjs';
import { metric } from './stats.mjs';

const rounds = 40;

export async function* metrics({ signal, say }) {
  await using cluster = await openDevCluster({ name: 'bx', workers: 1, signal });
  say('two nodes up');
  await timeCreate(cluster, sleeperSpec('far', 2), 2);
  const { tasks, nodes } = await cluster.control.listTasks(
    { tasks: [], service: 'far', node: '', stack: '', current: true },
    { signal },
  );
  const task = tasks.find(({ nodeId }) => nodes[nodeId] === cluster.nodes[1].name);
  if (task === undefined) throw new Error('Cannot measure: no task is on the other node');
  const place = `far.${task.slot}`;

  const commands = [];
  let cpuMs = 0;
  for (let round = 0; round <= rounds && !signal.aborted; round += 1) {
    const begin = performance.now();
    const before = childrenCpuMs();
    cluster.covey(1, 'exec', place, 'true');
    commands.push(performance.now() - begin);
    if (round > 0) cpuMs += childrenCpuMs() - before;
  }
  yield metric('exec_ms', 'ms', commands.slice(1)); // the first opens the connection
  yield { metric: 'exec_cpu_ms', unit: 'ms', value: cpuMs / (commands.length - 1) };

  const calls = [];
  for (let round = 0; round <= rounds && !signal.aborted; round += 1) {
    const begin = performance.now();
    await execOnce(cluster, place);
    calls.push(performance.now() - begin);
  }
  yield metric('exec_call_ms', 'ms', calls.slice(1));
  const versions = [];
  for (let round = 0; round < rounds && !signal.aborted; round += 1) {
    const begin = performance.now();
    cluster.covey(1, 'version');
    versions.push(performance.now() - begin);
  }
  yield metric('cli_version_ms', 'ms', versions);
}

/** Of all children that have ended, in steps of 10 ms: a sum of many is right. */
function childrenCpuMs() {
  const fields = fs.readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

async function execOnce({ control, signal }, place) {
  const call = control.exec({ signal });
  const plain = { container: '', env: [], workingDir: '', user: '', tty: false, stdin: false, detach: false };
  await call.send({ body: { kind: 'exec', taskId: place, args: ['true'], ...plain } });
  for await (const { body } of call) {
    if (body.kind !== 'end') continue;
    if (body.exitCode !== 0) throw new Error(`Cannot exec: ${JSON.stringify(body)}`);
    call.end();
    return;
  }
}
