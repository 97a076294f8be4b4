/**
 * The root certificate is replaced: the rule, what each pair of nodes makes of the other's certificates meanwhile (real TLS), and
 * the whole of it with a node that has an open session.
 */
import t from 'tap';
import { certificateFactsOf, retiredOf, shownChain } from '../../../src/daemon/ca/authority.js';
import { holdIdentity, type NodeIdentity, roleUnits, tlsNameOf } from '../../../src/daemon/ca/identity.js';
import { openRenewal } from '../../../src/daemon/ca/index.js';
import { getCluster } from '../../../src/daemon/ca/issue.js';
import { findPems, identityOf, toPem } from '../../../src/daemon/ca/pem.js';
import { rootHandlers } from '../../../src/daemon/ca/root-control.js';
import { openRotation, planRotation } from '../../../src/daemon/ca/rotation.js';
import { digestOf } from '../../../src/daemon/ca/token.js';
import { issueCertificate, makeRequest, makeRoot, makeSuccessor } from '../../../src/daemon/ca/x509.js';
import { routeRenewal } from '../../../src/daemon/renewal-route.js';
import { connectToManager } from '../../../src/daemon/rpc/client.js';
import { openClusterServer } from '../../../src/daemon/rpc/cluster-server.js';
import { fetchRoot } from '../../../src/daemon/rpc/root-fetch.js';
import { CoveyError, codeOf } from '../../../src/errors.js';
import type { NodeState } from '../../../src/gen/types.js';
import type { CallContext } from '../../../src/grpc.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { adminContext, anySignal, eventually, put, silent, testLifetime, wire } from '../node-fixtures.js';
import {
  joinRequest,
  openFlows,
  startManager,
  startWorker,
  type TestManager,
  temporaryDirectory,
} from '../node-rig.js';

const { clock, random } = linuxHost;
const making = { organization: 'cluster', nowMs: clock.wallMs(), randomBytes: random.bytes };
const first = await makeRoot(making);
const second = await makeSuccessor({ ...making, predecessor: first });
const texts = {
  first: toPem(first.certificate, 'CERTIFICATE'),
  second: toPem(second.certificate, 'CERTIFICATE'),
  cross: toPem(second.cross, 'CERTIFICATE'),
};

/** A node whose certificate is signed by the one root or the other, and that trusts these. */
async function nodeOf(
  role: 'manager' | 'worker',
  by: 'first' | 'second',
  trusts: readonly ('first' | 'second')[],
): Promise<NodeIdentity> {
  const { request, key } = await makeRequest();
  const certificate = await issueCertificate({
    ...making,
    root: by === 'first' ? first : second,
    request,
    nodeId: role,
    clusterId: 'cluster',
    unit: roleUnits[role],
    dnsName: tlsNameOf(role),
    validUntilMs: making.nowMs + 86_400_000,
  });
  return identityOf({
    certificate: `${toPem(certificate, 'CERTIFICATE')}${by === 'second' ? texts.cross : ''}`,
    key: toPem(key, 'PRIVATE KEY'),
    root: trusts.map(one => texts[one]).join(''),
  });
}

const stages = {
  'before, or not told yet': await Promise.all(
    (['manager', 'worker'] as const).map(role => nodeOf(role, 'first', ['first'])),
  ),
  'has a new certificate, trusts the old root alone': await Promise.all(
    (['manager', 'worker'] as const).map(role => nodeOf(role, 'second', ['first'])),
  ),
  'trusts both, has an old certificate': await Promise.all(
    (['manager', 'worker'] as const).map(role => nodeOf(role, 'first', ['first', 'second'])),
  ),
  'has all that it should': await Promise.all(
    (['manager', 'worker'] as const).map(role => nodeOf(role, 'second', ['first', 'second'])),
  ),
  'after the end': await Promise.all((['manager', 'worker'] as const).map(role => nodeOf(role, 'second', ['second']))),
} as const;

