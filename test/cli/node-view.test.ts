/** What a list of nodes says of each, and what it adds when something is out of the ordinary. */
import t from 'tap';
import { countedNode, notesOf } from '../../src/cli/node-view.js';
import { nodeRecord } from '../../src/cli/records.js';
import type { ListNodesResponse, Node } from '../../src/gen/types.js';
import { asId, type NodeId } from '../../src/ids.js';
import { node } from './objects.js';

const nowMs = 1_000_000_000;
const m1 = node({ id: 'm1', name: 'rack1', role: 'manager' });
const answer = (over: Partial<ListNodesResponse> = {}): ListNodesResponse => ({
  nodes: [],
  tasks: { m1: 2 },
  leaderId: asId<NodeId>('m1'),
  reachable: [asId<NodeId>('m1'), asId<NodeId>('m2')],
  lastHeardMs: {},
  ...over,
});

t.test('managers are told apart as in Docker: the leader, those that answer, those that do not', async t => {
  const of = (id: string, role: Node['role'], over: Partial<ListNodesResponse> = {}) =>
    countedNode({ ...m1, id: asId(id), role }, answer(over), 'm1').reachability;
  t.equal(of('m1', 'manager'), 'leader');
  t.equal(of('m2', 'manager'), 'reachable');
  t.equal(of('m3', 'manager'), 'unreachable');
  t.equal(of('w1', 'worker'), '');
  t.equal(of('m3', 'manager', { reachable: [] }), '', 'a worker that remembers them cannot say');
});

t.test('what is out of the ordinary stands at the end of the line', async t => {
  const notes = (over: Partial<Node>, heard = 0) =>
    notesOf(countedNode({ ...m1, ...over }, answer({ lastHeardMs: { m1: heard } }), 'm1'), nowMs);
  t.same(notes({}), []);
  const lost = { ...m1.status, state: 'lost', sinceMs: nowMs - 38_000, silentSinceMs: nowMs - 48_000 } as const;
  t.same(notes({ status: lost }, nowMs - 48_000), ['for 38s', 'last heard 48s ago']);
  const drain = { ...m1.spec, availability: 'drain', drainUntilMs: nowMs + 300_000 } as const;
  t.same(notes({ spec: drain }), ['2 tasks still here, stopped in 5m']);
  t.same(notes({ certificateExpiresAtMs: nowMs + 3_600_000 }), ['its certificate ends in 1h']);
  t.same(notes({ certificateExpiresAtMs: nowMs - 1 }), ['its certificate has ended']);
});

t.test('inspect shows what the machine is made of, when that is known', async t => {
  const hardware = {
    cpuModel: 'AMD EPYC',
    cpuSockets: 1,
    cpuCores: 2,
    disks: [{ name: 'vda', sizeBytes: 5, model: '', rotational: true }],
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', speedMbps: 1_000 }],
    gpus: [],
  };
  const record = (over: Partial<Node['description']>) =>
    nodeRecord(
      countedNode({ ...m1, description: { ...m1.description, ...over } }, answer({ lastHeardMs: { m1: 5 } }), 'm1'),
    );
  t.match(record({ hardware }), { hardware, lastHeardAt: '1970-01-01T00:00:00.005Z', reachability: 'leader' });
  t.equal(record({})['hardware'], null);
});
