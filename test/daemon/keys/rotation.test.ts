/**
 * A manager's keys change while its log runs, and the machine dies at every single step of it: what was acknowledged is there
 * again with the keys on disk, and the next start ends what was begun.
 */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { careOnce, planCare } from '../../../src/daemon/keys/care.js';
import { type KeyKeeper, openKeyKeeper } from '../../../src/daemon/keys/keeper.js';
import { renderUnlockKey, unlockKeyId } from '../../../src/daemon/keys/unlock-key.js';
import { CoveyError } from '../../../src/errors.js';
import type { Cluster } from '../../../src/gen/types.js';
import type { Entry } from '../../../src/raft/core/types.js';
import type { StorageStats, StorageWork } from '../../../src/raft/storage/storage-protocol.js';
import { openStorage, type StorageServer } from '../../../src/raft/storage/storage-server.js';
import { encodeForWal } from '../../../src/raft/storage/wal-types.js';
import { createRandom } from '../../raft/sim/random.js';
import { SimDisk } from '../../raft/sim/sim-disk.js';
import { silent } from '../node-fixtures.js';

class Killed extends Error {}

/** Files in memory and a disk, both of which stop at the given step. */
function openMachine(seed: number) {
  const random = createRandom(seed, 'rotation');
  const files = new Map<string, string>();
  const world = { left: Number.POSITIVE_INFINITY, steps: 0 };
  const step = (): void => {
    world.steps += 1;
    if (world.left <= 0) throw new Killed();
    world.left -= 1;
  };
  const disk = new SimDisk({ random, beforeWrite: step });
  const keeper = (over: { readonly replace?: () => Promise<void> } = {}): KeyKeeper =>
    openKeyKeeper({
      dataDir: '/data',
      clock: { wallMs: () => 1_000 },
      random: { bytes: size => new Uint8Array(randomBytes(size)) },
      files: {
        findText: async path => files.get(path),
        replace: async (path, content) => {
          step();
          files.set(path, String(content));
          step();
        },
        remove: async path => void files.delete(path),
        ...over,
      },
    });
  return { world, files, disk, keeper, crash: () => disk.crash() };
}

type Machine = ReturnType<typeof openMachine>;

let requests = 0;

function ask(server: StorageServer, work: StorageWork): ReturnType<StorageServer['handle']>[number] {
  requests += 1;
  const [reply] = server.handle([{ ...work, id: requests }]);
  if (reply === undefined || reply.kind === 'failed') throw new Killed(reply?.problem.message);
  return reply;
}

const entry = (index: number): Entry => ({
  kind: 'normal',
  version: 1,
  term: 1,
  index,
  data: Buffer.alloc(200, `${index} `),
});

async function start(machine: Machine, keys: KeyKeeper): Promise<StorageServer> {
  return openStorage({
    disk: machine.disk,
    folder: '/data/raft',
    identity: { cluster: 'k3f9xw', node: 7 },
    keyring: await keys.mint(),
    random: size => new Uint8Array(randomBytes(size)),
    segmentBytes: 4096,
    chunkBytes: 512,
    freeBytesMin: 0,
  });
}