/** What a node hears that calls a manager: "reached", or the code of the refusal. */
async function meet(manager: NodeIdentity, worker: NodeIdentity): Promise<string> {
  const callers: CallContext['caller'][] = [];
  const note = async (_request: unknown, context: CallContext): Promise<never> => {
    callers.push(context.caller);
    throw new CoveyError('internal', 'reached');
  };
  await using server = await openClusterServer({
    host: '127.0.0.1',
    port: 0,
    identity: holdIdentity(manager),
    wire,
    clock,
    findMember: id => (id === 'manager' || id === 'worker' ? id : undefined),
    services: { Ca: { join: note, renew: note, recover: note, leave: note } },
    retired: () => [second.cross, first.certificate],
  });
  try {
    await using client = await connectToManager({
      address: `127.0.0.1:${server.port}`,
      nodeId: 'manager',
      clusterId: 'cluster',
      root: worker.root,
      client: worker,
      wire,
      clock,
      timeoutMs: 5_000,
      signal: anySignal(),
    });
    await client.calls('Ca').leave({}, { timeoutMs: 5_000, signal: anySignal() });
    return 'answered';
  } catch (error) {
    return codeOf(error) === 'internal' && callers[0]?.kind === 'node' ? 'reached' : codeOf(error);
  }
}

t.test('until the end every node accepts every other; after it only who has the new root', async t => {
  const names = Object.keys(stages) as (keyof typeof stages)[];
  for (const [at, here] of names.entries()) {
    for (const [against, there] of names.entries()) {
      const [manager] = stages[here];
      const [, worker] = stages[there];
      if (manager === undefined || worker === undefined) throw new Error('a stage has two nodes');
      // The end comes when all nodes have what they should: then nobody is left in an earlier stage, unless by force.
      // One without the new root is refused even with a new certificate; that comes together with the roots, so there is none.
      const isLost = (one: number, other: number): boolean => one === 4 && (other === 0 || other === 2);
      const refused = isLost(at, against) || isLost(against, at) || (at === 4 && against === 1);
      const outcome = await meet(manager, worker);
      t.equal(outcome === 'reached', !refused, `manager: ${here}; worker: ${there}: ${outcome}`);
    }
  }
});

t.test('a token of before joins until the end, and is told apart after it', async t => {
  const trusting = (manager: NodeIdentity, root: Uint8Array): Promise<string> =>
    fetched(manager, root).then(
      found => (Buffer.from(found.root).equals(root) ? 'trusted' : 'another root'),
      error => codeOf(error),
    );
  const during = [stages['before, or not told yet'], stages['has all that it should']];
  for (const [manager] of during) if (manager) t.equal(await trusting(manager, first.certificate), 'trusted');
  const [after] = stages['after the end'];
  if (after === undefined) throw new Error('a stage has two nodes');
  t.equal(await trusting(after, second.certificate), 'trusted');
  t.equal(await trusting(after, first.certificate), 'root-replaced');
  t.equal(await trusting(after, (await makeRoot(making)).certificate), 'wrong-ca');
  // Years later: certificates without the cross-signed one, two more roots.
  const third = await makeSuccessor({ ...making, predecessor: second });
  const { request, key } = await makeRequest();
  const certificate = await issueCertificate({
    ...making,
    root: third,
    request,
    nodeId: 'manager',
    clusterId: 'cluster',
    unit: roleUnits.manager,
    dnsName: tlsNameOf('manager'),
    validUntilMs: making.nowMs + 86_400_000,
  });
  const later = identityOf({
    certificate: toPem(certificate, 'CERTIFICATE'),
    key: toPem(key, 'PRIVATE KEY'),
    root: toPem(third.certificate, 'CERTIFICATE'),
  });
  const retired = [
    { rootCertificate: second.certificate, crossCertificate: third.cross },
    { rootCertificate: first.certificate, crossCertificate: second.cross },
  ];
  const shown = retiredOf({ authority: { retired } });
  t.equal(findPems(shownChain(later, shown), 'CERTIFICATE').length, 6);
  t.equal(codeOf(await fetched(later, first.certificate, shown).catch(error => error)), 'root-replaced');
  t.equal(codeOf(await fetched(later, second.certificate, shown).catch(error => error)), 'root-replaced');
  t.match(await fetched(later, third.certificate, shown), { nodeId: 'manager' });
});

async function fetched(
  manager: NodeIdentity,
  root: Uint8Array,
  retired: readonly Uint8Array[] = [second.cross, first.certificate],
) {
  await using server = await openClusterServer({
    host: '127.0.0.1',
    port: 0,
    identity: holdIdentity(manager),
    wire,
    clock,
    findMember: () => undefined,
    services: {},
    retired: () => retired,
  });
  const rootDigest = digestOf(root);
  return await fetchRoot({
    host: '127.0.0.1',
    port: server.port,
    rootDigest,
    clock,
    connectMs: 5_000,
    handshakeMs: 5_000,
    signal: anySignal(),
  });
}

