import t from 'tap';
import { carryOut } from '../../../src/daemon/bulk/node.js';
import { openBulkRelay } from '../../../src/daemon/bulk/relay.js';
import type { BulkRelay } from '../../../src/daemon/dispatcher/types.js';
import { CoveyError } from '../../../src/errors.js';
import type {
  BulkFrame,
  LogsLine,
  LogsRequest,
  LogsStart,
  Task,
  TaskAnswer,
  VerbStart,
} from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { asId, type NodeId, type ServiceId } from '../../../src/ids.js';
import {
  adminContext,
  changeTask,
  context,
  eventually,
  fakeAgent,
  memoryStore,
  put,
  putTask,
  serviceSpec,
  standsStill,
} from '../node-fixtures.js';
import { startManager, startWorker, type TestManager } from '../node-rig.js';
import { status } from '../object-fixtures.js';

const own = asId<NodeId>('own');

interface Scope {
  readonly teardown: (call: () => unknown) => unknown;
}

async function startBulk(
  t: Scope,
  ownAgent = fakeAgent(),
): Promise<{ readonly manager: TestManager; readonly relay: BulkRelay }> {
  let relay: BulkRelay | undefined;
  const manager = await startManager(t, {
    relay: ({ store, dispatcher }) => {
      relay = openBulkRelay({
        store,
        clock: linuxHost.clock,
        dispatcher: () => dispatcher,
        term: () => 1,
        own: { nodeId: own, agent: ownAgent.agent },
      });
      return relay;
    },
  });
  if (relay === undefined) throw new Error('no relay');
  return { manager, relay };
}

function start(taskId: Task['id']): BulkFrame {
  return {
    body: {
      kind: 'exec',
      taskId,
      container: '',
      args: ['cat'],
      env: [],
      workingDir: '',
      user: '',
      tty: false,
      stdin: true,
      detach: false,
    },
  };
}

function data(bytes: Uint8Array, stream: 'stdin' | 'stdout' = 'stdin'): BulkFrame {
  return { body: { kind: 'data', stream, data: bytes, eof: false, atMs: 0 } };
}

const eof: BulkFrame = { body: { kind: 'data', stream: 'stdin', data: new Uint8Array(0), eof: true, atMs: 0 } };

async function runningOn(manager: TestManager, nodeId: NodeId, change: Partial<Task> = {}): Promise<Task> {
  const task = await putTask(manager.store, { nodeId, ...change });
  await changeTask(manager.store, task.id, old => ({ ...old, status: { ...old.status, state: 'running' } }));
  return task;
}

/** A program that sends back what it gets and ends at the end of its input. */
async function* cat(frames: AsyncIterable<BulkFrame>): AsyncGenerator<BulkFrame> {
  for await (const { body } of frames) {
    if (body.kind !== 'data') continue;
    if (body.eof) break;
    yield data(body.data, 'stdout');
  }
  yield { body: { kind: 'end', exitCode: 7 } };
}

async function* say(...frames: readonly BulkFrame[]): AsyncGenerator<BulkFrame> {
  yield* frames;
}

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

t.test('a program runs on the node of its task, wherever that is, and its exit code comes back', async t => {
  const fake = fakeAgent({ exec: cat });
  const { manager, relay } = await startBulk(t, fake);
  const worker = await startWorker(t, manager, { name: 'w1', fake: fakeAgent({ exec: cat }) });
  for (const nodeId of [worker.member.membership.nodeId, own]) {
    const task = await runningOn(manager, nodeId);
    const frames = [start(task.id), data(Buffer.from('one')), data(Buffer.from('two')), eof];
    const startMs = performance.now();
    const answer = await collect(relay.exec(say(...frames), adminContext()));
    t.comment(`exec: ${Math.round(performance.now() - startMs)} ms`);
    t.same(
      answer.map(({ body }) =>
        body.kind === 'data' ? Buffer.from(body.data).toString() : body.kind === 'end' ? body.exitCode : '?',
      ),
      ['one', 'two', 7],
      nodeId === own ? 'own node' : 'another node',
    );
  }
  t.match(worker.session.state(), { kind: 'connected' });
});

