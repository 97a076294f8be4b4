import t from 'tap';
import { refusalOf, rolesOf, roleTable } from '../../../src/daemon/rpc/roles.js';
import { codeOf } from '../../../src/errors.js';
import type { Services } from '../../../src/gen/services.js';
import { type Caller, pathsOf } from '../../../src/grpc.js';

const services = Object.keys(roleTable) as (keyof Services)[];
const rows = rolesOf(services);

const worker: Caller = { kind: 'node', nodeId: 'n', clusterId: 'c', role: 'worker', serial: '1' };
const manager: Caller = { ...worker, role: 'manager' };
const removed: Caller = { ...worker, role: '' };
const person: Caller = { kind: 'uid', uid: 1000 };
const stranger: Caller = { kind: 'anonymous', address: '10.0.0.9:1' };

t.test('every RPC of every service has a row that lets somebody in', async t => {
  for (const service of services) {
    for (const path of pathsOf(service)) t.ok((rows.get(path) ?? []).length > 0, path);
  }
});

t.test('a method without a row does not start', async t => {
  const { leave: _, ...ca } = roleTable.Ca;
  t.throws(() => rolesOf(['Ca'], { ...roleTable, Ca: ca } as typeof roleTable), { code: 'bug' });
});

/** A machine that has no certificate that counts: it joins, or proves that it was a node. */
const open: readonly string[] = ['/covey.v1.Ca/Join', '/covey.v1.Ca/Recover'];

t.test('a stranger may join and nothing else', async t => {
  for (const path of rows.keys()) {
    const refusal = refusalOf(stranger, path, rows);
    if (open.includes(path)) t.equal(refusal, undefined, path);
    else t.equal(codeOf(refusal), 'no-certificate', path);
  }
});

t.test('nodes may not do what people may, people not what nodes may', async t => {
  for (const path of rows.keys()) {
    if (path.startsWith('/covey.v1.Raft/')) continue;
    const forNodes = path.startsWith('/covey.v1.Ca/') || path.startsWith('/covey.v1.Dispatcher/');
    t.equal(refusalOf(worker, path, rows) === undefined, forNodes, `worker ${path}`);
    // A manager passes on what people ask of it.
    const forManagers = forNodes || path.startsWith('/covey.v1.Control/');
    t.equal(refusalOf(manager, path, rows) === undefined, forManagers, `manager ${path}`);
    t.equal(refusalOf(person, path, rows) === undefined, !forNodes || open.includes(path), `person ${path}`);
    if (!open.includes(path)) t.equal(codeOf(refusalOf(removed, path, rows)), 'node-removed', `removed ${path}`);
  }
});

t.test('a node that the store knows as removed is refused on every call', async t => {
  for (const path of rows.keys()) {
    for (const certified of ['worker', 'manager'] as const) {
      const gone: Caller = { kind: 'node', nodeId: 'n', clusterId: 'c', role: 'removed', certified, serial: '1' };
      t.equal(codeOf(refusalOf(gone, path, rows)), 'node-removed', `${certified} ${path}`);
    }
  }
});

t.test(
  'members of the Raft group are known by their certificate; what the store knows of them is judged by who serves the link',
  async t => {
    const path = '/covey.v1.Raft/Link';
    t.equal(refusalOf({ ...manager, certified: 'manager' }, path, rows), undefined);
    t.equal(refusalOf({ ...removed, certified: 'manager' }, path, rows), undefined, 'the store here may be behind');
    t.equal(refusalOf({ ...worker, certified: 'manager' }, path, rows), undefined, 'it may be promoted, or demoted');
    t.equal(codeOf(refusalOf({ ...manager, certified: 'worker' }, path, rows)), 'role-refused');
  },
);

t.test('a worker on a call for managers is told which roles may', async t => {
  const path = '/covey.v1.Dispatcher/Session';
  const refusal = refusalOf(worker, path, new Map([[path, ['manager']]]));
  t.match(refusal, { code: 'role-refused', state: 'allowed: manager' });
});

t.test('what is not in the table is not served', async t => {
  t.equal(codeOf(refusalOf(manager, '/covey.v1.Ca/Nothing', rows)), 'unknown-value');
});
