import t from 'tap';
import { freeTunnelIndex, planJoin, tunnelIndexMax } from '../../../src/daemon/ca/issue.js';
import { makeJoinToken } from '../../../src/daemon/ca/tokens.js';
import type { Cluster, JoinRequest, Node, NodeRole } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { asId, type ClusterId, type NodeId } from '../../../src/ids.js';
import type { OpenStore } from '../../../src/raft/store.js';
import { description, memoryStore, put } from '../node-fixtures.js';

const nowMs = 1_000_000;
const joiner = asId<NodeId>('joiner');

async function putCluster(store: OpenStore, tunnelIndexLast: number): Promise<void> {
  const noBytes = new Uint8Array(0);
  const spec: Cluster['spec'] = {
    pool: '10.0.0.0/8',
    poolPieceBits: 20,
    taskHistoryMax: 5,
    certificateDays: 90,
    heartbeatMs: 1_000,
    lostAfterMs: 10_000,
    dataPort: 7378,
  };
  const id = asId<ClusterId>('c');
  const object = {
    id,
    spec,
    rootCertificate: noBytes,
    rootKey: noBytes,
    vniOverlay: 1,
    vniIngress: 2,
    tunnelIndexLast,
  };
  await put(store, [{ kind: 'put', table: 'cluster', object }]);
}

async function putNode(store: OpenStore, id: string, tunnelIndex: number): Promise<void> {
  const object: Omit<Node, 'meta'> = {
    id: asId(id),
    spec: { name: id, labels: {}, availability: 'active' },
    role: 'worker',
    description: description(id),
    status: { state: 'ready', sinceMs: 0, message: '' },
    tunnelIndex,
    certificateExpiresAtMs: 0,
    raftId: 0,
    demoting: false,
  };
  await put(store, [{ kind: 'put', table: 'node', object }]);
}

async function withToken(change: { readonly usesMax?: number; readonly expiresMs?: number } = {}) {
  const store = await memoryStore();
  await putCluster(store, 1);
  await putNode(store, 'm1', 1);
  const randomBytes = linuxHost.random.bytes;
  const token = makeJoinToken({ role: 'worker', expiresMs: 0, usesMax: 0, labels: {}, nowMs, randomBytes, ...change });
  await put(store, [{ kind: 'put', table: 'joinToken', object: token.object }]);
  const plan = (
    parts: { readonly name?: string; readonly role?: NodeRole; readonly nowMs?: number; readonly nodeId?: NodeId } = {},
  ) => {
    const request: JoinRequest = {
      secret: token.secret,
      certificateRequest: new Uint8Array(0),
      name: parts.name ?? 'w1',
      labels: { rack: '7' },
      description: description('w1'),
      requestId: 'r',
      protocolMin: 1,
      protocolMax: 1,
    };
    const nodeId = parts.nodeId ?? joiner;
    return planJoin(store.view(), {
      request,
      nodeId,
      role: parts.role ?? 'worker',
      raftId: 0,
      validUntilMs: 5,
      nowMs: parts.nowMs ?? nowMs,
    });
  };
  return { store, plan };
}

t.test('a join writes the node, the use and the tunnel index together', async t => {
  const { plan } = await withToken();
  t.match(plan(), [
    {
      table: 'node',
      object: {
        id: 'joiner',
        tunnelIndex: 2,
        spec: { name: 'w1', labels: { rack: '7' } },
        status: { state: 'unknown' },
      },
    },
    { table: 'joinToken', object: { uses: 1 } },
    { table: 'cluster', object: { tunnelIndexLast: 2 } },
  ]);
});

t.test('the same join again writes nothing, even when the token is used up or over by then', async t => {
  const { store, plan } = await withToken({ usesMax: 1, expiresMs: 10 });
  await put(store, plan());
  t.same(plan({ nowMs: nowMs + 60_000 }), []);
  t.throws(() => plan({ nodeId: asId('another'), name: 'w2' }), { code: 'token-used-up' });
});

t.test('a join is refused for the token, its role, or the name', async t => {
  const { plan } = await withToken({ expiresMs: 10 });
  t.throws(() => plan({ nowMs: nowMs + 10 }), { code: 'token-expired' });
  t.throws(() => plan({ role: 'manager' }), { code: 'bad-token' }, 'a token for workers makes no manager');
  t.throws(() => plan({ name: 'm1' }), { code: 'name-in-use', state: 'node m1 has that name and is ready' });
});

t.test(
  'tunnel indexes are given in order; when the range is over, those of nodes that are gone come again',
  async t => {
    const store = await memoryStore();
    for (const index of [1, 2, 4]) await putNode(store, `n${index}`, index);
    t.equal(freeTunnelIndex(store.view(), 4), 5);
    t.equal(freeTunnelIndex(store.view(), tunnelIndexMax), 3);
  },
);