t.test('what cannot be run says why', async t => {
  const { manager, relay } = await startBulk(t);
  const worker = await startWorker(t, manager, { name: 'w1', fake: fakeAgent({ exec: failing }) });
  const { nodeId } = worker.member.membership;
  const idle = await putTask(manager.store, { nodeId });
  const away = await runningOn(manager, asId('elsewhere'));
  const good = await runningOn(manager, nodeId);
  const cases: readonly [string, BulkFrame, string][] = [
    ['no start', eof, 'bad-argument'],
    ['no such task', start(asId('nothing')), 'not-found'],
    ['a task that does not run', start(idle.id), 'task-not-running'],
    ['a node that is away', start(away.id), 'node-unreachable'],
  ];
  for (const [what, first, code] of cases)
    await t.rejects(collect(relay.exec(say(first), adminContext())), { code }, what);
  const [end] = await collect(relay.exec(say(start(good.id)), adminContext()));
  t.match(end?.body, { kind: 'end', problem: { code: 'exec-failed', message: 'Cannot start "nope"' } });
});

t.test('a verb is carried out by the node of its task, in the term of this manager', async t => {
  const asked: VerbStart[] = [];
  const fake = fakeAgent({
    verb: async start => {
      asked.push(start);
      if (start.verb === 'unpause') throw new CoveyError('task-not-paused', 'Cannot unpause');
      return { status: status('running', { paused: true }), processes: [] };
    },
  });
  const { manager, relay } = await startBulk(t, fake);
  const worker = await startWorker(t, manager, { name: 'w1', fake });
  const verb = (task: string, name: VerbStart['verb']): Promise<TaskAnswer> =>
    relay.runTaskVerb({ task, container: '', verb: name, signal: '' }, adminContext());
  for (const nodeId of [worker.member.membership.nodeId, own]) {
    const task = await runningOn(manager, nodeId);
    t.match(await verb(task.id, 'pause'), { status: { paused: true } });
    t.match(asked.at(-1), { taskId: task.id, verb: 'pause', term: 1 });
    await t.rejects(verb(task.id, 'unpause'), { code: 'task-not-paused' });
  }
  const idle = await putTask(manager.store, { nodeId: own });
  const away = await runningOn(manager, asId('elsewhere'));
  const count = asked.length;
  await t.rejects(verb(idle.id, 'kill'), { code: 'task-not-running' }, 'known state is enough to refuse');
  await t.rejects(verb(away.id, 'kill'), { code: 'node-unreachable' });
  t.equal(asked.length, count);
});

t.test('a node refuses the verb of a manager that led before', async t => {
  const answers = carryOut(
    fakeAgent().agent,
    { body: { kind: 'verb', taskId: asId('a'), container: '', verb: 'kill', signal: '', term: 3 } },
    { input: say(), term: 4, signal: AbortSignal.timeout(5_000) },
  );
  await t.rejects(collect(answers), { code: 'command-stale' });
});

// biome-ignore lint/correctness/useYield: a program that does not start says nothing.
async function* failing(): AsyncGenerator<BulkFrame> {
  throw new CoveyError('exec-failed', 'Cannot start "nope"');
}

t.test('a reader that stops reading stops the program; going away ends it', async t => {
  let written = 0;
  let ended = false;
  const flood = async function* (
    _frames: AsyncIterable<BulkFrame>,
    _start: unknown,
    signal: AbortSignal,
  ): AsyncGenerator<BulkFrame> {
    try {
      for (; !signal.aborted; written += 1) yield data(new Uint8Array(65_536), 'stdout');
    } finally {
      ended = true;
    }
  };
  const { manager, relay } = await startBulk(t);
  const worker = await startWorker(t, manager, { name: 'w1', fake: fakeAgent({ exec: flood }) });
  const task = await runningOn(manager, worker.member.membership.nodeId);
  const answer = relay.exec(say(start(task.id)), adminContext())[Symbol.asyncIterator]();
  await answer.next();
  await standsStill('the program stands still', () => written);
  t.ok(written < 100, `${written} frames of 64 KiB on the way`);
  for (let read = 0; read < 200; read += 1) await answer.next();
  t.ok(written >= 200, 'and goes on when it is read');
  await answer.return?.();
  await eventually('the end of the program', () => ended);
});

