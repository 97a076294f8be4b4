/**
 * Nodes that were off for too long, over real TLS: their certificates are made by a manager whose clock is behind, so that they
 * are over by the time that TLS goes by.
 */
import { cp } from 'node:fs/promises';
import t from 'tap';
import { holdIdentity, type NodeIdentity } from '../../../src/daemon/ca/identity.js';
import { planNodeRemoval } from '../../../src/daemon/ca/removal.js';
import { renewOnce } from '../../../src/daemon/ca/renewal.js';
import type { Member } from '../../../src/daemon/membership/index.js';
import { routeRenewal } from '../../../src/daemon/renewal-route.js';
import { codeOf } from '../../../src/errors.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { adminContext, anySignal, eventually, fakeAgent, put, silent, wire } from '../node-fixtures.js';
import {
  joinRequest,
  openFlows,
  runWorker,
  shiftedClock,
  startManager,
  type TestManager,
  temporaryDirectory,
} from '../node-rig.js';

const dayMs = 86_400_000;

type Scope = Parameters<typeof temporaryDirectory>[0];

/** A manager that has been there for a year and issues certificates for 90 days. */
async function oldManager(t: Scope): Promise<{ readonly manager: TestManager; readonly shift: { ms: number } }> {
  const shift = { ms: -365 * dayMs };
  const manager = await startManager(t, { clock: shiftedClock(shift), init: { certificateDays: 1_000 } });
  for (const cluster of manager.store.view().list('cluster')) {
    const object = { ...cluster, spec: { ...cluster.spec, certificateDays: 90 } };
    await put(manager.store, [{ kind: 'put', table: 'cluster', object }]);
  }
  return { manager, shift };
}

/** A node that joined so many days ago and has been off since. */
async function joinedBefore(
  t: Scope,
  { manager, shift }: { readonly manager: TestManager; readonly shift: { ms: number } },
  days: number,
): Promise<{ readonly member: Member; readonly dataDir: string }> {
  const dataDir = await temporaryDirectory(t);
  let member: Member | undefined;
  const flows = openFlows(dataDir, 'w1', {
    start: async made => {
      member = made;
    },
  });
  shift.ms = -days * dayMs;
  await flows.join(
    { ...joinRequest, address: manager.address, token: manager.workerToken, labels: { rack: '7' } },
    anySignal(),
  );
  shift.ms = 0;
  if (member === undefined) throw new Error('join started nothing');
  return { member, dataDir };
}

function renewing(manager: TestManager, first: NodeIdentity) {
  const identity = holdIdentity(first);
  const { nodeId } = manager.member.membership;
  const route = routeRenewal({
    host: linuxHost,
    wire,
    identity,
    managers: () => [{ nodeId, addresses: [manager.address], leader: true, raftId: 0 }],
    manager: undefined,
  });
  const renew = () =>
    renewOnce({ ...route, identity, save: async () => undefined, log: silent, clock: linuxHost.clock }, anySignal());
  return { identity, renew };
}

async function remove(manager: TestManager, member: Member): Promise<void> {
  const { nodeId } = member.membership;
  await put(manager.store, planNodeRemoval(manager.store.view(), { nodeId, nowMs: 0, writesMax: 100 }).writes);
}

t.test('a node that was off for 91 days comes back by the key that it has', async t => {
  const old = await oldManager(t);
  const { member, dataDir } = await joinedBefore(t, old, 91);
  t.ok(member.identity.validUntilMs < linuxHost.clock.wallMs(), 'its certificate is over');
  const worker = await runWorker(t, { member, dataDir, fake: fakeAgent() });
  await eventually('the session is refused', () => {
    const state = worker.session.state();
    return state.kind === 'connecting' && state.problem !== undefined && codeOf(state.problem) === 'no-certificate';
  });
  const { renew } = renewing(old.manager, member.identity);
  const next = await renew();
  t.match(next, { nodeId: member.membership.nodeId, key: member.identity.key }, 'the same node, the same key');
  t.ok(next.validUntilMs > linuxHost.clock.wallMs() + 89 * dayMs);
  worker.identity.replace(next);
  await eventually('the session is open', () => worker.session.state().kind === 'connected');
  const node = old.manager.store.view().find('node', member.membership.nodeId);
  t.match(node, { spec: { name: 'w1', labels: { rack: '7' } } });
  t.equal(Math.floor((node?.certificateExpiresAtMs ?? 0) / 1000), next.validUntilMs / 1000);
});

