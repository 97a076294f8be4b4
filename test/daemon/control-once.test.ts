import grpc from '@grpc/grpc-js';
import t from 'tap';
import { makeNumbering, newIdFor, onBehalf, travelling } from '../../src/daemon/control-once.js';
import type { CallContext } from '../../src/grpc.js';
import { callerOf, seededRandom, wire } from './plane-fixtures.js';

const metadataOf = (values: Readonly<Record<string, string>>): grpc.Metadata => {
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(values)) metadata.set(key, value);
  return metadata;
};

t.test('each change has a name of its own, and says up to which all were answered', async t => {
  const numbering = makeNumbering(seededRandom());
  const [one, two, three] = [numbering.begin(), numbering.begin(), numbering.begin()];
  t.match(
    [one.once, two.once, three.once],
    [
      { sequence: 1, settled: 0 },
      { sequence: 2, settled: 0 },
      { sequence: 3, settled: 0 },
    ],
  );
  two.done();
  t.match(numbering.begin().once, { sequence: 4, settled: 0 }, 'the first is still open');
  one.done();
  t.match(numbering.begin().once, { sequence: 5, settled: 2 });
  t.equal(one.once.client, three.once.client);
  t.not(makeNumbering(seededRandom(2)).begin().once.client, one.once.client);
});

t.test('a change that is asked for again makes an object of the same id', async t => {
  const { once } = makeNumbering(seededRandom()).begin();
  const again: CallContext = { ...callerOf(), once };
  t.equal(newIdFor(again, seededRandom(5)), newIdFor(again, seededRandom(6)));
  t.not(newIdFor(callerOf(), seededRandom(5)), newIdFor(callerOf(), seededRandom(6)));
});

t.test('who asked, and under which name, travels to the leader', async t => {
  const { once } = makeNumbering(seededRandom()).begin();
  const seen: CallContext[] = [];
  const handlers = onBehalf(wire, {
    getCluster: async (_request: unknown, context: CallContext) => void seen.push(context),
  } as never);
  const metadata = metadataOf(travelling({ ...callerOf(1_000), once }));
  const between: CallContext = {
    ...callerOf(),
    caller: { kind: 'node', nodeId: 'm2', clusterId: 'c', role: 'manager', serial: '1' },
    metadata,
  };
  await handlers.getCluster({}, between);
  await handlers.getCluster({}, { ...between, metadata: metadataOf({ 'covey-principal': 'root', 'covey-once': '-' }) });
  t.match(seen, [{ caller: { kind: 'uid', uid: 1_000 }, once }, { caller: { kind: 'node', nodeId: 'm2' } }]);
  t.equal(seen[1]?.once, undefined);
});