t.test('a program that does not read stops the writer, and ends with it', async t => {
  let ended = false;
  const deaf = async function* (
    _frames: AsyncIterable<BulkFrame>,
    _start: unknown,
    signal: AbortSignal,
  ): AsyncGenerator<BulkFrame> {
    yield data(new Uint8Array(1), 'stdout');
    await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }));
    ended = true;
  };
  const { manager, relay } = await startBulk(t);
  const worker = await startWorker(t, manager, { name: 'w1', fake: fakeAgent({ exec: deaf }) });
  const task = await runningOn(manager, worker.member.membership.nodeId);
  let sent = 0;
  const input = async function* (): AsyncGenerator<BulkFrame> {
    yield start(task.id);
    for (; ; sent += 1) yield data(new Uint8Array(65_536));
  };
  const answer = relay.exec(input(), adminContext())[Symbol.asyncIterator]();
  await answer.next();
  await standsStill('the writer stands still', () => sent);
  t.ok(sent < 120, `${sent} frames of 64 KiB on the way`);
  await answer.return?.();
  await eventually('the end of the program', () => ended);
});

t.test('a ticket is good for the node it was made for, once', async t => {
  const store = await memoryStore();
  const tickets: string[] = [];
  const closed: string[] = [];
  const relay = openBulkRelay({
    store,
    clock: linuxHost.clock,
    dispatcher: () => ({
      openBulk: (_nodeId, ticket) => tickets.push(ticket) > 0,
      closeBulk: (_nodeId, ticket) => void closed.push(ticket),
    }),
    term: () => 1,
    own: { nodeId: own, agent: fakeAgent().agent },
  });
  const task = await putTask(store, { nodeId: asId('a') });
  await changeTask(store, task.id, old => ({ ...old, status: { ...old.status, state: 'running' } }));
  const answer = relay.exec(say(start(task.id)), adminContext())[Symbol.asyncIterator]();
  const first = answer.next();
  const ticket = await eventually('the ticket', () => tickets[0]);
  const show = (shown: string, nodeId: string, ...frames: readonly BulkFrame[]): AsyncIterator<BulkFrame> =>
    relay.bulk(say({ body: { kind: 'ticket', ticket: shown } }, ...frames), context(nodeId))[Symbol.asyncIterator]();
  await t.rejects(show('00'.repeat(16), 'a').next(), { code: 'not-found' }, 'made up');
  await t.rejects(show(ticket, 'b').next(), { code: 'not-found' }, 'of another node');
  const good = show(ticket, 'a', data(Buffer.from('x'), 'stdout'), { body: { kind: 'end', exitCode: 0 } });
  t.match((await good.next()).value, { body: { kind: 'exec', args: ['cat'] } });
  await t.rejects(show(ticket, 'a').next(), { code: 'not-found' }, 'used');
  t.match((await first).value, { body: { kind: 'data' } });
  t.match((await answer.next()).value, { body: { kind: 'end' } });
  t.equal((await answer.next()).done, true);
  t.equal((await good.next()).done, true, 'the stream of the node ends with it');
  t.same(closed, [], 'nothing had to be broken off');
});

t.test('when the node goes away, or is removed, the caller is told', async t => {
  const endless = async function* (_frames: unknown, _start: unknown, signal: AbortSignal): AsyncGenerator<BulkFrame> {
    yield data(new Uint8Array(1), 'stdout');
    await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }));
  };
  const { manager, relay } = await startBulk(t);
  for (const how of ['removed', 'stopped']) {
    const worker = await startWorker(t, manager, { name: `w-${how}`, fake: fakeAgent({ exec: endless }) });
    const { nodeId } = worker.member.membership;
    const task = await runningOn(manager, nodeId);
    const answer = relay.exec(say(start(task.id)), adminContext())[Symbol.asyncIterator]();
    await answer.next();
    const end = answer.next().catch((error: unknown) => error);
    if (how === 'removed') await put(manager.store, [{ kind: 'delete', table: 'node', id: nodeId }]);
    else await worker.stop();
    t.match(await end, { code: 'node-unreachable' }, how);
  }
});

