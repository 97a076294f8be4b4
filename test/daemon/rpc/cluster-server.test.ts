import * as net from 'node:net';
import * as tls from 'node:tls';
import t from 'tap';
import { holdIdentity, type NodeIdentity, roleUnits, tlsNameOf } from '../../../src/daemon/ca/identity.js';
import { identityOf, toPem } from '../../../src/daemon/ca/pem.js';
import { type CertificateAndKey, issueCertificate, makeRequest, makeRoot } from '../../../src/daemon/ca/x509.js';
import { type ConnectOptions, connectToManager } from '../../../src/daemon/rpc/client.js';
import { type ClusterServer, openClusterServer } from '../../../src/daemon/rpc/cluster-server.js';
import { CoveyError, codeOf } from '../../../src/errors.js';
import type { NodeRole } from '../../../src/gen/types.js';
import type { CallContext } from '../../../src/grpc.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { anySignal, wire } from '../node-fixtures.js';

const { clock, random } = linuxHost;
const nowMs = clock.wallMs();
const root = await makeRoot({ organization: 'cluster', nowMs, randomBytes: random.bytes });
const foreignRoot = await makeRoot({ organization: 'cluster', nowMs, randomBytes: random.bytes });

interface Wanted {
  readonly role?: NodeRole;
  readonly by?: CertificateAndKey;
  readonly clusterId?: string;
  readonly madeMs?: number;
  readonly lifeMs?: number;
}

async function identity(nodeId: string, wanted: Wanted = {}): Promise<NodeIdentity> {
  const by = wanted.by ?? root;
  const { request, key } = await makeRequest();
  const madeMs = wanted.madeMs ?? nowMs;
  const certificate = await issueCertificate({
    root: by,
    request,
    nodeId,
    clusterId: wanted.clusterId ?? 'cluster',
    unit: roleUnits[wanted.role ?? 'worker'],
    dnsName: tlsNameOf(nodeId),
    nowMs: madeMs,
    validUntilMs: madeMs + (wanted.lifeMs ?? 86_400_000),
    randomBytes: random.bytes,
  });
  return identityOf({
    certificate: toPem(certificate, 'CERTIFICATE'),
    key: toPem(key, 'PRIVATE KEY'),
    root: toPem(by.certificate, 'CERTIFICATE'),
  });
}

const manager = await identity('manager1', { role: 'manager' });
const members = new Map<string, NodeRole>([
  ['manager1', 'manager'],
  ['worker1', 'worker'],
]);

interface Served {
  readonly server: ClusterServer;
  readonly holder: ReturnType<typeof holdIdentity>;
  readonly callers: CallContext['caller'][];
}

async function serve(t: { teardown: (call: () => unknown) => unknown }, own: NodeIdentity = manager): Promise<Served> {
  const callers: CallContext['caller'][] = [];
  const holder = holdIdentity(own);
  const note = async (context: CallContext): Promise<never> => {
    callers.push(context.caller);
    throw new CoveyError('internal', 'reached');
  };
  const server = await openClusterServer({
    host: '127.0.0.1',
    port: 0,
    identity: holder,
    wire,
    clock,
    findMember: id => members.get(id),
    services: {
      Ca: {
        join: (_request, context) => note(context),
        renew: (_request, context) => note(context),
        recover: (_request, context) => note(context),
        leave: (_request, context) => note(context),
      },
      Dispatcher: {
        session: async function* (requests, context) {
          callers.push(context.caller);
          for await (const message of requests) {
            if (message.body.kind === 'heartbeat')
              yield { body: { kind: 'heartbeat', sequence: message.body.sequence } };
          }
        },
        bulk: () => {
          throw new CoveyError('internal', 'reached');
        },
      },
    },
  });
  t.teardown(() => server[Symbol.asyncDispose]());
  return { server, holder, callers };
}

function options(port: number, change: Partial<ConnectOptions> = {}): ConnectOptions {
  return {
    address: `127.0.0.1:${port}`,
    nodeId: 'manager1',
    clusterId: 'cluster',
    root: manager.root,
    client: undefined,
    wire,
    clock,
    timeoutMs: 1_000,
    signal: anySignal(),
    ...change,
  };
}

