// Puts of 256 bytes through the logs of three real daemons, beside etcd's with three members: the same grpc-js client with 64
// calls in flight at the leader, in rounds by turns, with the CPU seconds of all servers per 1,000 puts.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { openDevCluster } from './dev-cluster.mjs';
import { leaderOf } from './managers-leader.mjs';
import { hasEtcd, openEtcd } from './peer-etcd.mjs';
import { median, metric } from './stats.mjs';

const rounds = 5;
const roundMs = 4_000;
const inFlight = 64;
const keys = 100_000;
const ticksPerSecond = 100;

export async function* puts({ signal, say }) {
  await using cluster = await openDevCluster({ name: 'bp', managers: 3, workers: 0, flags: '--bench yes', signal });
  const leader = await leaderOf(cluster, 1, signal);
  const bench = cluster.benchOf(leader);
  const ours = {
    pids: cluster.nodes.map(({ pid }) => pid),
    put: (key, value) => bench.put({ key, value }, { signal, timeoutMs: 20_000 }),
  };
  if (!hasEtcd) {
    say('no etcd here to compare with (apt-get install etcd-server)');
    yield* report(await measure([ours], signal));
    return;
  }
  await using etcd = await openEtcd({ signal });
  const theirLeader = await etcd.leader();
  const theirs = { pids: etcd.pids, put: (key, value) => etcd.put(theirLeader, key, value) };
  say('three daemons and three members of etcd are up');
  yield* report(await measure([ours, theirs], signal));
}

function* report([ours, theirs]) {
  yield metric('puts_c64_per_s', '/s', ours.rates, theirs?.rates);
  yield metric('puts_c64_cpu_s_per_1000', 's', ours.costs, theirs?.costs);
  if (theirs === undefined) return;
  // Of each pair of rounds, one after the other.
  const ratios = ours.rates.map((rate, at) => rate / theirs.rates[at]);
  yield { metric: 'puts_c64_ratio', value: median(ratios), unit: '', samples: ratios };
}

async function measure(sides, signal) {
  const found = sides.map(() => ({ rates: [], costs: [] }));
  for (let round = 0; round <= rounds && !signal.aborted; round += 1) {
    for (const [at, side] of sides.entries()) {
      const cpuBefore = cpuSeconds(side.pids);
      const begin = performance.now();
      const count = await putAll(side, begin);
      const seconds = (performance.now() - begin) / 1_000;
      // The first round warms up.
      if (round === 0) continue;
      found[at].rates.push(count / seconds);
      found[at].costs.push(((cpuSeconds(side.pids) - cpuBefore) / count) * 1_000);
    }
  }
  return found;
}

async function putAll({ put }, begin) {
  const value = randomBytes(256);
  let count = 0;
  const one = async () => {
    while (performance.now() - begin < roundMs) {
      await put(String(Math.floor(Math.random() * keys)).padStart(8, '0'), value);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  return count;
}

/** Of processes, with all their threads. */
export function cpuSeconds(pids) {
  const ticks = pids.map(pid => {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, one) => sum + one, 0) / ticksPerSecond;
}
