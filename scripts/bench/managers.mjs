// Three managers: services created a second, asked of the leader's socket and of a follower's, and how long a cluster is without
// an acknowledged change when the daemon of its leader is killed. The services have no tasks: what is measured is the way of a
// change through Control, store and Raft group to all disks.
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec } from './dev-cluster.mjs';
import { metric } from './stats.mjs';

const rounds = 5;
const roundMs = 3_000;
const kills = 20;

export async function* metrics({ signal, say }) {
  for (const managers of [1, 3]) {
    await using cluster = await openDevCluster({ name: 'bm', managers, workers: 0, signal });
    say(`${managers} managers up`);
    const suffix = managers === 1 ? '_1_manager' : '';
    yield metric(`creates_c1${suffix}_per_s`, '/s', await createRates(cluster, 1, signal));
    yield metric(`creates_c64${suffix}_per_s`, '/s', await createRates(cluster, 64, signal));
    if (managers === 1) continue;
    const samples = await failovers(cluster, signal, say);
    yield metric('failover_p50_s', 's', samples);
    yield { ...metric('failover_max_s', 's', samples), value: Math.max(...samples) };
  }
}

let made = 0;

/** Each service is removed again between the rounds. */
async function createRates(cluster, inFlight, signal) {
  const leader = cluster.controlOf(await leaderOf(cluster, 1, signal));
  const rates = [];
  for (let round = 0; round <= rounds && !signal.aborted; round += 1) {
    const names = [];
    const begin = performance.now();
    const one = async () => {
      while (performance.now() - begin < roundMs) {
        made += 1;
        const name = `s${made}`;
        names.push(name);
        await leader.createService({ spec: sleeperSpec(name, 0) }, { signal, timeoutMs: 20_000 });
      }
    };
    await Promise.all(Array.from({ length: inFlight }, one));
    // The first round warms up.
    if (round > 0) rates.push((names.length / (performance.now() - begin)) * 1_000);
    await inTurns(names, object => leader.removeService({ object }, { signal, timeoutMs: 20_000 }));
    await untilEmpty(leader, signal);
  }
  return rates;
}

async function inTurns(items, work) {
  const rest = [...items];
  const one = async () => {
    for (let item = rest.pop(); item !== undefined; item = rest.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: 32 }, one));
}

async function untilEmpty(control, signal) {
  for (;;) {
    const { services } = await control.listServices({ objects: [], stack: '' }, { signal, timeoutMs: 20_000 });
    if (services.length === 0) return;
    await sleep(50);
  }
}

/** Index of the node that leads, as node `asked` sees it. */
async function leaderOf(cluster, asked, signal) {
  for (;;) {
    try {
      const answer = await cluster.controlOf(asked).listNodes({ objects: [], stack: '' }, { signal, timeoutMs: 5_000 });
      const leader = answer.nodes.find(node => node.id === answer.leaderId);
      const index = cluster.nodes.findIndex(node => node.name === leader?.spec.name);
      if (index >= 0) return index + 1;
    } catch (error) {
      if (signal.aborted) throw error;
    }
    await sleep(50);
  }
}

/** From kill -9 of the leader's daemon to the end of the next create that succeeds, asked of another manager all the time. */
async function failovers(cluster, signal, say) {
  const samples = [];
  for (let round = 1; round <= kills && !signal.aborted; round += 1) {
    const leader = await leaderOf(cluster, 1, signal);
    const other = (leader % cluster.nodes.length) + 1;
    const control = cluster.controlOf(other);
    await sleep(300 + 40 * round);
    const { nodes } = JSON.parse(cluster.run('status'));
    const begin = performance.now();
    process.kill(nodes[leader - 1].pid, 'SIGKILL');
    for (;;) {
      try {
        made += 1;
        await control.createService({ spec: sleeperSpec(`f${made}`, 0) }, { signal, timeoutMs: 10_000 });
        break;
      } catch (error) {
        if (signal.aborted || performance.now() - begin > 30_000) throw error;
      }
    }
    samples.push((performance.now() - begin) / 1_000);
    cluster.run('start', String(leader));
    await untilAllBack(cluster, other, signal);
    if (round % 5 === 0) say(`${round} of ${kills} leaders killed`);
  }
  return samples;
}

async function untilAllBack(cluster, asked, signal) {
  for (const index of cluster.nodes.keys()) await leaderOf(cluster, index + 1, signal);
  for (;;) {
    const { nodes } = await cluster
      .controlOf(asked)
      .listNodes({ objects: [], stack: '' }, { signal, timeoutMs: 10_000 });
    if (nodes.every(node => node.status.state === 'ready')) break;
    await sleep(50);
  }
  await sleep(1_000);
}
