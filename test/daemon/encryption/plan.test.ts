/** The steps of encryption, as the leader takes them and nodes confirm them. */
import t from 'tap';
import { encryptedFromStart, planEncryption, rotateDefaultMs } from '../../../src/daemon/encryption/plan.js';
import type { Cluster, Encryption, Node, NodeTunnel } from '../../../src/gen/types.js';
import { clusterObject as cluster, node } from '../object-fixtures.js';

const tunnel = (over: Partial<NodeTunnel> = {}): NodeTunnel => ({
  means: 'kernel',
  keys: [],
  step: 0,
  ownAddresses: [],
  ...over,
});

function nodeWith(id: string, over: Partial<NodeTunnel>, state: Node['status']['state'] = 'ready'): Node {
  const plain = node(id);
  return {
    ...plain,
    status: { ...plain.status, state },
    description: { ...plain.description, tunnel: tunnel(over) },
  };
}

const clusterWith = (encrypt: boolean, encryption: Encryption | undefined): Cluster => ({
  ...cluster,
  spec: { ...cluster.spec, encrypt },
  encryption,
});

/** All nodes confirm each step at once, until the leader rests. */
function run(encrypt: boolean, start: Encryption | undefined, nowMs = 1): readonly string[] {
  const taken: string[] = [];
  let encryption = start;
  for (let turn = 0; turn < 20; turn += 1) {
    const { epochs = [], step = 0 } = encryption ?? {};
    const keys = epochs.map(epoch => ({ epoch, publicKey: `key ${epoch}`, port: 7_378 }));
    const plan = planEncryption(clusterWith(encrypt, encryption), [nodeWith('a', { keys, step })], nowMs);
    if (plan.kind !== 'step') return taken;
    encryption = plan.encryption;
    taken.push(`${encryption.active} of ${encryption.epochs.join()}${encryption.prepared ? ' prepared' : ''}`);
  }
  return [...taken, 'and no end'];
}

t.test('from the clear to encrypted, everybody knows all keys before anybody sends with one', async t => {
  t.strictSame(run(true, undefined), ['0 of 1', '0 of 1 prepared', '1 of 1']);
});

t.test('new keys come when their time is over or when people ask, the old ones go last', async t => {
  const steady = encryptedFromStart(1);
  const steps = ['1 of 1,2', '1 of 1,2 prepared', '2 of 1,2', '2 of 2'];
  t.strictSame(run(true, steady), []);
  t.strictSame(run(true, steady, 1 + rotateDefaultMs), steps);
  t.strictSame(run(true, { ...steady, askedMs: 1 }), steps);
  t.strictSame(planEncryption(clusterWith(true, steady), [], 1), { kind: 'rest', untilMs: 1 + rotateDefaultMs });
});

t.test('in the clear again in one step, and back with the port that plain tunnels do not have', async t => {
  const even: Encryption = { ...encryptedFromStart(1), step: 9, active: 2, epochs: [2], last: 2 };
  t.strictSame(run(false, even), ['0 of ']);
  const plain: Encryption = { ...even, active: 0, epochs: [] };
  t.strictSame(run(true, plain)[0], '0 of 3');
  t.strictSame(run(true, { ...plain, last: 3 })[0], '0 of 5', 'never an epoch again');
});

t.test('a cluster that never asked for it is left alone', async t => {
  t.strictSame(planEncryption(clusterWith(false, undefined), [], 1), { kind: 'none' });
});

t.test('a step waits for every node that is there, and for no other', async t => {
  const encryption: Encryption = { ...encryptedFromStart(1), step: 4, epochs: [1, 2], last: 2 };
  const key = (epoch: number) => ({ epoch, publicKey: '', port: 0 });
  const done = nodeWith('a', { step: 4, keys: [key(1), key(2)] });
  for (const [what, other, waits] of [
    ['one that has not confirmed', nodeWith('b', { step: 3, keys: [key(1), key(2)] }), true],
    ['one without the new key', nodeWith('b', { step: 4, keys: [key(1)] }), true],
    ['one that is lost', nodeWith('b', { step: 1 }, 'lost'), false],
    ['one that can’t encrypt', nodeWith('b', { step: 1, means: 'none' }), false],
    ['one that has confirmed', nodeWith('b', { step: 4, keys: [key(1), key(2)] }), false],
  ] as const) {
    const plan = planEncryption(clusterWith(true, encryption), [done, other], 1);
    t.equal(plan.kind, waits ? 'wait' : 'step', what);
  }
});
