import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import * as net from 'node:net';
import * as tls from 'node:tls';
import t from 'tap';
import { digestOf, parseToken, renderToken } from '../../../src/daemon/ca/token.js';
import type { Member } from '../../../src/daemon/membership/index.js';
import { CoveyError, codeOf } from '../../../src/errors.js';
import type { JoinClusterResponse, JoinToken } from '../../../src/gen/types.js';
import type { Host } from '../../../src/host.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { adminContext, anySignal, eventually } from '../node-fixtures.js';
import {
  initRequest,
  joinRequest,
  openFlows,
  startManager,
  type TestManager,
  temporaryDirectory,
} from '../node-rig.js';

/** Promised are 5 s; a machine that runs other tests at the same time gets more. */
const failMaxMs = 20_000;

interface Scope {
  readonly teardown: (call: () => unknown) => unknown;
}

async function newToken(
  manager: TestManager,
  change: Partial<{ expiresMs: number; usesMax: number }> = {},
): Promise<string> {
  const request = { role: 'worker', expiresMs: 0, usesMax: 0, labels: {}, ...change } as const;
  return (await manager.tokens.createJoinToken(request, adminContext())).token;
}

function tokensOf(manager: TestManager): readonly JoinToken[] {
  return [...manager.store.view().list('joinToken')];
}

