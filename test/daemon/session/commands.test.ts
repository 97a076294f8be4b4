/**
 * The node's half against a manager that the test plays itself: a stream in memory, time that stands still.
 */
import t from 'tap';
import { type Channel, openChannel } from '../../../src/channel.js';
import { targetsOf } from '../../../src/daemon/session/dial.js';
import { withReached } from '../../../src/daemon/session/memory.js';
import { chooseProtocol } from '../../../src/daemon/session/protocol.js';
import { isDead, planRedial } from '../../../src/daemon/session/redial.js';
import { openSession } from '../../../src/daemon/session/session.js';
import type { Session, SessionTables } from '../../../src/daemon/session/types.js';
import { CoveyError, type ErrorCode } from '../../../src/errors.js';
import type { AgentMessage, ManagerAddress, ManagerMessage, TableItem } from '../../../src/gen/types.js';
import { asId, type NodeId } from '../../../src/ids.js';
import { type FakeClock, makeFakeClock, settle } from '../../fake-clock.js';
import { anySignal, description, type FakeAgent, fakeAgent, silent, testLifetime } from '../node-fixtures.js';

interface Played {
  /** Written down, in order. */
  readonly terms: readonly number[];
  readonly session: Session;
  readonly fake: FakeAgent;
  readonly clock: FakeClock;
  /** One for each call of the node: what it said, and the way to answer. */
  readonly calls: { readonly said: AgentMessage[]; readonly answer: Channel<ManagerMessage>; cancelled: boolean }[];
  readonly say: (body: ManagerMessage['body']) => Promise<void>;
}

interface Scope {
  readonly teardown: (call: () => unknown) => unknown;
}

interface Parts {
  readonly fake?: FakeAgent;
  readonly tables?: SessionTables;
  /** That the node has obeyed before. */
  readonly term?: number;
}

function play(t: Scope, parts: Parts = {}): Played {
  const terms: number[] = [];
  const clock = makeFakeClock();
  const fake = parts.fake ?? fakeAgent();
  const lifetime = testLifetime();
  const calls: Played['calls'] = [];
  const session = openSession({
    clock,
    random: { bytes: size => new Uint8Array(size), fraction: () => 0.5 },
    log: silent,
    lifetime,
    dial: async () => ({
      reached: { nodeId: 'm1', address: '10.0.0.1:7377' },
      session: ({ signal }) => {
        const answer = openChannel<ManagerMessage>(1_000);
        const call = { said: [] as AgentMessage[], answer, cancelled: false };
        calls.push(call);
        const cancel = (): void => {
          call.cancelled = true;
          answer.fail(new CoveyError('cancelled', 'Cannot go on: cancelled'));
        };
        signal.addEventListener('abort', cancel, { once: true });
        return {
          send: async message => void call.said.push(message),
          end: () => undefined,
          cancel,
          [Symbol.asyncIterator]: () => answer[Symbol.asyncIterator](),
        };
      },
      bulk: () => Promise.reject(new Error('no bulk here')),
      [Symbol.asyncDispose]: async () => undefined,
    }),
    agent: fake.agent,
    tables: parts.tables ?? fake.networkTables,
    memory: {
      managers: () => [],
      term: () => parts.term ?? 0,
      rememberTerm: async term => void terms.push(term),
      rememberManagers: () => undefined,
      writtenMs: 0,
      tables: new Map(),
      rememberTables: () => undefined,
    },
    describe: async () => description('w1'),
    bootId: 'boot',

    onWelcome: () => undefined,
  });
  t.teardown(() => lifetime[Symbol.asyncDispose]());
  const say = async (body: ManagerMessage['body']): Promise<void> => {
    calls.at(-1)?.answer.push({ body });
    await settle();
  };
  return { session, fake, clock, calls, say, terms };
}

function welcome(term = 1): ManagerMessage['body'] {
  return {
    kind: 'welcome',
    protocol: 1,
    term,
    clusterId: asId('c'),
    heartbeatMs: 1_000,
    managers: [],
    nodeName: 'w1',
    role: 'worker',
    raftId: 0,
  };
}

function assignments(term: number, sequence: number, full = false): ManagerMessage['body'] {
  return { kind: 'assignments', term, sequence, full, tasks: [], removedTasks: [], secrets: [], configs: [] };
}

function nodeItem(id: string): TableItem {
  const nodeId = asId<NodeId>(id);
  return {
    key: `node/${id}`,
    value: { kind: 'node', nodeId, name: id, tunnelIndex: 1, dataAddresses: [], dataPort: 1 },
  };
}

function tables(
  version: number,
  ids: readonly string[],
  change: { readonly full?: boolean; readonly removed?: readonly string[] } = {},
): ManagerMessage['body'] {
  return {
    kind: 'tables',
    term: 1,
    version,
    full: change.full ?? false,
    items: ids.map(nodeItem),
    removed: change.removed ?? [],
  };
}

const kinds = (said: readonly AgentMessage[]): string => said.map(message => message.body.kind).join(' ');