/** A log as a member writes it; `last` is the last index that was acknowledged. */
function openLog(server: StorageServer) {
  let last = server.opened.state.entries.at(-1)?.index ?? server.opened.state.marker.index;
  const append = (): void => {
    const batch = encodeForWal({ hardState: { term: 1, vote: 7, commit: last + 1 }, entries: [entry(last + 1)] }, true);
    ask(server, { kind: 'append', batch });
    last += 1;
  };
  const snapshot = (): void => {
    const name = { index: last, term: 1 };
    const confState = { voters: [7], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    ask(server, { kind: 'snapshot-begin', meta: { ...name, confState }, origin: 'own' });
    ask(server, { kind: 'snapshot-chunk', ...name, origin: 'own', offset: 0, bytes: Buffer.alloc(700, 'state ') });
    ask(server, { kind: 'snapshot-finish', ...name, origin: 'own', totalBytes: 700 });
    ask(server, { kind: 'append', batch: encodeForWal({ marker: { ...name, replaces: false }, entries: [] }, true) });
    ask(server, { kind: 'compact', ...name });
  };
  return { server, append, snapshot, last: () => last };
}

/** Steps of care until there is nothing left to do. */
async function careUntilDone(
  machine: Machine,
  {
    keys,
    log,
    unlock,
    hasLeader = true,
  }: {
    readonly keys: KeyKeeper;
    readonly hasLeader?: boolean;
    readonly log: ReturnType<typeof openLog>;
    readonly unlock: Uint8Array | undefined;
  },
): Promise<readonly string[]> {
  const { server } = log;
  const cluster = { unlock: unlock && { key: unlock, madeAtMs: 5, former: [] } } as unknown as Cluster;
  const steps: string[] = [];
  for (let turn = 0; turn < 20; turn += 1) {
    const step = await careOnce({
      keys,
      store: { view: () => ({ list: () => [cluster] }) as never, watch: () => ({ [Symbol.dispose]: () => undefined }) },
      group: {
        storageStats: async (): Promise<StorageStats> => {
          const reply = ask(server, { kind: 'stats' });
          if (reply.kind === 'stats') return reply.stats;
          throw new Error(reply.kind);
        },
        read: async () => (hasLeader ? { kind: 'ready', index: 1 } : { kind: 'no-leader' }),
        setKeyring: async keyring => void ask(server, { kind: 'set-keyring', keyring }),
        renewSnapshot: () => log.snapshot(),
      },
      clock: { wallMs: () => 1_000 } as never,
      log: silent,
      // The private key beside the log: sealed when it is locked, clear when it is not.
      alignIdentity: async () => {
        const isSealed = (await keys.lock()) !== undefined;
        if (machine.files.get('/data/node.pem') === (isSealed ? 'sealed' : 'clear')) return;
        machine.files.set('/data/node.pem', isSealed ? 'sealed' : 'clear');
      },
      onLock: () => undefined,
    });
    if (step !== undefined) steps.push(step);
    if (step === undefined || step === 'catch-up') return steps;
    log.append();
  }
  throw new Error(`no end of it: ${steps.join(' ')}`);
}

const one = new Uint8Array(32).fill(1);
const two = new Uint8Array(32).fill(2);

for (const { title, from, to } of [
  { title: 'autolock turned on', from: undefined, to: one },
  { title: 'the unlock key rotated', from: one, to: two },
  { title: 'autolock turned off', from: one, to: undefined },
]) {
  t.test(`${title}, killed at every step: nothing is lost, and the next start ends it`, async t => {
    const problems: string[] = [];
    let kills = 0;
    for (let at = 0, wasKilled = true; wasKilled; at += 1) {
      const machine = openMachine(at + 1);
      const first = machine.keeper();
      const log = openLog(await start(machine, first));
      for (let count = 0; count < 12; count += 1) log.append();
      await careUntilDone(machine, { keys: first, log, unlock: from });
      machine.world.left = at;
      wasKilled = await isKilled(() => careUntilDone(machine, { keys: first, log, unlock: to }));
      if (wasKilled) kills += 1;
      machine.world.left = Number.POSITIVE_INFINITY;
      machine.crash();
      // The next start, with the key that the file says: whichever of the two that is, a person holds it.
      const keys = machine.keeper();
      const lock = await keys.findLocked();
      const held = [one, two].find(key => unlockKeyId(key) === lock?.keyId);
      if (lock !== undefined) {
        await t.rejects(keys.mint(), { code: 'locked' });
        await keys.unlock(renderUnlockKey(held ?? one));
      }
      const found = openLog(await start(machine, keys));
      if (found.last() < log.last()) problems.push(`step ${at}: ${found.last()} of ${log.last()} entries are there`);
      await careUntilDone(machine, { keys, log: found, unlock: to });
      const { keyId, epoch, keys: all } = await keys.facts();
      if (keyId !== (to && unlockKeyId(to))) problems.push(`step ${at}: locked with ${keyId}`);
      if (all.some(key => key.epoch !== epoch)) problems.push(`step ${at}: something lies under a key of before`);
      const pem = machine.files.get('/data/node.pem');
      if (pem !== (to === undefined ? 'clear' : 'sealed')) problems.push(`step ${at}: the private key is ${pem}`);
    }
    t.same(problems, []);
    t.ok(kills > 10, `killed at ${kills} steps`);
  });
}

async function isKilled(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return false;
  } catch (error) {
    if (error instanceof Killed) return true;
    throw error;
  }
}

