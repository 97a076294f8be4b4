/** A worker's Control: it refuses with where to go, and tells what it remembers to whoever asks for no more. */
import t from 'tap';
import { workerControl } from '../../src/daemon/worker-control.js';
import type { ManagerAddress, TableItem } from '../../src/gen/types.js';
import { asId, type NodeId } from '../../src/ids.js';
import { callerOf } from './plane-fixtures.js';

const managers: readonly ManagerAddress[] = [
  { nodeId: asId<NodeId>('m1'), addresses: ['10.0.0.11:7377', '[fd00::1]:7377'], leader: true, raftId: 7 },
  { nodeId: asId<NodeId>('m2'), addresses: ['10.0.0.12:7377'], leader: false, raftId: 8 },
];
const row = (id: string, name: string, tunnelIndex: number): [string, TableItem] => [
  `node/${id}`,
  {
    key: `node/${id}`,
    value: {
      kind: 'node',
      nodeId: asId<NodeId>(id),
      name,
      tunnelIndex,
      dataAddresses: [`10.0.0.${10 + tunnelIndex}`],
      dataPort: 7378,
    },
  },
];
const control = workerControl({
  managers: () => managers,
  tables: () => new Map([row('m1', 'rack1', 1), row('w1', 'edge-a', 3)]),
  heardMs: () => 5_000,
});
const all = { objects: [], stack: '' };
const stale = () => {
  const context = callerOf();
  context.metadata.set('covey-read', 'stale');
  return context;
};

t.test('a worker says that it is no manager, which machines are, and what goes here', async t => {
  const asks: (() => Promise<unknown>)[] = [
    async () => control.listNodes(all, callerOf()),
    async () => control.listServices(all, stale()),
    async () => control.createService({ spec: {} } as never, callerOf()),
  ];
  for (const ask of asks) {
    await t.rejects(ask(), {
      code: 'not-manager',
      message: 'Cannot answer: this node is not a manager',
      state: 'it is a worker; managers: 10.0.0.11, 10.0.0.12',
      hint: 'ssh 10.0.0.11 covey …; for what runs here: covey task ls --local',
    });
  }
});

t.test('the members that it remembers are shown to whoever asks for no more, with the age of that', async t => {
  const answer = await control.listNodes(all, stale());
  t.match(answer, { leaderId: 'm1', asOf: { atMs: 5_000, why: 'remembered by this worker' } });
  t.match(
    answer.nodes.map(({ id, role, spec, status, description }) => [
      id,
      spec.name,
      role,
      status.state,
      description.addresses[0],
    ]),
    [
      ['m1', 'rack1', 'manager', 'unknown', '10.0.0.11:7377'],
      ['w1', 'edge-a', 'worker', 'unknown', '10.0.0.13'],
      ['m2', 'm2', 'manager', 'unknown', '10.0.0.12:7377'],
    ],
  );
  t.match((await control.listNodes({ objects: ['edge-a'], stack: '' }, stale())).nodes, [{ id: 'w1' }]);
  await t.rejects(control.listNodes({ objects: ['nobody'], stack: '' }, stale()), { code: 'not-found' });
});