async function putWeb(manager: TestManager): Promise<ServiceId> {
  const id = asId<ServiceId>('svc');
  const object = { id, spec: serviceSpec('web', 'n1'), specVersion: 1, vips: [], ports: [], removing: false };
  await put(manager.store, [{ kind: 'put', table: 'service', object }]);
  return id;
}

function logsRequest(change: Partial<LogsRequest> = {}): LogsRequest {
  return { service: 'web', tasks: [], follow: false, tail: -1, sinceMs: 0, untilMs: 0, container: '', ...change };
}

function textOf(line: LogsLine): string {
  return line.data === undefined
    ? `${line.taskName}: ${line.problem?.code}`
    : `${line.taskName}: ${Buffer.from(line.data.data).toString()}`;
}

/** Two lines; when following, until the signal. */
async function* lines(begin: LogsStart, signal: AbortSignal): AsyncGenerator<BulkFrame> {
  yield data(Buffer.from('one'), 'stdout');
  yield data(Buffer.from('two'), 'stdout');
  if (begin.follow) await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }));
  yield { body: { kind: 'end' } };
}

t.test('logs of a service are those of its tasks; one that cannot be had does not hide the others', async t => {
  const { manager, relay } = await startBulk(t, fakeAgent({ logs: lines }));
  const worker = await startWorker(t, manager, { name: 'w1', fake: fakeAgent({ logs: lines }) });
  await putWeb(manager);
  await runningOn(manager, own, { slot: 1 });
  await runningOn(manager, worker.member.membership.nodeId, { slot: 2 });
  await runningOn(manager, asId('elsewhere'), { slot: 3 });
  const all = await collect(relay.logs(logsRequest(), adminContext()));
  t.same(all.map(textOf).sort(), ['web.1: one', 'web.1: two', 'web.2: one', 'web.2: two', 'web.3: node-unreachable']);
  t.equal(all.find(line => line.taskName === 'web.2')?.nodeName, 'w1');
  await t.rejects(collect(relay.logs(logsRequest({ service: 'none' }), adminContext())), { code: 'not-found' });
});

t.test('when following a service its new tasks are taken in', async t => {
  const ending: AbortSignal[] = [];
  const noted = (begin: LogsStart, signal: AbortSignal) => {
    ending.push(signal);
    return lines(begin, signal);
  };
  const { manager, relay } = await startBulk(t, fakeAgent({ logs: noted }));
  await putWeb(manager);
  const seen: string[] = [];
  const reading = relay.logs(logsRequest({ follow: true }), adminContext())[Symbol.asyncIterator]();
  const first = reading.next();
  await runningOn(manager, own, { slot: 1 });
  seen.push(textOf((await first).value as LogsLine), textOf((await reading.next()).value as LogsLine));
  await runningOn(manager, own, { slot: 2 });
  for (let count = 0; count < 2; count += 1) seen.push(textOf((await reading.next()).value as LogsLine));
  t.same(seen, ['web.1: one', 'web.1: two', 'web.2: one', 'web.2: two']);
  await reading.return?.();
  t.same(
    ending.map(signal => signal.aborted),
    [true, true],
    'nobody reads on',
  );
});

t.test('a slow reader of logs stops the readers of the files', async t => {
  let read = 0;
  const endless = async function* (_begin: unknown, signal: AbortSignal): AsyncGenerator<BulkFrame> {
    for (; !signal.aborted; read += 1) yield data(new Uint8Array(1_024), 'stdout');
  };
  const { manager, relay } = await startBulk(t, fakeAgent({ logs: endless }));
  await putWeb(manager);
  for (const slot of [1, 2, 3]) await runningOn(manager, own, { slot });
  const reading = relay.logs(logsRequest(), adminContext())[Symbol.asyncIterator]();
  await reading.next();
  await standsStill('the readers stand still', () => read);
  t.ok(read < 100, `${read} lines read`);
  await reading.return?.();
});