t.test('an old leader is not obeyed, not even by a daemon that was started anew', async t => {
  const played = play(t, { term: 7 });
  await settle();
  await played.say(welcome(6));
  await played.say(assignments(6, 1, true));
  t.equal(played.fake.updates.length, 0, 'nothing is taken from it');
  t.match(played.session.state(), { kind: 'connecting', problem: { code: 'not-leader' } });
  await played.clock.advance(2_000);
  await played.say(welcome(7));
  await played.say(assignments(7, 1, true));
  t.same(
    [played.fake.updates.length, played.terms],
    [1, [7]],
    'the term is written down before its assignments are taken',
  );
});

t.test('a session begins with hello, and what is done is acknowledged', async t => {
  const played = play(t);
  await settle();
  t.equal(kinds(played.calls[0]?.said ?? []), 'hello');
  await played.say(welcome());
  await played.say(tables(1, ['a'], { full: true }));
  await played.say(assignments(1, 2, true));
  const last = played.calls[0]?.said.at(-1)?.body;
  t.match(last, { kind: 'acknowledgement', assignments: 2, tables: 1 });
  await played.session.ready(anySignal());
});

t.test('commands that are not newer than what was seen are ignored, also after a new call', async t => {
  const played = play(t);
  await settle();
  await played.say(welcome(2));
  await played.say(assignments(2, 5, true));
  for (const [term, sequence] of [
    [2, 5],
    [2, 4],
    [1, 9],
  ] as const)
    await played.say(assignments(term, sequence));
  t.same(
    played.fake.updates.map(update => update.sequence),
    [5],
  );
  await played.say(assignments(2, 6));
  played.calls[0]?.answer.close();
  await played.clock.advance(2_000);
  t.equal(played.calls.length, 2, 'called again');
  await played.say(welcome(1));
  await played.say(assignments(1, 50, true));
  t.same(
    played.fake.updates.map(update => update.sequence),
    [5, 6],
    'an old leader stops nothing',
  );
  await played.clock.advance(2_000);
  t.equal(played.calls.length, 3, 'and is left');
  await played.say(welcome(3));
  await played.say(assignments(3, 1, true));
  t.same(
    played.fake.updates.map(update => update.sequence),
    [5, 6, 1],
  );
});

t.test('tables are applied one set at a time, the latest, and acknowledged when in effect', async t => {
  const sets: string[] = [];
  const waiting: (() => void)[] = [];
  const played = play(t, {
    tables: {
      applyTables: async items => {
        sets.push([...items.keys()].join(' '));
        await new Promise<void>(resolve => waiting.push(resolve));
      },
    },
  });
  const acknowledged = (): unknown =>
    played.calls[0]?.said.findLast(message => message.body.kind === 'acknowledgement')?.body;
  await settle();
  await played.say(welcome());
  await played.say(tables(1, ['a'], { full: true }));
  await played.say(tables(2, ['b']));
  await played.say(tables(3, ['c'], { removed: ['node/a'] }));
  t.same(sets, ['node/a'], 'the others wait');
  t.equal(acknowledged(), undefined);
  waiting.shift()?.();
  await settle();
  t.match(acknowledged(), { tables: 1 });
  t.same(sets, ['node/a', 'node/b node/c'], 'and are taken together');
  waiting.shift()?.();
  await settle();
  t.match(acknowledged(), { tables: 3 });
});

t.test('tables that cannot be applied are tried again and not acknowledged', async t => {
  let fail = true;
  let tries = 0;
  const played = play(t, {
    tables: {
      applyTables: async () => {
        tries += 1;
        if (fail) throw new CoveyError('netlink-refused', 'Cannot add a route');
      },
    },
  });
  await settle();
  await played.say(welcome());
  await played.say(tables(1, ['a'], { full: true }));
  await played.clock.advance(700);
  t.equal(tries, 3, 'after 200 and 400 ms');
  t.notMatch(kinds(played.calls[0]?.said ?? []), /acknowledgement/);
  fail = false;
  await played.clock.advance(1_000);
  t.match(kinds(played.calls[0]?.said ?? []), /acknowledgement/);
});

t.test('an acknowledgement goes to the session that sent the tables only', async t => {
  const waiting: (() => void)[] = [];
  const played = play(t, {
    tables: { applyTables: () => new Promise<void>(resolve => waiting.push(resolve)) },
  });
  await settle();
  await played.say(welcome());
  await played.say(tables(7, ['a'], { full: true }));
  played.calls[0]?.answer.close();
  await played.clock.advance(2_000);
  await played.say(welcome());
  waiting.shift()?.();
  await settle();
  t.equal(kinds(played.calls[1]?.said ?? []).includes('acknowledgement'), false);
});

