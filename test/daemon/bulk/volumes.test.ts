import t from 'tap';
import { gatherVolumes } from '../../../src/daemon/bulk/volumes.js';
import { askVolumes } from '../../../src/daemon/volumes.js';
import { CoveyError } from '../../../src/errors.js';
import type { BulkFrame, Volume, VolumesRequest } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import type { NodeId } from '../../../src/ids.js';
import type { KeptVolume, Volumes } from '../../../src/tasks/volumes.js';
import { memoryStore, put } from '../node-fixtures.js';
import { node } from '../object-fixtures.js';

const request: VolumesRequest = { node: '', names: [], usage: false, remove: false };
const signal = AbortSignal.timeout(10_000);

const kept = (name: string, users: readonly string[] = []): KeptVolume => ({
  ...{ name, path: `/v/${name}`, options: {}, labels: {}, createdAtMs: 0, isAnonymous: false, isMounted: false, users },
});

/** A node's volumes; those that are in use cannot be removed. */
function keeper(...names: readonly string[]) {
  const present = new Set(names);
  let changes = 0;
  const volumes: Volumes = {
    prepare: () => Promise.reject(new Error('not here')),
    release: () => Promise.resolve(),
    create: () => Promise.resolve(),
    list: async () => [...present].map(name => kept(name, name === 'used' ? ['t'] : [])),
    remove: async name => {
      if (name === 'used') throw new CoveyError('volume-in-use', 'Cannot remove volume "used"');
      present.delete(name);
    },
  };
  const space = { totalBytes: 9, freeBytes: 5, totalInodes: 9, freeInodes: 5 };
  const meter = { measure: async () => undefined, space: async () => space };
  const changed = async (): Promise<void> => {
    changes += 1;
  };
  return { parts: { volumes, meter, clock: linuxHost.clock, changed }, present, changes: () => changes };
}

async function threeNodes(removing: boolean) {
  const store = await memoryStore();
  for (const name of ['n1', 'n2', 'n3']) {
    await put(store, [{ kind: 'put', table: 'node', object: node(name) }]);
  }
  const nodes = new Map([
    ['n1', keeper('data', 'used', 'old')],
    ['n2', keeper('data')],
  ]);
  async function* open({ nodeId }: { nodeId: NodeId }, start: BulkFrame): AsyncGenerator<BulkFrame> {
    const at = nodes.get(nodeId);
    if (at === undefined) throw new CoveyError('node-unreachable', 'Cannot reach node "n3"');
    if (start.body.kind !== 'volumes') throw new Error(start.body.kind);
    t.equal(start.body.remove, removing);
    t.equal(start.body.term, 4);
    yield* askVolumes(at.parts, start.body);
    yield { body: { kind: 'end' } };
  }
  const ask = async (more: Partial<VolumesRequest>): Promise<readonly string[]> => {
    const all: string[] = [];
    const names = (volumes: readonly Volume[]): string => volumes.map(({ name }) => name).join();
    const options = { store, clock: linuxHost.clock, term: () => 4, open, signal };
    for await (const { nodeName, volumes, problem } of gatherVolumes({
      ...options,
      request: { ...request, ...more },
    })) {
      all.push(`${nodeName}: ${names(volumes)}${problem === undefined ? '' : ` ${problem.code}`}`);
    }
    return all;
  };
  return { ask, nodes };
}

t.test('volumes of all nodes are listed; a node that does not answer is told of, and hides no other', async t => {
  const { ask } = await threeNodes(false);
  t.strictSame(await ask({}), ['n1: data,used,old', 'n2: data', 'n3:  node-unreachable']);
  t.strictSame(await ask({ names: ['old'] }), ['n1: old', 'n2: ', 'n3:  node-unreachable']);
  t.strictSame(await ask({ node: 'n2' }), ['n2: data']);
  await t.rejects(ask({ node: 'n9' }), { code: 'not-found' });
});

t.test('only named volumes are removed; the first that is in use ends it, and what was removed is told', async t => {
  const { ask, nodes } = await threeNodes(true);
  await t.rejects(ask({ remove: true }), { code: 'bad-argument' });
  t.strictSame(await ask({ node: 'n1', names: ['data', 'used', 'old'], remove: true }), ['n1: data volume-in-use']);
  t.strictSame([...(nodes.get('n1')?.present ?? [])], ['used', 'old']);
  t.equal(nodes.get('n1')?.changes(), 1, 'the managers place by what is left');
  t.strictSame([...(nodes.get('n2')?.present ?? [])], ['data']);
});
