// Managers: services created a second, asked at the leader's socket (the services have no tasks: what is measured is the way of a
// change through Control, store and Raft group to all disks); then failover, puts beside etcd's, and a thousand agents on one
// leader, each of which is a group of its own too.
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec } from './dev-cluster.mjs';
import { agents } from './managers-agents.mjs';
import { failovers } from './managers-failover.mjs';
import { leaderOf } from './managers-leader.mjs';
import { puts } from './managers-puts.mjs';
import { metric } from './stats.mjs';

const rounds = 5;
const roundMs = 3_000;

export async function* metrics(options) {
  for (const part of [creates, failovers, puts, agents]) yield* part(options);
}

export async function* creates({ signal, say }) {
  for (const managers of [1, 3]) {
    await using cluster = await openDevCluster({ name: 'bm', managers, workers: 0, signal });
    say(`${managers} managers up`);
    const suffix = managers === 1 ? '_1_manager' : '';
    yield metric(`creates_c1${suffix}_per_s`, '/s', await createRates(cluster, 1, signal));
    yield metric(`creates_c64${suffix}_per_s`, '/s', await createRates(cluster, 64, signal));
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