/** What a join left on the joiner: no file at all, or the names. */
async function leftovers(dataDir: string): Promise<readonly string[]> {
  const names: string[] = [];
  for (const entry of await readdir(dataDir, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) names.push(entry.name);
  return names.sort();
}

async function joinWith(
  t: Scope,
  given: {
    readonly address: string;
    readonly token: string;
    readonly name?: string;
    readonly start?: (member: Member) => Promise<void>;
  },
): Promise<{ readonly dataDir: string; readonly outcome: JoinClusterResponse | CoveyError; readonly tookMs: number }> {
  const dataDir = await temporaryDirectory(t);
  const flows = openFlows(dataDir, given.name ?? 'w1', { start: given.start ?? (async () => undefined) });
  const startMs = performance.now();
  const request = { ...joinRequest, address: given.address, token: given.token };
  const outcome = await flows.join(request, anySignal()).catch((error: unknown) => error as CoveyError);
  return { dataDir, outcome, tookMs: performance.now() - startMs };
}

async function listenTcp(t: Scope, onSocket: (socket: net.Socket) => void): Promise<string> {
  const server = net.createServer(socket => {
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

t.test('a machine joins with a token and is a node that both sides know', async t => {
  const manager = await startManager(t);
  let started: Member | undefined;
  const { dataDir, outcome } = await joinWith(t, {
    address: manager.address,
    token: manager.workerToken,
    start: async member => {
      started = member;
    },
  });
  if (outcome instanceof CoveyError) throw outcome;
  t.match(outcome, { nodeName: 'w1', role: 'worker', clusterId: manager.member.membership.clusterId });
  const node = manager.store.view().find('node', outcome.nodeId);
  t.match(node, {
    spec: { name: 'w1', availability: 'active' },
    role: 'worker',
    tunnelIndex: 2,
    status: { state: 'unknown' },
  });
  t.equal([...manager.store.view().list('cluster')][0]?.tunnelIndexLast, 2);
  t.equal(started?.identity.nodeId, outcome.nodeId);
  t.same(await leftovers(dataDir), ['managers', 'node.json', 'node.pem', 'root.pem'], 'no trace of the attempt');
  for (const name of ['node.json', 'tls/node.pem', 'tls/root.pem']) {
    t.equal((await stat(`${dataDir}/${name}`)).mode & 0o777, 0o600, `${name} is for root alone`);
  }
  t.match(await openFlows(dataDir, 'w1', { start: async () => undefined }).find(), {
    membership: { nodeId: outcome.nodeId, role: 'worker' },
    identity: { nodeId: outcome.nodeId, clusterId: outcome.clusterId },
  });
});

t.test('a join that cannot be has its own error within 5 s and leaves nothing on either side', async t => {
  const manager = await startManager(t);
  const other = await startManager(t);
  const good = manager.workerToken;
  const { rootDigest, secret } = parseToken(good);
  const expired = await newToken(manager, { expiresMs: 1 });
  const once = await newToken(manager, { usesMax: 1 });
  const first = await joinWith(t, { address: manager.address, token: once, name: 'first' });
  t.notOk(first.outcome instanceof CoveyError, 'the first use is good');
  const removed = await newToken(manager);
  await manager.tokens.removeJoinToken({ object: tokensOf(manager).at(-1)?.id ?? '' }, adminContext());
  const plain = await listenTcp(t, socket => socket.end('HTTP/1.0 400 Bad Request\r\n\r\n'));
  const mute = await listenTcp(t, () => undefined);
  const slammed = await listenTcp(t, socket => socket.destroy());
  const closed = net.createServer();
  const closedAddress = await new Promise<string>(resolve => {
    closed.listen(0, '127.0.0.1', () => {
      const { port } = closed.address() as net.AddressInfo;
      closed.close(() => resolve(`127.0.0.1:${port}`));
    });
  });
  const secretOf = (text: string) => parseToken(text).secret;
  const cases: readonly {
    readonly what: string;
    readonly address: string;
    readonly token: string;
    readonly code: string;
    readonly name?: string;
  }[] = [
    { what: 'no token at all', address: manager.address, token: 'hello', code: 'bad-token' },
    {
      what: 'a wrong secret',
      address: manager.address,
      token: renderToken({ rootDigest, secret: 'x'.repeat(25) }),
      code: 'bad-token',
    },
    { what: 'a removed token', address: manager.address, token: removed, code: 'bad-token' },
    { what: 'an expired token', address: manager.address, token: expired, code: 'token-expired' },
    { what: 'a used-up token', address: manager.address, token: once, code: 'token-used-up' },
    {
      what: 'a wrong digest',
      address: manager.address,
      token: renderToken({ rootDigest: digestOf(new Uint8Array(1)), secret }),
      code: 'wrong-ca',
    },
    { what: 'another cluster at the address', address: other.address, token: good, code: 'wrong-ca' },
    {
      what: 'the token of another cluster',
      address: manager.address,
      token: renderToken({ rootDigest, secret: secretOf(other.workerToken) }),
      code: 'bad-token',
    },
    { what: 'a name that is taken', address: manager.address, token: good, code: 'name-in-use', name: 'first' },
    { what: 'a name that is none', address: manager.address, token: good, code: 'bad-argument', name: 'a b' },
    { what: 'a closed port', address: closedAddress, token: good, code: 'no-connection' },
    { what: 'plain TCP', address: plain, token: good, code: 'not-covey' },
    { what: 'a server that hangs up', address: slammed, token: good, code: 'not-covey' },
    { what: 'a server that says nothing', address: mute, token: good, code: 'not-covey' },
    { what: 'a name without address', address: 'no-such-host.invalid:7377', token: good, code: 'unresolvable' },
    { what: 'no address', address: ':::', token: good, code: 'bad-argument' },
  ];
  const before = { nodes: manager.store.view().count('node'), uses: tokensOf(manager).map(token => token.uses) };
  for (const { what, address, token, code, name } of cases) {
    const { dataDir, outcome, tookMs } = await joinWith(t, { address, token, name: name ?? 'w2' });
    t.equal(outcome instanceof CoveyError ? codeOf(outcome) : 'joined', code, what);
    t.ok(tookMs < failMaxMs, `${what}: told after ${Math.round(tookMs)} ms`);
    t.same(await leftovers(dataDir), [], `${what}: nothing on the joiner`);
  }
  t.same(
    { nodes: manager.store.view().count('node'), uses: tokensOf(manager).map(token => token.uses) },
    before,
    'nothing on the manager',
  );
});

t.test('TLS without HTTP/2 is not covey', async t => {
  const manager = await startManager(t);
  const { certificate, key } = manager.identity.current();
  const server = tls.createServer({ cert: certificate, key, minVersion: 'TLSv1.3' }, socket =>
    socket.on('error', () => undefined),
  );
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const address = `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  const { outcome } = await joinWith(t, { address, token: manager.workerToken });
  t.equal(codeOf(outcome), 'not-covey');
});

t.test('a node that is in a cluster already joins no other, and makes none', async t => {
  const manager = await startManager(t);
  const dataDir = await temporaryDirectory(t);
  const flows = openFlows(dataDir, 'w1', { start: async () => undefined });
  const request = { ...joinRequest, address: manager.address, token: manager.workerToken };
  await flows.join(request, anySignal());
  await t.rejects(flows.join(request, anySignal()), { code: 'already-in-cluster' });
  await t.rejects(flows.init(initRequest, anySignal()), { code: 'already-in-cluster' });
  t.equal(manager.store.view().count('node'), 2);
});

t.test('uses are counted, and a lost answer does not cost a second one', async t => {
  const manager = await startManager(t);
  const token = await newToken(manager, { usesMax: 1 });
  const dataDir = await temporaryDirectory(t);
  const request = { ...joinRequest, address: manager.address, token };
  // The daemon dies when the answer is there and nothing of it is on disk: only the attempt is.
  const dying = openFlows(dataDir, 'w1', { start: async () => undefined, host: hostThatDiesAt('root.pem') });
  void dying.join(request, anySignal());
  await eventually('the manager has made the node', () => manager.store.view().count('node') === 2);
  t.same(await leftovers(dataDir), ['join.json']);
  const again = await openFlows(dataDir, 'w1', { start: async () => undefined }).join(request, anySignal());
  t.equal(manager.store.view().count('node'), 2, 'the same node');
  t.equal(manager.store.view().find('node', again.nodeId)?.spec.name, 'w1');
  t.equal(tokensOf(manager).find(one => one.usesMax === 1)?.uses, 1, 'one use');
});

t.test('a join whose node does not come up is taken back on both sides', async t => {
  const manager = await startManager(t);
  const { dataDir, outcome } = await joinWith(t, {
    address: manager.address,
    token: manager.workerToken,
    start: async () => {
      throw new CoveyError('port-in-use', 'Cannot listen');
    },
  });
  t.equal(codeOf(outcome), 'port-in-use');
  t.same(await leftovers(dataDir), []);
  t.equal(manager.store.view().count('node'), 1);
});

t.test('an init that was cut short starts over; a store without its mark is not touched', async t => {
  const dataDir = await temporaryDirectory(t);
  const failing = openFlows(dataDir, 'm1', {
    start: async () => {
      await writeFile(`${dataDir}/store-was-here`, '');
      throw new CoveyError('port-in-use', 'Cannot listen');
    },
  });
  await t.rejects(failing.init(initRequest, anySignal()), { code: 'port-in-use' });
  t.same(await leftovers(dataDir), ['store-was-here'], 'nothing of ours is left');
  await mkdir(`${dataDir}/raft`);
  await writeFile(`${dataDir}/raft/log`, 'precious');
  const flows = openFlows(dataDir, 'm1', { start: async () => undefined });
  await t.rejects(flows.init(initRequest, anySignal()), { code: 'state-damaged' });
  t.equal(await readFile(`${dataDir}/raft/log`, 'utf8'), 'precious');
});

t.test('init makes a cluster whose token lets a worker in', async t => {
  const manager = await startManager(t, { init: { lostAfterMs: 3_000, certificateDays: 2 } });
  const [cluster] = [...manager.store.view().list('cluster')];
  t.match(cluster?.spec, { lostAfterMs: 3_000, heartbeatMs: 1_000, certificateDays: 2, pool: /\/\d+$/ });
  t.match(cluster, { vniOverlay: 11, vniIngress: 12 });
  const { rootDigest } = parseToken(manager.workerToken);
  t.same(Buffer.from(rootDigest), Buffer.from(digestOf(cluster?.rootCertificate ?? new Uint8Array(0))));
});

/** A host on which the write of the file of that name never ends, as for a process that is killed in it. */
function hostThatDiesAt(name: string): Pick<Host, 'clock' | 'random' | 'files'> {
  const { files } = linuxHost;
  return {
    ...linuxHost,
    files: {
      ...files,
      replace: (path, content, options) =>
        path.endsWith(name) ? new Promise(() => undefined) : files.replace(path, content, options),
    },
  };
}