t.test('beyond the grace a token of its own brings it back, as the node that it was', async t => {
  const old = await oldManager(t);
  const { manager } = old;
  const { member, dataDir } = await joinedBefore(t, old, 181);
  const { nodeId } = member.membership;
  const { renew } = renewing(manager, member.identity);
  await t.rejects(renew(), {
    code: 'certificate-expired',
    state: 'it ended 91 days ago; by its key alone it is renewed for 90 days',
    hint: /covey token node w1/,
  });
  const tokenFor = async (node: string) =>
    (await manager.tokens.createJoinToken(
      { role: 'worker', expiresMs: 0, usesMax: 0, labels: {}, node },
      adminContext(),
    )) ?? { token: '' };
  const { token } = await tokenFor('w1');
  t.match(token, /^CVNODE-1-/);
  const adopted: NodeIdentity[] = [];
  const flows = openFlows(dataDir, 'w1', {
    start: () => Promise.reject(new Error('it is a node already')),
    adopt: async known => void adopted.push(known.identity),
  });
  const request = { ...joinRequest, address: manager.address, token };
  t.equal((await flows.join(request, anySignal())).nodeId, nodeId);
  t.equal(manager.store.view().count('node'), 2, 'nobody new');
  const found = await flows.find();
  t.same(adopted, [found?.identity], 'on disk and in use');
  const worker = await runWorker(t, { member: found ?? member, dataDir, fake: fakeAgent() });
  await eventually('the session is open', () => worker.session.state().kind === 'connected');
  t.match(manager.store.view().find('node', nodeId)?.spec, { name: 'w1', labels: { rack: '7' } });
  await t.rejects(flows.join(request, anySignal()), { code: 'token-used-up' }, 'once');
  await t.rejects(
    flows.join({ ...request, token: manager.workerToken }, anySignal()),
    { code: 'already-in-cluster' },
    'a token for anybody makes no second node of it',
  );
  const forManager = await tokenFor('m1');
  await t.rejects(flows.join({ ...request, token: forManager.token }, anySignal()), { code: 'token-other-node' });

  await t.test('also from an empty disk, once nothing is connected as that node', async t => {
    const blank = openFlows(await temporaryDirectory(t), 'other-name', { start: async () => undefined });
    const again = { ...request, token: (await tokenFor(nodeId)).token };
    await t.rejects(blank.join(again, anySignal()), { code: 'node-alive' });
    await worker.stop();
    const node = manager.store.view().find('node', nodeId);
    if (node !== undefined) {
      const status = { ...node.status, state: 'lost' as const };
      await put(manager.store, [{ kind: 'put', table: 'node', object: { ...node, status } }]);
    }
    t.match(await blank.join(again, anySignal()), { nodeId, nodeName: 'w1' });
    const lostManager = { ...request, token: (await tokenFor('m1')).token };
    const empty = openFlows(await temporaryDirectory(t), 'm1', { start: async () => undefined });
    await t.rejects(empty.join(lostManager, anySignal()), { code: 'manager-state-lost' });
  });
});

t.test('a node that was removed stays removed: renewal, recovery, the old request to join', async t => {
  const manager = await startManager(t);
  const dataDir = await temporaryDirectory(t);
  const copyDir = await temporaryDirectory(t);
  let member: Member | undefined;
  const flows = openFlows(dataDir, 'w1', {
    start: async made => {
      member = made;
    },
    host: {
      ...linuxHost,
      files: {
        ...linuxHost.files,
        // A copy of the disk at the moment at which only the attempt to join is on it.
        replace: async (path, content, options) => {
          if (path.endsWith('root.pem')) await cp(dataDir, copyDir, { recursive: true });
          await linuxHost.files.replace(path, content, options);
        },
      },
    },
  });
  const request = { ...joinRequest, address: manager.address, token: manager.workerToken };
  await flows.join(request, anySignal());
  if (member === undefined) throw new Error('join started nothing');
  await remove(manager, member);
  const { renew, identity } = renewing(manager, member.identity);
  await t.rejects(renew(), { code: 'node-removed' }, 'by its certificate');
  identity.replace({ ...identity.current(), validUntilMs: 1 });
  await t.rejects(renew(), { code: 'node-removed' }, 'by its key');
  const copy = openFlows(copyDir, 'w1', { start: async () => undefined });
  await t.rejects(copy.join(request, anySignal()), { code: 'node-removed' }, 'by the request that made it');
  t.equal(manager.store.view().count('node'), 1);
  t.equal(manager.store.view().count('removedNode'), 1);
});

t.test('a removed node is forgotten when nobody could use a certificate of it any more', async t => {
  const old = await oldManager(t);
  const first = await joinedBefore(t, old, 10);
  await remove(old.manager, first.member);
  const second = await joinedBefore(t, old, 10);
  const afterMs = linuxHost.clock.wallMs() + 200 * dayMs;
  const { nodeId } = second.member.membership;
  await put(
    old.manager.store,
    planNodeRemoval(old.manager.store.view(), { nodeId, nowMs: afterMs, writesMax: 100 }).writes,
  );
  t.same(
    [...old.manager.store.view().list('removedNode')].map(({ id }) => id),
    [nodeId],
  );
});
