/** The whole thing on this machine's disk: storage threads, locks, real timers, kill and restart. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Clock } from '../../src/host.js';
import type { PeerId } from '../../src/raft/core/types.js';
import { bootstrapGroup, type GroupLog, openGroupLog } from '../../src/raft/group-log.js';
import { clearKeyring, type Keyring } from '../../src/raft/storage/keyring.js';
import { storageDefaults } from '../../src/raft/storage/storage-server.js';
import { createMemoryNetwork } from '../../src/raft/transport.js';

const workerFile = new URL('../../src/raft/storage/wal-worker.js', import.meta.url);
const members: readonly PeerId[] = [1, 2, 3];
const confState = { voters: members, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

const clock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: ms => new Promise(resolve => setTimeout(resolve, ms)),
  after(ms, call) {
    const timer = setTimeout(call, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Keeps every entry. */
function listMachine() {
  let entries: string[] = [];
  const encode = () => Buffer.from(JSON.stringify(entries));
  return {
    entries: () => entries,
    apply: (_: number, entry: Uint8Array) => {
      entries.push(Buffer.from(entry).toString());
    },
    snapshot: encode,
    snapshotPieces: () => [encode()],
    restore: (bytes: Uint8Array) => {
      entries = JSON.parse(Buffer.from(bytes).toString());
    },
  };
}

function settings(root: string, node: PeerId, keyring: Keyring = clearKeyring) {
  return {
    ...storageDefaults,
    segmentBytes: 256 * 1024,
    folder: join(root, String(node)),
    identity: { cluster: 'c', node },
    keyring,
  };
}

async function openGroup(root: string, keyring = clearKeyring) {
  const network = createMemoryNetwork(call => setImmediate(call));
  const logs = new Map<PeerId, GroupLog>();
  const machines = new Map<PeerId, ReturnType<typeof listMachine>>();
  for (const id of members) {
    const machine = listMachine();
    const log = await openGroupLog({
      id,
      storage: settings(root, id, keyring),
      workerFile,
      transport: network.transportOf(id),
      machine,
      clock,
      random: { bytes: size => new Uint8Array(size), fraction: Math.random },
      limits: { snapshotEntries: 500, keepEntries: 100 },
      tickMs: 10,
      nameOf: id => `manager-${id}`,
      onEvent: () => undefined,
    });
    network.join(id, log.arrivals);
    logs.set(id, log);
    machines.set(id, machine);
  }
  const leader = async (): Promise<GroupLog> => {
    for (;;) {
      const found = [...logs.values()].find(log => log.status().role === 'leader');
      if (found && (await found.read()).kind === 'ready') return found;
      await clock.sleep(10, new AbortController().signal);
    }
  };
  return {
    logs,
    machines,
    leader,
    async close() {
      for (const log of logs.values()) await log[Symbol.asyncDispose]();
    },
  };
}

async function inFolder(work: (root: string) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'covey-group-log-'));
  try {
    for (const id of members)
      await bootstrapGroup(settings(root, id), workerFile, { confState, content: Buffer.from('[]') });
    await work(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

t.test('three members on real disks: proposals, snapshots, restart, all is there', async t => {
  await inFolder(async root => {
    const group = await openGroup(root);
    const leader = await group.leader();
    const outcomes = await Promise.all(
      Array.from({ length: 1200 }, (_, place) => leader.propose(Buffer.from(`entry ${place}`))),
    );
    t.ok(outcomes.every(({ kind }) => kind === 'committed'));
    const follower = [...group.logs.values()].find(log => log !== leader)!;
    t.match(await follower.propose(Buffer.from('x')), { kind: 'not-leader', leaderId: /^manager-/ });
    t.match(await follower.read(), { kind: 'ready' });
    const stats = await leader.storageStats();
    t.ok(stats.syncs < 600, `1,200 proposals at once took ${stats.syncs} syncs`);
    await group.close();
    t.ok(readdirSync(join(root, '1', 'snap')).length > 0, 'a snapshot was taken');

    const again = await openGroup(root);
    await (await again.leader()).read();
    for (const log of again.logs.values()) t.match(await log.read(), { kind: 'ready' });
    for (const machine of again.machines.values()) t.equal(machine.entries().length, 1200);
    await again.close();
  });
});

t.test('a changed key writes from now on; the old one is needed no more after the next snapshot', async t => {
  await inFolder(async root => {
    const old: Keyring = { currentId: 1, keys: new Map([[1, new Uint8Array(32).fill(1)]]) };
    const both: Keyring = { currentId: 2, keys: new Map([...old.keys, [2, new Uint8Array(32).fill(2)]]) };
    const group = await openGroup(root, old);
    const leader = await group.leader();
    await leader.propose(Buffer.from('under the old key'));
    await leader.setKeyring(both);
    for (let round = 0; round < 3; round += 1)
      await Promise.all(Array.from({ length: 501 }, (_, place) => leader.propose(Buffer.from(`${round}.${place}`))));
    let { keysInUse } = await leader.storageStats();
    for (let tries = 0; tries < 200 && keysInUse.includes(1); tries += 1) {
      await clock.sleep(10, new AbortController().signal);
      ({ keysInUse } = await leader.storageStats());
    }
    t.strictSame(keysInUse, [2]);
    await group.close();
  });
});

t.test('a folder that is in use is refused, and free again when its owner ends', async t => {
  await inFolder(async root => {
    const group = await openGroup(root);
    await t.rejects(bootstrapGroup(settings(root, 1), workerFile, { confState, content: Buffer.from('[]') }), {
      code: 'daemon-running',
      state: /lock/,
    });
    await group.close();
    await t.rejects(bootstrapGroup(settings(root, 1), workerFile, { confState, content: Buffer.from('[]') }), {
      code: 'already-in-cluster',
    });
  });
});

t.test('the log of another member is refused by name', async t => {
  await inFolder(async root => {
    const foreign = { ...settings(root, 1), identity: { cluster: 'c', node: 2 } };
    await t.rejects(bootstrapGroup(foreign, workerFile, { confState, content: Buffer.from('[]') }), {
      code: 'log-foreign',
      state: /member 1.*member 2/,
    });
  });
});
