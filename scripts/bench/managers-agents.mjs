// A thousand nodes on one leader: each with its certificate, TLS connection, session and heartbeats as a real one's (the code of
// the session itself), all in another process, without tasks. Processor time and memory of the leader's daemon, at rest.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openDevCluster } from './dev-cluster.mjs';
import { cpuSeconds } from './managers-puts.mjs';
import { metric } from './stats.mjs';

const count = 1_000;
const windows = 5;
const windowMs = 5_000;
const restMs = 10_000;
const child = join(dirname(fileURLToPath(import.meta.url)), 'managers-agents-child.mjs');

export async function* agents({ signal, say }) {
  await using cluster = await openDevCluster({ name: 'ba', managers: 1, workers: 0, signal });
  const [node] = cluster.nodes;
  const token = cluster.covey(1, 'token', 'worker', '-q').trim();
  const began = performance.now();
  await using fleet = openFleet([`${node.address}:7377`, token, String(count)], signal);
  await fleet.connected;
  say(`${count} agents connected after ${((performance.now() - began) / 1_000).toFixed(1)} s`);
  await sleep(restMs);
  const shares = [];
  const sizes = [];
  for (let window = 0; window < windows && !signal.aborted; window += 1) {
    const before = cpuSeconds([node.pid]);
    const begin = performance.now();
    await sleep(windowMs);
    shares.push(((cpuSeconds([node.pid]) - before) / (performance.now() - begin)) * 100_000);
    sizes.push(residentMib(node.pid));
  }
  const { nodes } = await cluster.control.listNodes({ objects: [], stack: '' }, { signal, timeoutMs: 10_000 });
  const ready = nodes.filter(({ status }) => status.state === 'ready').length;
  if (ready !== count + 1) throw new Error(`Cannot measure ${count} agents: ${ready - 1} of them are ready`);
  yield metric('agents_1000_cpu_pct', '%', shares);
  yield metric('agents_1000_mib', 'MiB', sizes);
}

/** ADDRESS TOKEN COUNT; `connected` resolves when all have a session. */
export function openFleet(argv, signal) {
  const fleet = spawn(process.execPath, [child, ...argv], { stdio: ['ignore', 'pipe', 'inherit'], signal });
  const ended = new Promise(resolve => fleet.once('exit', resolve));
  fleet.once('error', () => undefined);
  const connected = new Promise((resolve, reject) => {
    createInterface(fleet.stdout).on('line', line => line === 'connected' && resolve());
    void ended.then(code => reject(new Error(`Cannot go on: the agents have ended with exit code ${code}`)));
  });
  return {
    connected,
    [Symbol.asyncDispose]: async () => {
      fleet.kill('SIGKILL');
      await ended;
    },
  };
}

function residentMib(pid) {
  const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1_024;
}
