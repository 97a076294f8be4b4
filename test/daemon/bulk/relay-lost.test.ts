/** Streams of a node that does not come back. */
import t from 'tap';
import { openBulkRelay } from '../../../src/daemon/bulk/relay.js';
import type { BulkFrame, Task } from '../../../src/gen/types.js';
import { asId, type NodeId } from '../../../src/ids.js';
import { makeFakeClock } from '../../fake-clock.js';
import {
  adminContext,
  changeTask,
  context,
  eventually,
  fakeAgent,
  memoryStore,
  put,
  putTask,
} from '../node-fixtures.js';
import { node } from '../object-fixtures.js';

const own = asId<NodeId>('own');

function exec(taskId: Task['id']): BulkFrame {
  const plain = { container: '', env: [], workingDir: '', user: '', tty: false, detach: false };
  return { body: { kind: 'exec', taskId, args: ['cat'], stdin: true, ...plain } };
}

async function* say(...frames: readonly BulkFrame[]): AsyncGenerator<BulkFrame> {
  yield* frames;
}

t.test('the streams of a node end when it is lost and stays so; when it comes back they go on', async t => {
  const store = await memoryStore();
  const tickets: string[] = [];
  const clock = makeFakeClock();
  const relay = openBulkRelay({
    store,
    clock,
    dispatcher: () => ({ openBulk: (_nodeId, ticket) => tickets.push(ticket) > 0, closeBulk: () => undefined }),
    term: () => 1,
    own: { nodeId: own, agent: fakeAgent().agent },
  });
  const setState = (state: 'ready' | 'lost') => {
    const object = node('a', { status: { state, sinceMs: 0, message: '' } });
    return put(store, [{ kind: 'put', table: 'node', object }]);
  };
  await setState('ready');
  const task = await putTask(store, { nodeId: asId('a') });
  await changeTask(store, task.id, old => ({ ...old, status: { ...old.status, state: 'running' } }));
  const answer = relay.exec(say(exec(task.id)), adminContext())[Symbol.asyncIterator]();
  const first = answer.next();
  const ticket = await eventually('the ticket', () => tickets[0]);
  const silent = async function* (): AsyncGenerator<BulkFrame> {
    yield { body: { kind: 'ticket', ticket } };
    yield { body: { kind: 'data', stream: 'stdout', data: Buffer.from('x'), eof: false, atMs: 0 } };
    await new Promise(() => undefined);
  };
  void relay.bulk(silent(), context('a'))[Symbol.asyncIterator]().next();
  await first;
  let ended: unknown;
  const end = answer.next().catch((error: unknown) => {
    ended = error;
  });
  await setState('lost');
  await clock.advance(29_000);
  await setState('ready');
  await clock.advance(60_000);
  t.equal(ended, undefined, 'it was away for less than its streams are waited for');
  await setState('lost');
  await clock.advance(30_000);
  await end;
  t.match(ended, { code: 'node-unreachable' });
});

t.test('a node that is ready and has no session is waited for, for a while; one that is lost is not', async t => {
  const store = await memoryStore();
  const clock = makeFakeClock();
  let hasSession = false;
  let asked = 0;
  const relay = openBulkRelay({
    store,
    clock,
    dispatcher: () => ({
      openBulk: () => {
        asked += 1;
        return hasSession;
      },
      closeBulk: () => undefined,
    }),
    term: () => 1,
    own: { nodeId: own, agent: fakeAgent().agent },
  });
  const setState = (state: 'ready' | 'lost') =>
    put(store, [{ kind: 'put', table: 'node', object: node('a', { status: { state, sinceMs: 0, message: '' } }) }]);
  await setState('ready');
  const task = await putTask(store, { nodeId: asId('a') });
  await changeTask(store, task.id, old => ({ ...old, status: { ...old.status, state: 'running' } }));
  const call = () => {
    const seen: { error?: { code?: string; state?: string } } = {};
    const answer = relay.exec(say(exec(task.id)), adminContext())[Symbol.asyncIterator]();
    void answer.next().catch((error: object) => {
      seen.error = error;
    });
    return seen;
  };
  const never = call();
  await eventually('the first try', () => asked === 1);
  for (let tenths = 0; never.error === undefined && tenths < 100; tenths += 1) await clock.advance(100);
  t.match(never.error, { code: 'node-unreachable', state: /is ready and has no session/ });
  t.ok(asked > 10, `asked ${asked} times`);

  const late = call();
  const before = asked;
  await eventually('another try', () => asked > before);
  hasSession = true;
  await clock.advance(100);
  await eventually('the session', () => asked > before + 1);
  t.equal(late.error, undefined);

  hasSession = false;
  await setState('lost');
  const lost = call();
  await eventually('the refusal', () => lost.error);
  t.match(lost.error, { code: 'node-unreachable', state: /is lost/ });
});