t.test('assignments that the agent cannot keep end the session, so that all of them come again', async t => {
  const fake = fakeAgent({ assign: () => Promise.reject(new CoveyError('no-space', 'Cannot write')) });
  const played = play(t, { fake });
  await settle();
  await played.say(welcome());
  await played.say(assignments(1, 1, true));
  t.equal(played.calls[0]?.cancelled, true);
  t.match(played.session.state(), { kind: 'connecting', problem: { code: 'internal', cause: { code: 'no-space' } } });
  await played.clock.advance(2_000);
  t.equal(played.calls.length, 2);
});

t.test('heartbeats are regular; a manager that does not answer the fifth is given up', async t => {
  const played = play(t);
  await settle();
  await played.say(welcome());
  await played.clock.advance(4_600);
  const beats = () => played.calls[0]?.said.filter(message => message.body.kind === 'heartbeat').length;
  t.equal(beats(), 5);
  await played.say({ kind: 'heartbeat', sequence: 5 });
  await played.clock.advance(5_000);
  t.equal(beats(), 10);
  t.equal(played.calls[0]?.cancelled, false, 'answered in time');
  await played.clock.advance(1_100);
  t.equal(played.calls[0]?.cancelled, true, 'the tenth was not');
  t.match(played.session.state(), { problem: { code: 'timeout' } });
});

t.test('a manager that does not welcome is given up after 5 s', async t => {
  const played = play(t);
  await settle();
  await played.clock.advance(4_900);
  t.equal(played.calls[0]?.cancelled, false);
  await played.clock.advance(200);
  t.equal(played.calls[0]?.cancelled, true);
});

t.test('only the latest status of a task waits to be sent', async t => {
  const played = play(t);
  await settle();
  const report = (message: string) =>
    ({
      taskId: asId<never>('t1'),
      status: {
        state: 'running',
        sinceMs: 1,
        message,
        error: '',
        errorCode: '',
        outOfMemory: false,
        attempt: 0,
        health: '',
        ready: '',
        containers: [],
      },
    }) as const;
  await played.say(welcome());
  played.fake.report([report('one')]);
  played.fake.report([report('two')]);
  await settle();
  const sent = played.calls[0]?.said.flatMap(({ body }) =>
    body.kind === 'status' ? body.tasks.map(task => task.status.message) : [],
  );
  t.same(sent, ['two']);
});

t.test('how long to wait before the next call', async t => {
  const cases: readonly [ErrorCode, number, number][] = [
    ['no-connection', 100, 500],
    ['timeout', 100, 500],
    ['not-leader', 30, 250],
    ['cancelled', 100, 2_000],
    ['session-replaced', 5_000, 15_000],
    ['node-removed', 20_000, 40_000],
  ];
  for (const [code, leastMs, mostMs] of cases) {
    const error = new CoveyError(code, 'Cannot');
    t.equal(planRedial(error, 0), leastMs, code);
    t.equal(planRedial(error, 1), mostMs, code);
  }
  const silent = new CoveyError('no-connection', 'x');
  t.same([planRedial(silent, 0, 1_000), planRedial(silent, 1, 1_000)], [20, 100], 'the attempt itself was a wait');
  t.same([planRedial(silent, 0, 10), planRedial(silent, 1, 10)], [90, 490], 'one that was refused at once is not');
});

t.test('when a manager is dead', async t => {
  t.notOk(isDead({ heardMs: 0, askedMs: undefined }, 60_000, 1_000), 'nothing was asked');
  t.notOk(isDead({ heardMs: 0, askedMs: 5_000 }, 5_900, 1_000), 'asked just now');
  t.ok(isDead({ heardMs: 0, askedMs: 5_000 }, 6_000, 1_000));
  t.notOk(isDead({ heardMs: 0, askedMs: 5_000 }, 6_000, 10_000), 'a slow link has longer periods');
});

t.test('the highest version that both sides speak', async t => {
  t.equal(chooseProtocol({ min: 1, max: 3 }, { min: 2, max: 5 }), 3);
  t.equal(chooseProtocol({ min: 1, max: 1 }, { min: 1, max: 1 }), 1);
  t.throws(() => chooseProtocol({ min: 1, max: 1 }, { min: 2, max: 3 }), {
    code: 'no-common-protocol',
    hint: 'update the caller',
  });
  t.throws(() => chooseProtocol({ min: 4, max: 5 }, { min: 2, max: 3 }), {
    code: 'no-common-protocol',
    hint: 'update the managers',
  });
});

t.test('the leader is called first, at the address that worked', async t => {
  const manager = (id: string, addresses: readonly string[], leader = false): ManagerAddress => ({
    nodeId: asId(id),
    addresses,
    leader,
    raftId: 0,
  });
  const all = [manager('m1', ['a:1']), manager('m2', ['b:1', 'c:1'], true)];
  t.same(
    targetsOf(all, () => 0.5).map(target => target.address),
    ['b:1', 'c:1', 'a:1'],
  );
  t.same(withReached(all, { nodeId: 'm2', address: 'x:1' })[0]?.addresses, ['x:1', 'b:1', 'c:1']);
  t.same(withReached([], { nodeId: 'm3', address: 'x:1' }), [manager('m3', ['x:1'])]);
});