/** A cluster as if its nodes were in these states, with a rotation begun. */
async function rotating(t: Parameters<typeof temporaryDirectory>[0]) {
  const manager = await startManager(t);
  const control = rootHandlers({ store: manager.store, clock, random });
  const rotate = (change: Partial<Parameters<typeof control.rotateRoot>[0]> = {}) =>
    control.rotateRoot({ certificate: '', key: '', withoutAbsent: false, ...change }, adminContext());
  return { manager, rotate, status: () => control.getRootStatus({}, adminContext()) };
}

/** The manager of the rig has no session of its own: it gets a certificate of the new root, and the store hears of it. */
async function renewManager(manager: TestManager): Promise<void> {
  const route = routeOf(manager, manager.identity);
  await renewedOnce(route, manager.identity);
  await describe(manager, manager.member.membership.nodeId, manager.identity.current());
}

async function renewedOnce(route: ReturnType<typeof routeOf>, identity: ReturnType<typeof holdIdentity>) {
  const { renewOnce } = await import('../../../src/daemon/ca/renewal.js');
  await renewOnce({ ...route, identity, save: async () => undefined, log: silent, clock }, anySignal());
}

async function describe(manager: TestManager, id: string, identity: NodeIdentity, state: NodeState = 'ready') {
  const node = manager.store.view().find('node', id);
  if (node === undefined) throw new Error('no such node');
  const description = { ...node.description, certificate: certificateFactsOf(identity) };
  const status = { ...node.status, state };
  await put(manager.store, [{ kind: 'put', table: 'node', object: { ...node, description, status } }]);
}

function routeOf(manager: TestManager, identity: ReturnType<typeof holdIdentity>) {
  const { nodeId } = manager.member.membership;
  return routeRenewal({
    host: linuxHost,
    wire,
    identity,
    managers: () => [{ nodeId, addresses: [manager.address], leader: true, raftId: 0 }],
    manager:
      nodeId === identity.current().nodeId
        ? { store: manager.store, renewHere: (request, signal) => renewAt(manager, request, signal) }
        : undefined,
  });
}

async function renewAt(
  manager: TestManager,
  request: { readonly certificateRequest: Uint8Array },
  signal: AbortSignal,
) {
  const { renewNode } = await import('../../../src/daemon/ca/issue.js');
  const options = {
    store: manager.store,
    clock,
    random,
    log: silent,
    managers: () => [],
    roles: { letGo: async () => undefined },
    settled: async () => undefined,
  };
  return await renewNode(options, { ...request, nodeId: manager.member.membership.nodeId }, signal);
}

t.test('a rotation ends with the last node that says it has a new certificate', async t => {
  const { manager, rotate, status } = await rotating(t);
  const { nodeId } = manager.member.membership;
  const before = getCluster(manager.store.view()).rootCertificate;
  t.equal(planRotation(manager.store.view()).kind, 'none');
  t.match(await rotate(), { rotating: true, nodesTotal: 1, nodesDone: 0, missing: [{ name: 'm1' }] });
  t.match(await rotate(), { rotating: true }, 'asking again waits for the same');
  await t.rejects(rotate({ certificate: 'x' }), { code: 'change-pending' });
  t.match(planRotation(manager.store.view()), { kind: 'wait', missing: [{ id: nodeId }] });
  await describe(manager, nodeId, manager.identity.current(), 'lost');
  t.equal(planRotation(manager.store.view()).kind, 'wait', 'a lost node is waited for');
  await rotate({ withoutAbsent: true });
  const plan = planRotation(manager.store.view());
  t.match(plan, { kind: 'finish', without: [{ id: nodeId }] }, 'unless people say otherwise');
  await describe(manager, nodeId, manager.identity.current(), 'ready');
  t.equal(planRotation(manager.store.view()).kind, 'wait', 'who is there is waited for in any case');
  await renewManager(manager);
  const lifetime = testLifetime();
  openRotation({ store: manager.store, clock, log: silent, lifetime });
  await eventually('the end', async () => !(await status()).rotating);
  await lifetime[Symbol.asyncDispose]();
  const after = getCluster(manager.store.view());
  t.notSame(after.rootCertificate, before);
  t.match(after.authority, { rotation: undefined, retired: [{ rootCertificate: before }] });
});