/** The code that a call of that method ends with; "reached" when its handler ran. */
async function call(port: number, method: 'renew' | 'leave', client: NodeIdentity | undefined): Promise<string> {
  await using connection = await connectToManager(options(port, { client }));
  const limits = { timeoutMs: 2_000, signal: anySignal() };
  const ca = connection.calls('Ca');
  const request = { certificateRequest: new Uint8Array(0) };
  const error = await (method === 'renew' ? ca.renew(request, limits) : ca.leave({}, limits)).catch(
    (failure: unknown) => failure,
  );
  return error instanceof CoveyError && error.message === 'reached' ? 'reached' : codeOf(error);
}

t.test('who may call is decided by certificate, time and membership, before any handler', async t => {
  const { server, callers } = await serve(t);
  const cases: readonly [string, NodeIdentity | undefined, string][] = [
    ['a member', await identity('worker1'), 'reached'],
    ['no certificate', undefined, 'no-certificate'],
    ['a certificate of another cluster', await identity('worker1', { by: foreignRoot }), 'no-certificate'],
    [
      'an expired certificate',
      await identity('worker1', { madeMs: nowMs - 7_200_000, lifeMs: 3_600_000 }),
      'no-certificate',
    ],
    ['a certificate of the future', await identity('worker1', { madeMs: nowMs + 10_800_000 }), 'no-certificate'],
    ['a node that was removed', await identity('worker2'), 'node-removed'],
  ];
  for (const [what, client, expected] of cases) {
    const startMs = performance.now();
    t.equal(await call(server.port, 'renew', client), expected, what);
    t.ok(performance.now() - startMs < 10_000, `${what}: told at once`);
  }
  t.equal(callers.length, 1, 'refused calls reach no handler');
  t.match(callers[0], { kind: 'node', nodeId: 'worker1', clusterId: 'cluster', role: 'worker' });
});

t.test('the role is the one that the store says, not the one that the certificate says', async t => {
  const { server, callers } = await serve(t);
  await call(server.port, 'leave', await identity('worker1', { role: 'manager' }));
  t.match(callers[0], { kind: 'node', role: 'worker' });
});

t.test('a client talks to the manager that it means and to nobody else', async t => {
  const { server } = await serve(t);
  const worker = await serve(t, await identity('worker1'));
  const { port } = server;
  const cases: readonly [string, Partial<ConnectOptions>][] = [
    ['another node at the address', { nodeId: 'manager2' }],
    ['a manager of another cluster', { root: toPem(foreignRoot.certificate, 'CERTIFICATE') }],
    ['the same root, another cluster id', { clusterId: 'other' }],
    ['a worker that answers as a manager', { address: `127.0.0.1:${worker.server.port}`, nodeId: 'worker1' }],
  ];
  for (const [what, change] of cases) {
    const attempt = connectToManager(options(port, change));
    await t.rejects(attempt, { code: 'no-connection' }, what);
  }
  await using good = await connectToManager(options(port));
  t.equal(good.address, `127.0.0.1:${port}`);
});

t.test('a connection to nobody is given up at once, to a silent one after its time', async t => {
  const silentServer = net.createServer(socket => socket.on('error', () => undefined));
  await new Promise<void>(resolve => silentServer.listen(0, '127.0.0.1', resolve));
  t.teardown(() => silentServer.close());
  const { port } = silentServer.address() as net.AddressInfo;
  const startMs = performance.now();
  await t.rejects(connectToManager(options(port, { timeoutMs: 300 })), { code: 'no-connection' });
  const tookMs = performance.now() - startMs;
  t.ok(tookMs > 250 && tookMs < 10_000, `given up after ${Math.round(tookMs)} ms`);
  await t.rejects(connectToManager(options(1, { timeoutMs: 60_000 })), { code: 'no-connection' });
  t.ok(performance.now() - startMs < 30_000, 'a refused connection is told at once');
});