t.test('a manager that was away opens with the key that it took last, and is told which that is', async t => {
  const machine = openMachine(1);
  const keys = machine.keeper();
  const log = openLog(await start(machine, keys));
  log.append();
  await careUntilDone(machine, { keys, log, unlock: one });
  const again = machine.keeper();
  await t.rejects(again.unlock(renderUnlockKey(two)), {
    code: 'unlock-key-wrong',
    state: new RegExp(
      `id ${unlockKeyId(one)}, made 1970-01-01 00:00 UTC; the key given has the id ${unlockKeyId(two)}`,
    ),
  });
  t.same(await again.findLocked(), { keyId: unlockKeyId(one), madeAtMs: 5 }, 'a wrong key changes nothing');
  await again.unlock(renderUnlockKey(one));
  t.equal(await again.findLocked(), undefined);
  await careUntilDone(machine, { keys: again, log: openLog(await start(machine, again)), unlock: two });
  t.equal((await again.lock())?.keyId, unlockKeyId(two), 'once it is back, it takes the present one');
});

t.test('what a manager knew before its start is no wish: as long as nobody leads, its lock stays', async t => {
  const machine = openMachine(1);
  const keys = machine.keeper();
  const log = openLog(await start(machine, keys));
  log.append();
  await careUntilDone(machine, { keys, log, unlock: one });
  for (const unlock of [undefined, two]) {
    const steps = await careUntilDone(machine, { keys, log, unlock, hasLeader: false });
    t.same(steps, ['catch-up']);
    t.equal((await keys.lock())?.keyId, unlockKeyId(one));
  }
});

t.test('a full disk is in the way of no start: the keys that are there open the log', async t => {
  const machine = openMachine(1);
  const keys = machine.keeper();
  const ring = await keys.mint();
  const full = machine.keeper({
    replace: async () => {
      throw new CoveyError('no-space', 'Cannot write "/data/keys.json": ENOSPC');
    },
  });
  t.same(await full.mint(), ring);
  machine.files.clear();
  await t.rejects(full.mint(), { code: 'no-space' }, 'with no key at all there is nothing to go on with');
});

t.test('what is to be done about the keys', async t => {
  const key = (id: number, epoch: number, madeAtMs = 0) => ({ id, epoch, madeAtMs });
  const facts = { epoch: 2, keyId: 'aa', keys: [key(4, 2), key(5, 2)] };
  const seen = { facts, wanted: 'aa', inUse: [4, 5], nowMs: 0 };
  const week = 7 * 86_400_000;
  t.equal(planCare(seen), undefined);
  t.equal(planCare({ ...seen, wanted: 'bb' }), 'relock');
  t.equal(planCare({ ...seen, wanted: undefined }), 'relock');
  t.equal(planCare({ ...seen, nowMs: week }), undefined);
  t.equal(planCare({ ...seen, nowMs: week + 1 }), 'rotate');
  t.equal(planCare({ ...seen, inUse: [0, 5] }), 'renew-snapshot', 'something lies in the clear');
  t.equal(planCare({ ...seen, facts: { ...facts, keys: [key(3, 1), key(5, 2)] }, inUse: [3, 5] }), 'renew-snapshot');
  t.equal(planCare({ ...seen, facts: { ...facts, keys: [key(3, 1), key(5, 2)] }, inUse: [5] }), 'retire');
  t.equal(planCare({ ...seen, inUse: [5] }), 'retire');
  t.equal(
    planCare({ ...seen, inUse: [4] }),
    undefined,
    'the current key stays, also when nothing was written with it yet',
  );
  const many = Array.from({ length: 17 }, (_, place) => key(place + 1, 2));
  t.equal(planCare({ ...seen, facts: { ...facts, keys: many }, inUse: many.map(({ id }) => id) }), 'renew-snapshot');
});

t.test('a node that left and made another cluster has nothing of the past', async t => {
  const machine = openMachine(1);
  const keys = machine.keeper();
  await keys.mint();
  await keys.relock({ key: one, madeAtMs: 5 });
  t.type(await keys.seal('key'), Uint8Array);
  await keys.forget();
  t.equal(await keys.lock(), undefined);
  t.equal(await keys.seal('key'), undefined);
  const ring = await keys.mint();
  t.same([...ring.keys.keys()], [1]);
  machine.files.set('/data/keys.json', '{"version": 1');
  await t.rejects(keys.mint(), { code: 'state-damaged' });
});
