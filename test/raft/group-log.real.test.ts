/** The whole thing on this machine's disk: storage threads, locks, real timers, kill and restart. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Clock } from '../../src/host.js';
import { bootstrapGroup, recoverGroup } from '../../src/raft/bootstrap.js';
import type { PeerId } from '../../src/raft/core/types.js';
import { type GroupLog, openGroupLog } from '../../src/raft/group-log.js';
import { clearKeyring, type Keyring } from '../../src/raft/storage/keyring.js';
import { openStorageClient } from '../../src/raft/storage/storage-client.js';
import { storageDefaults } from '../../src/raft/storage/storage-server.js';
import { encodeForWal } from '../../src/raft/storage/wal-types.js';
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
  const restore = (bytes: Uint8Array) => {
    entries = JSON.parse(Buffer.from(bytes).toString());
  };
  return {
    entries: () => entries,
    restore,
    restoreSteps: function* (bytes: Uint8Array): Generator<undefined, undefined> {
      yield;
      restore(bytes);
    },
    apply: (_: number, entry: Uint8Array) => {
      entries.push(Buffer.from(entry).toString());
    },
    snapshot: encode,
    snapshotPieces: () => [encode()],
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

t.test('one survivor of a lost majority goes on alone, with everything that its log holds', async t => {
  await inFolder(async root => {
    const group = await openGroup(root);
    // On a loaded machine the leader may change under way: what was not committed is proposed again.
    let leader = await group.leader();
    for (let done = 0; done < 700; leader = await group.leader()) {
      const rest = Array.from({ length: 700 - done }, (_, place) => leader.propose(Buffer.from(`entry ${place}`)));
      done += (await Promise.all(rest)).filter(({ kind }) => kind === 'committed').length;
    }
    const follower = [...group.logs.values()].find(log => log !== leader)!;
    while ((await follower.read()).kind !== 'ready') await clock.sleep(10, new AbortController().signal);
    const known = [...(group.machines.get(follower.status().id)?.entries() ?? [])];
    const term = follower.status().term;
    const { id } = follower.status();
    await group.close();

    const machine = listMachine();
    const from = settings(root, id);
    const to = { ...settings(root, 77), identity: { cluster: 'c', node: 77 } };
    const recovery = { from, to, workerFile, machine, lastEntry: () => Buffer.from('alone') };
    const recovered = await recoverGroup(recovery);
    t.match(recovered, { uncommitted: 0, members: 3 });
    await t.rejects(recoverGroup({ ...recovery, machine: listMachine() }), { code: 'already-in-cluster' });

    const found = listMachine();
    await using alone = await openGroupLog({
      id: 77,
      storage: to,
      workerFile,
      transport: createMemoryNetwork(call => setImmediate(call)).transportOf(77),
      machine: found,
      clock,
      random: { bytes: size => new Uint8Array(size), fraction: Math.random },
      tickMs: 10,
      nameOf: String,
      onEvent: () => undefined,
    });
    while (alone.status().role !== 'leader') await clock.sleep(10, new AbortController().signal);
    t.match(await alone.propose(Buffer.from('after')), { kind: 'committed' });
    t.ok(known.length >= 700, `${known.length} entries were applied`);
    t.strictSame(found.entries().slice(0, known.length), known);
    t.strictSame(found.entries().slice(-2), ['alone', 'after']);
    t.ok(alone.status().term > term + 1_000_000, 'what agents have seen of older leaders is older');
    t.ok(alone.status().applied > recovered.index, 'versions go on rising');
  });
});

t.test('what was not known to be committed is kept: somebody may have been told that it was', async t => {
  await inFolder(async root => {
    const client = await openStorageClient(settings(root, 2), workerFile);
    const done = new Promise<void>(resolve => client.listen({ onReply: () => resolve(), onDeath: () => resolve() }));
    const entry = { kind: 'normal', version: 1, term: 1, index: 2, data: Buffer.from('tail') } as const;
    client.post({ id: 1, kind: 'append', batch: encodeForWal({ entries: [entry] }, true) });
    await done;
    await client[Symbol.asyncDispose]();
    const machine = listMachine();
    const to = { ...settings(root, 78), identity: { cluster: 'c', node: 78 } };
    const lastEntry = () => Buffer.from('alone');
    t.match(await recoverGroup({ from: settings(root, 2), to, workerFile, machine, lastEntry }), {
      index: 2,
      uncommitted: 1,
    });
    t.strictSame(machine.entries(), ['tail', 'alone']);
  });
});

t.test('a manager that had not caught up refuses to be the survivor', async t => {
  await inFolder(async root => {
    const from = settings(root, 5);
    const recovery = {
      from,
      to: settings(root, 6),
      workerFile,
      machine: listMachine(),
      lastEntry: () => Buffer.from('x'),
    };
    await t.rejects(recoverGroup(recovery), { code: 'state-damaged', state: /had not caught up/ });
  });
});