t.test('plain TCP and TLS 1.2 get nowhere and harm nobody', async t => {
  const { server } = await serve(t);
  const closed = await new Promise(resolve => {
    const socket = net.connect(server.port, '127.0.0.1', () => socket.write('GET / HTTP/1.0\r\n\r\n'));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve('closed'));
    socket.resume();
  });
  t.equal(closed, 'closed');
  const old = await new Promise(resolve => {
    const settings = {
      port: server.port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      maxVersion: 'TLSv1.2',
    } as const;
    const socket = tls.connect(settings, () => resolve('connected'));
    socket.on('error', () => resolve('refused'));
  });
  t.equal(old, 'refused');
  t.equal(await call(server.port, 'renew', await identity('worker1')), 'reached', 'others are served');
});

t.test('a new certificate is shown to new connections, and open streams go on', async t => {
  const { server, holder } = await serve(t);
  const worker = await identity('worker1');
  await using connection = await connectToManager(options(server.port, { client: worker }));
  const stream = connection.calls('Dispatcher').session({ signal: anySignal() });
  const answers = stream[Symbol.asyncIterator]();
  const echo = async (sequence: number): Promise<unknown> => {
    await stream.send({ body: { kind: 'heartbeat', sequence } });
    return (await answers.next()).value;
  };
  t.match(await echo(1), { body: { sequence: 1 } });
  const serialShown = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const settings = { port: server.port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] };
      const socket = tls.connect(settings, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.destroy();
      });
      socket.on('error', reject);
    });
  const before = await serialShown();
  holder.replace(await identity('manager1', { role: 'manager' }));
  t.not(await serialShown(), before, 'new connections see the new one');
  t.match(await echo(2), { body: { sequence: 2 } }, 'the stream is the same');
  stream.end();
  t.equal((await answers.next()).done, true);
});

t.test('a port that is taken is said so', async t => {
  const { server, holder } = await serve(t);
  const second = openClusterServer({
    host: '127.0.0.1',
    port: server.port,
    identity: holder,
    wire,
    clock,
    findMember: () => undefined,
    services: {},
  });
  await t.rejects(second, { code: 'port-in-use' });
});

t.test('a manager whose certificate is out of its time by the clock here is told apart, with both times', async t => {
  const hourMs = 3_600_000;
  const early = await identity('manager1', { role: 'manager', madeMs: nowMs + 5 * hourMs });
  const late = await identity('manager1', { role: 'manager', madeMs: nowMs - 50 * hourMs });
  for (const [own, code] of [
    [early, 'clock-skew'],
    [late, 'certificate-expired'],
  ] as const) {
    const { server } = await serve(t, own);
    const refused = await connectToManager(options(server.port)).then(
      () => undefined,
      (error: unknown) => error,
    );
    t.ok(refused instanceof CoveyError && refused.code === code, `${code}: ${String(refused)}`);
    const state = refused instanceof CoveyError ? (refused.state ?? '') : '';
    t.match(state, /^the clock here says \d{4}-/);
    t.ok(state.includes(new Date(own.validFromMs).toISOString()), `when the certificate begins: ${state}`);
  }
});

t.test('what a node has open ends when it is removed, and says why', async t => {
  const { server } = await serve(t);
  await using connection = await connectToManager(options(server.port, { client: await identity('worker1') }));
  const stream = connection.calls('Dispatcher').session({ signal: anySignal() });
  await stream.send({ body: { kind: 'heartbeat', sequence: 1 } });
  const messages = stream[Symbol.asyncIterator]();
  t.match(await messages.next(), { value: { body: { kind: 'heartbeat', sequence: 1 } } });
  server.endCallsOf('manager1');
  await stream.send({ body: { kind: 'heartbeat', sequence: 2 } });
  t.match(await messages.next(), { value: { body: { sequence: 2 } } }, 'that of another goes on');
  server.endCallsOf('worker1');
  await t.rejects(messages.next(), { code: 'node-removed' });
});
