// Three members of one group in this process, each with its own log on this disk and its own storage thread, joined by
// the in-memory transport: proposals of 256 bytes per second with 256 in flight, latency with one in flight, fsyncs, and what
// sealing the records costs.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { metric } from './stats.mjs';

const source = name => import(new URL(`../../dist/src/raft/${name}.js`, import.meta.url));
const payload = Buffer.alloc(256, 'covey ');
const rounds = 5;
const roundMs = 2_000;
const costRounds = 9;

export async function* metrics({ signal }) {
  yield* cost({ signal });
  const group = await openGroup({ sealed: true });
  try {
    await drive(group, { inFlight: 256, ms: 1_500, signal });
    const rates = [];
    const fsyncs = [];
    for (let round = 0; round < rounds && !signal?.aborted; round += 1) {
      const before = await group.syncs();
      const { done, elapsedMs } = await drive(group, { inFlight: 256, ms: roundMs, signal });
      rates.push((done / elapsedMs) * 1_000);
      fsyncs.push((((await group.syncs()) - before) / done) * 1_000);
    }
    yield metric('raft_3_inflight256_per_s', '/s', rates);
    yield metric('raft_fsyncs', '/1000', fsyncs);
    const p50s = [];
    for (let round = 0; round < rounds && !signal?.aborted; round += 1) {
      const { latencies } = await drive(group, { inFlight: 1, ms: roundMs, signal });
      latencies.sort((a, b) => a - b);
      p50s.push(latencies[latencies.length >> 1]);
    }
    yield metric('raft_3_c1_p50_ms', 'ms', p50s);
  } finally {
    await group.close();
  }
}

/** CPU milliseconds of all threads for 1,000 proposals, and how many times as many with sealed records as with clear ones. */
async function* cost({ signal }) {
  const groups = [await openGroup({ sealed: false }), await openGroup({ sealed: true })];
  try {
    for (const group of groups) await drive(group, { inFlight: 256, ms: 1_500, signal });
    const cpuMs = [];
    const ratios = [];
    for (let round = 0; round < costRounds && !signal?.aborted; round += 1) {
      const used = [];
      for (const group of groups) {
        const before = process.cpuUsage();
        const { done } = await drive(group, { inFlight: 256, ms: roundMs, signal });
        const { user, system } = process.cpuUsage(before);
        used.push((user + system) / done);
      }
      cpuMs.push(used[1]);
      ratios.push(used[1] / used[0]);
    }
    yield metric('raft_cpu_ms', 'ms/1000', cpuMs);
    yield metric('raft_sealed_cpu_ratio', '', ratios);
  } finally {
    for (const group of groups) await group.close();
  }
}

/** The group with its leader. `syncs` is the number of fsyncs of all three members so far. */
async function openGroup({ sealed }) {
  const [{ openGroupLog }, { bootstrapGroup }, { createMemoryNetwork }, { storageDefaults }] = await Promise.all([
    source('group-log'),
    source('bootstrap'),
    source('transport'),
    source('storage/storage-server'),
  ]);
  const root = mkdtempSync(join(tmpdir(), 'covey-bench-raft-'));
  const workerFile = new URL('../../dist/src/raft/storage/wal-worker.js', import.meta.url);
  const network = createMemoryNetwork(call => setImmediate(call));
  const ids = [1, 2, 3];
  const confState = { voters: ids, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  const logs = new Map();
  for (const id of ids) {
    const storage = {
      folder: join(root, String(id)),
      identity: { cluster: 'bench', node: id },
      keyring: sealed
        ? { currentId: 1, keys: new Map([[1, Buffer.alloc(32, id)]]) }
        : { currentId: 0, keys: new Map() },
      ...storageDefaults,
    };
    await bootstrapGroup(storage, workerFile, { confState, content: Buffer.from('0') });
    const log = await openGroupLog({
      id,
      storage,
      workerFile,
      transport: network.transportOf(id),
      machine: countingMachine(),
      clock,
      random: { fraction: Math.random },
      nameOf: String,
      onEvent: event => event.kind === 'failed' && console.error(event.error),
    });
    logs.set(id, log);
    network.join(id, log.arrivals);
  }
  let leader;
  while (!leader) {
    await new Promise(resolve => setTimeout(resolve, 50));
    leader = [...logs.values()].find(log => log.status().role === 'leader');
  }
  return {
    leader,
    async syncs() {
      const all = await Promise.all([...logs.values()].map(log => log.storageStats()));
      return all.reduce((sum, stats) => sum + stats.syncs, 0);
    },
    async close() {
      for (const log of logs.values()) await log[Symbol.asyncDispose]();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** Keeps so many proposals in flight for so long; all have to be committed. */
async function drive({ leader }, { inFlight, ms, signal }) {
  const begin = performance.now();
  const latencies = [];
  const one = async () => {
    while (performance.now() - begin < ms && !signal?.aborted) {
      const from = performance.now();
      const outcome = await leader.propose(payload);
      if (outcome.kind !== 'committed') throw new Error(`a proposal was ${JSON.stringify(outcome)}`);
      latencies.push(performance.now() - from);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  return { done: latencies.length, elapsedMs: performance.now() - begin, latencies };
}

const clock = {
  monotonicMs: () => performance.now(),
  after(ms, call) {
    const timer = setTimeout(call, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Counts what it applies. */
function countingMachine() {
  let count = 0;
  return {
    apply: () => {
      count += 1;
    },
    snapshotPieces: () => [Buffer.from(String(count))],
    restoreSteps: bytes => {
      count = Number(bytes.toString());
      return [].values();
    },
  };
}
