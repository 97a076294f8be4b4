// Three managers and a worker on a machine whose cores are all busy and whose disk is written to all the time: nobody is elected,
// nobody is taken for lost, and a change is acknowledged all the same. A round is a minute. core.mjs does the same on one core.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster } from '../../dist/test/cluster/dev-cluster.js';

const roundMs = 60_000;
const lookMs = 2_000;
const signs = /\b(leads|node lost|gave leadership away)\b/;
/** A node that gets no answer for a second calls again: nothing is lost by it, but it is worth a number. */
const renewed = /\bsession lost\b/;

export async function run({ rounds, say, name = 'tld' }) {
  const ends = [];
  const counts = { passed: 0, failed: 0, changes: 0, slowestMs: 0, sessionsOpenedAgain: 0 };
  try {
    const cluster = openDevCluster({ teardown: end => ends.unshift(end) }, { name, managers: 3, workers: 1 });
    cluster.must(1, 'service', 'create', '--name', 'web', '--replicas', '4', 'hello:1', 'sleep', '100000');
    let seen = linesOf(cluster, signs).length;
    ends.unshift(load(dirname(cluster.node(1).dataDir)));
    for (let round = 1; round <= rounds; round += 1) {
      const told = [];
      for (const end = performance.now() + roundMs; performance.now() < end; ) {
        const { ms, status, stderr } = change(cluster, counts.changes);
        counts.changes += 1;
        counts.slowestMs = Math.max(counts.slowestMs, Math.round(ms));
        if (status !== 0) told.push(`a change was not acknowledged: ${stderr.trim()}`);
        await sleep(lookMs);
      }
      const lines = linesOf(cluster, signs);
      counts.sessionsOpenedAgain = linesOf(cluster, renewed).length;
      told.push(...lines.slice(seen));
      seen = lines.length;
      if (told.length === 0) counts.passed += 1;
      else counts.failed += 1;
      say(`minute ${round}: ${counts.changes} changes, the slowest took ${counts.slowestMs} ms\n${told.join('\n')}`);
    }
  } finally {
    for (const end of ends) end();
  }
  return counts;
}

function change(cluster, number) {
  return cluster.covey((number % 3) + 1, 'service', 'update', '-d', '--label-add', `n=${number}`, 'web');
}

function linesOf(cluster, wanted) {
  return cluster.nodes.flatMap(({ log, name }) =>
    fs
      .readFileSync(log, 'utf8')
      .split('\n')
      .filter(line => wanted.test(line))
      .map(line => `${name}: ${line}`),
  );
}

/** A loop at normal priority for each core, and a writer beside the data directories that syncs each 64 KiB. Returns its end. */
function load(beside) {
  const folder = fs.mkdtempSync(join(beside, 'load-'));
  const write = [
    '-c',
    'while :; do dd if=/dev/zero of="$0" bs=64k count=256 oflag=dsync status=none; done',
    `${folder}/f`,
  ];
  const children = [
    ...Array.from({ length: availableParallelism() }, () => spawn('sh', ['-c', 'while :; do :; done'])),
    spawn('sh', write),
  ];
  return () => {
    for (const child of children) child.kill('SIGKILL');
    fs.rmSync(folder, { recursive: true, force: true });
  };
}