t.test('a node with an open session gets the new root and keeps the session; the old token is told apart', async t => {
  const { manager, rotate, status } = await rotating(t);
  const worker = await startWorker(t, manager, { name: 'w1' });
  const lifetime = testLifetime();
  t.teardown(() => lifetime[Symbol.asyncDispose]());
  const oldRoot = worker.identity.current().root;
  const { nodeId } = manager.member.membership;
  const { certificate, key, root, clusterId } = worker.identity.current();
  const old = { address: manager.address, nodeId, clusterId, root, client: { certificate, key }, wire, clock };
  const client = await connectToManager({ ...old, timeoutMs: 10_000, signal: anySignal() });
  t.teardown(() => client[Symbol.asyncDispose]());
  const ask = (): Promise<unknown> =>
    client
      .calls('Ca')
      .renew({ certificateRequest: new Uint8Array(1) }, { signal: anySignal() })
      .catch(error => error);
  const renewal = openRenewal({
    ...routeOf(manager, worker.identity),
    clock,
    random: { ...random, fraction: () => 0 },
    log: silent,
    lifetime,
    identity: worker.identity,
    save: async () => undefined,
  });
  worker.onTrust(renewal.follow);
  worker.identity.onChange(() => worker.describe());
  openRotation({ store: manager.store, clock, log: silent, lifetime });
  const session = worker.session.state();
  await rotate();
  await renewManager(manager);
  await eventually('the end', async () => !(await status()).rotating);
  await eventually('the worker trusts the new root alone', () => {
    const { root } = worker.identity.current();
    return root !== oldRoot && findPems(root, 'CERTIFICATE').length === 1;
  });
  t.equal(worker.session.state(), session, 'the session was not opened anew');
  t.match(await ask(), { code: 'bad-argument' }, 'a connection of the old root is as good as ever');
  // The manager of the rig is told by its own session in a daemon.
  manager.identity.replace(identityOf({ ...manager.identity.current(), root: worker.identity.current().root }));
  await eventually(
    'a new session, with the new certificate, by itself',
    () => worker.session.state().kind === 'connected' && worker.session.state() !== session,
  );
  t.match(await ask(), { code: 'no-connection', state: /the root of its certificate was replaced/ });
  const blank = openFlows(await temporaryDirectory(t), 'w2', { start: async () => undefined });
  const request = { ...joinRequest, address: manager.address, token: manager.workerToken };
  await t.rejects(blank.join(request, anySignal()), { code: 'root-replaced' });
  const { token } = await manager.tokens.createJoinToken(
    { role: 'worker', expiresMs: 0, usesMax: 0, labels: {} },
    adminContext(),
  );
  t.match(await blank.join({ ...request, token }, anySignal()), { nodeName: 'w2' });
});

t.test('a root of one’s own has to be one', async t => {
  const { manager, rotate } = await rotating(t);
  const own = await makeRoot({ ...making, organization: 'corporation' });
  const pem = { certificate: toPem(own.certificate, 'CERTIFICATE'), key: toPem(own.key, 'PRIVATE KEY') };
  const other = await makeRoot(making);
  const bad: readonly [string, Partial<typeof pem>, RegExp][] = [
    ['rubbish', { certificate: 'x' }, /PEM/],
    ['another key', { key: toPem(other.key, 'PRIVATE KEY') }, /not that of the certificate/],
    ['signed by another', { certificate: texts.cross, key: toPem(second.key, 'PRIVATE KEY') }, /no root/],
    [
      'a node’s',
      { certificate: manager.identity.current().certificate, key: manager.identity.current().key },
      /authority/,
    ],
    ['the present one', { certificate: manager.identity.current().root }, /key is not|present/],
  ];
  for (const [what, change, state] of bad)
    await t.rejects(rotate({ ...pem, ...change }), { code: 'bad-root', state }, what);
  t.match(await rotate(pem), { rotating: true });
  await renewManager(manager);
  const rotation = getCluster(manager.store.view()).authority?.rotation;
  t.same(Buffer.from(rotation?.rootCertificate ?? []), Buffer.from(own.certificate));
  t.equal(planRotation(manager.store.view()).kind, 'finish', 'its certificates are accepted');
});
