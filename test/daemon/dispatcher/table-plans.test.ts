/**
 * What nodes have to show, computed and encoded once for many.
 */
import t from 'tap';
import { openTablePlans, type TableNews } from '../../../src/daemon/dispatcher/table-plans.js';
import { planTables } from '../../../src/daemon/dispatcher/tables.js';
import type { Network, Node, TableItem, Task, TaskState } from '../../../src/gen/types.js';
import { asId, type NetworkId, type NodeId, type ServiceId } from '../../../src/ids.js';
import type { OpenStore } from '../../../src/raft/store.js';
import { openWire } from '../../../src/wire.js';
import { changeTask, description, memoryStore, put, putTask, serviceSpec } from '../node-fixtures.js';

const wire = openWire();
const a = asId<NodeId>('a');
const b = asId<NodeId>('b');
const c = asId<NodeId>('c');
const web = asId<ServiceId>('web');

async function putNode(store: OpenStore, id: NodeId, index: number): Promise<void> {
  const object: Omit<Node, 'meta'> = {
    id,
    spec: { name: `node-${id}`, labels: {}, availability: 'active' },
    role: 'worker',
    description: description(id),
    status: { state: 'ready', sinceMs: 0, message: '' },
    tunnelIndex: index,
    certificateExpiresAtMs: 0,
    raftId: 0,
    demoting: false,
  };
  await put(store, [{ kind: 'put', table: 'node', object }]);
}

function task(nodeId: NodeId, address: string): Pick<Task, 'nodeId' | 'serviceId' | 'endpoints' | 'status'> {
  const endpoints = address === '' ? [] : [{ networkId: asId<NetworkId>('n1'), addresses: [address] }];
  return { nodeId, serviceId: web, endpoints, status: status('assigned') };
}

function status(state: TaskState): Task['status'] {
  return {
    state,
    sinceMs: 1,
    message: '',
    error: '',
    errorCode: '',
    outOfMemory: false,
    attempt: 0,
    health: '',
    ready: '',
    containers: [],
  };
}

/** Three nodes; web on network n1. */
async function cluster(): Promise<OpenStore> {
  const store = await memoryStore();
  for (const [at, id] of [a, b, c].entries()) await putNode(store, id, at + 1);
  const spec: Network['spec'] = {
    name: 'n1',
    labels: {},
    stack: '',
    driver: 'overlay',
    subnets: [],
    internal: false,
    attachable: false,
  };
  const network = { spec, subnets: ['10.1.0.0/24'] };
  await put(store, [{ kind: 'put', table: 'network', object: { id: asId<NetworkId>('n1'), ...network } as never }]);
  const service = { id: web, spec: serviceSpec('web', 'n1'), specVersion: 1, vips: [], ports: [], removing: false };
  await put(store, [{ kind: 'put', table: 'service', object: service as never }]);
  return store;
}

/** What a node shows that is told this. */
function shown(before: ReadonlyMap<string, TableItem>, news: TableNews): Map<string, TableItem> {
  const items = news.full ? new Map<string, TableItem>() : new Map(before);
  for (const item of news.items) items.set(item.key, item);
  for (const key of news.removed) items.delete(key);
  return items;
}

t.test('nodes that show the same share one set, and the way to the next', async t => {
  const store = await cluster();
  const plans = openTablePlans({ view: store.view });
  const before = plans.wanted(a, 1);
  t.equal(plans.wanted(b, 1), before);
  t.equal(plans.wanted(c, 2), before, 'also later, when nothing of it has changed');
  t.equal(plans.news(undefined, before).items, plans.news(undefined, before).items, 'a full one is made once');
  await putNode(store, asId('d'), 4);
  const after = plans.wanted(a, 3);
  t.not(after, before);
  t.same(
    plans.news(before, after).items.map(({ key }) => key),
    ['node/d'],
  );
  t.equal(plans.news(before, after).parts[0], plans.news(before, plans.wanted(b, 3)).parts[0]);
});

t.test('every way from one set to another ends where the plan of the node alone says', async t => {
  const store = await cluster();
  const plans = openTablePlans({ view: store.view, wire });
  const codec = wire.type('ManagerMessage');
  const told = new Map<NodeId, { set: ReturnType<typeof plans.wanted> | undefined; items: Map<string, TableItem> }>();
  for (const id of [a, b, c]) told.set(id, { set: undefined, items: new Map() });
  let epoch = 0;
  const look = (what: string): void => {
    epoch += 1;
    for (const [id, known] of told) {
      const set = plans.wanted(id, epoch);
      const news = plans.news(known.set, set);
      known.items = shown(known.items, news);
      known.set = set;
      const wanted = planTables(store.view(), id);
      t.same([...known.items].sort(), [...wanted].sort(), `${what}: node ${id}`);
      const message = plans.message(news, { term: 7, version: epoch });
      const plain = {
        body: { kind: 'tables', term: 7, version: epoch, full: news.full, items: news.items, removed: news.removed },
      } as const;
      t.same(codec.decode(codec.encode(message)), codec.decode(codec.encode(plain)), `${what}: the bytes say the same`);
    }
  };
  look('at first');
  const bare = await putTask(store, task(a, ''));
  look('a task without an address is shown where it is');
  const onA = await putTask(store, task(a, '10.1.0.3'));
  look('a node comes to the network');
  await putTask(store, task(b, '10.1.0.4'));
  look('another does');
  await changeTask(store, bare.id, one => ({ ...one, endpoints: task(a, '10.1.0.5').endpoints }));
  look('a task moves from what one shows to what all show');
  await changeTask(store, onA.id, one => ({ ...one, status: status('failed') }));
  look('a task ends');
  await changeTask(store, bare.id, one => ({ ...one, status: status('failed') }));
  look('a node leaves the network');
  await put(store, [{ kind: 'delete', table: 'node', id: c }]);
  look('a node is gone');
});
