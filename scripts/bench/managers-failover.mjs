// How long a cluster of three managers is without an acknowledged change when the daemon of its leader is killed with -9, asked
// of another manager all the time; and etcd's three members in the same way, by turns.
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec } from './dev-cluster.mjs';
import { leaderOf, untilAllBack } from './managers-leader.mjs';
import { hasEtcd, openEtcd } from './peer-etcd.mjs';
import { metric } from './stats.mjs';

const kills = 20;
const limitMs = 30_000;

export async function* failovers({ signal, say }) {
  await using cluster = await openDevCluster({ name: 'bf', managers: 3, workers: 0, signal });
  await using etcd = hasEtcd ? await openEtcd({ signal }) : undefined;
  if (!hasEtcd) say('no etcd here to compare with (apt-get install etcd-server)');
  const samples = [];
  const theirs = etcd && [];
  for (let round = 1; round <= kills && !signal.aborted; round += 1) {
    samples.push(await killOurs(cluster, round, signal));
    if (etcd) theirs.push(await killTheirs(etcd, round, signal));
    if (round % 5 === 0) say(`${round} of ${kills} leaders killed`);
  }
  yield metric('failover_p50_s', 's', samples, theirs);
  const [max, peer] = [Math.max(...samples), theirs && Math.max(...theirs)];
  yield { ...metric('failover_max_s', 's', samples, theirs), value: max, ...(theirs && { peer, ratio: max / peer }) };
}

/** At another phase of the beats each time. */
const phaseMs = round => 300 + 40 * round;

async function killOurs(cluster, round, signal) {
  const leader = await leaderOf(cluster, 1, signal);
  const other = (leader % cluster.nodes.length) + 1;
  const control = cluster.controlOf(other);
  await sleep(phaseMs(round));
  const { nodes } = JSON.parse(cluster.run('status'));
  const begin = performance.now();
  process.kill(nodes[leader - 1].pid, 'SIGKILL');
  await untilDone(begin, signal, attempt =>
    control.createService({ spec: sleeperSpec(`f${round}-${attempt}`, 0) }, { signal, timeoutMs: 10_000 }),
  );
  const seconds = (performance.now() - begin) / 1_000;
  cluster.run('start', String(leader));
  await untilAllBack(cluster, other, signal);
  return seconds;
}

/** A put to a member that knows no leader waits for long: it is given up and asked again. */
const giveUpMs = 200;

async function killTheirs(etcd, round, signal) {
  const leader = await etcd.leader();
  const other = (leader % 3) + 1;
  await sleep(phaseMs(round));
  const begin = performance.now();
  etcd.kill(leader);
  await untilDone(begin, signal, attempt => etcd.put(other, `f${round}-${attempt}`, Buffer.alloc(256), giveUpMs));
  const seconds = (performance.now() - begin) / 1_000;
  etcd.start(leader);
  await etcd.leader();
  await sleep(1_000);
  return seconds;
}

async function untilDone(begin, signal, ask) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask(attempt);
    } catch (error) {
      if (signal.aborted || performance.now() - begin > limitMs) throw error;
      await sleep(5);
    }
  }
}
