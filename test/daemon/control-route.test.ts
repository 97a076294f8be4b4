/** A command on any manager: where it is answered, what an election on the way does to it, and how long it waits. */
import t from 'tap';
import { routeControl } from '../../src/daemon/control-route.js';
import type { LeaderLink } from '../../src/daemon/group/leader-link.js';
import { openSight, patienceMs } from '../../src/daemon/sight.js';
import { CoveyError, type ErrorCode } from '../../src/errors.js';
import type { Services } from '../../src/gen/services.js';
import { type CallContext, type Handlers, pathsOf } from '../../src/grpc.js';
import type { View } from '../../src/raft/store.js';
import { makeFakeClock } from '../fake-clock.js';
import { callerOf, seededRandom, wire } from './plane-fixtures.js';

type ControlHandlers = Handlers<Services['Control']>;

/** Every call is noted; `answers` are given one after the other, the last one again and again. */
function rig(options: {
  readonly leads?: boolean;
  readonly ready?: boolean;
  readonly answers?: (ErrorCode | 'done')[];
  readonly watch?: 'endless';
}) {
  const calls: { readonly at: string; readonly name: string; readonly context: CallContext }[] = [];
  const answers = [...(options.answers ?? ['done'])];
  const answer = (at: string, name: string, context: CallContext): unknown => {
    calls.push({ at, name, context });
    const next = (answers.length > 1 ? answers.shift() : answers[0]) ?? 'done';
    if (next !== 'done') throw new CoveyError(next, 'Cannot');
    return { id: at };
  };
  const names = pathsOf('Control').map(path => path.slice(path.lastIndexOf('/') + 1));
  const local = Object.fromEntries(
    names
      .map(name => name.charAt(0).toLowerCase() + name.slice(1))
      .map(name => [
        name,
        name === 'watch'
          ? async function* (_request: unknown, context: CallContext) {
              yield answer('here', name, context);
              if (options.watch === 'endless') await new Promise(() => undefined);
            }
          : async (_request: unknown, context: CallContext) => answer('here', name, context),
      ]),
  ) as unknown as ControlHandlers;
  const remote =
    (name: string) =>
    async (_request: unknown, { metadata }: { readonly metadata: object }) =>
      answer('leader', name, { ...callerOf(), metadata: metadata as never });
  const leader: LeaderLink = {
    call: (_service, make, signal) =>
      make(new Proxy({}, { get: (_target, name) => remote(String(name)) }) as never, signal),
    stream: () => {
      throw new Error('no stream is asked for');
    },
    isKnown: () => true,
    leaderChanged: () => undefined,
  };
  const clock = makeFakeClock();
  const state = { ready: options.ready !== false };
  const view = (): View => ({ list: () => [] }) as unknown as View;
  const sight = openSight({ clock, knowsLeader: () => state.ready, view });
  sight.look();
  const control = routeControl({
    wire,
    clock: { ...clock, sleep: ms => clock.advance(ms) },
    random: seededRandom(),
    local,
    isLeading: () => options.leads === true,
    read: async () => (state.ready ? { kind: 'ready', index: 1 } : { kind: 'no-leader' }),
    sight,
    leader,
    managersNow: () => '1 of 3 managers answer here, 2 are needed',
  });
  return {
    control,
    calls,
    clock,
    lead: (ready: boolean) => {
      state.ready = ready;
      sight.look();
    },
  };
}

const list = { objects: [], stack: '' };
const create = { spec: {} } as never;
const onceOf = (call: ReturnType<typeof rig>['calls'][number] | undefined): unknown =>
  (call?.context.metadata as unknown as Record<string, string> | undefined)?.['covey-once'];

const wishing = (wish?: string): CallContext => {
  const context = callerOf();
  if (wish !== undefined) context.metadata.set('covey-read', wish);
  return context;
};
const everything = { tables: [], service: '', stack: '' };

t.test('what is only looked at is answered here', async t => {
  const { control, calls } = rig({});
  t.notOk((await control.listNodes(list, callerOf())).asOf, 'nothing is said of an answer that is current');
  for await (const _ of control.watch(everything, callerOf())) break;
  t.match(calls, [
    { at: 'here', name: 'listNodes' },
    { at: 'here', name: 'watch' },
  ]);
});

t.test(
  'without a leader a list is answered with how old it is, and one that has to be the latest is refused',
  async t => {
    const { control, clock, lead } = rig({});
    await clock.advance(10_000);
    const lostMs = clock.wallMs();
    lead(false);
    await clock.advance(patienceMs);
    const { asOf } = await control.listNodes(list, callerOf());
    t.equal(asOf?.why, 'no leader: 1 of 3 managers answer here, 2 are needed');
    t.ok(asOf !== undefined && asOf.atMs <= lostMs && asOf.atMs >= lostMs - 2_000, 'not later than when it was lost');
    await t.rejects(control.listNodes(list, wishing('consistent')), {
      code: 'no-leader',
      state: '1 of 3 managers answer here, 2 are needed',
    });
    lead(true);
    t.notOk((await control.listNodes(list, callerOf())).asOf, 'current again as soon as somebody leads');
  },
);

t.test('whoever wants no more than is known here gets it at once, with its age', async t => {
  const { control } = rig({});
  t.match((await control.listNodes(list, wishing('stale'))).asOf, { why: 'asked of this manager alone' });
});

t.test('a watch says when nobody leads any more, and when somebody does again', async t => {
  const { control, clock, lead } = rig({ watch: 'endless' });
  const events = control.watch(everything, callerOf())[Symbol.asyncIterator]();
  const next = async () => (await events.next()).value?.event;
  await next();
  const first = next();
  lead(false);
  await clock.advance(patienceMs);
  t.match(await first, { kind: 'asOf', why: /no leader/ });
  const second = next();
  lead(true);
  t.match(await second, { kind: 'asOf', atMs: 0, why: '' });
});

t.test('a change goes to the leader, who learns for whom it is; the leader makes it itself', async t => {
  const follower = rig({});
  t.match(await follower.control.createService(create, callerOf(1_000)), { id: 'leader' });
  t.match(follower.calls[0]?.context.metadata, { 'covey-principal': 'uid:1000' });
  const leader = rig({ leads: true });
  t.match(await leader.control.createService(create, callerOf()), { id: 'here' });
  t.match(leader.calls[0]?.context.once, { sequence: 1 });
});

t.test('a change whose leader was lost is asked for again under its name', async t => {
  const { control, calls } = rig({ answers: ['no-connection', 'not-leader', 'unknown-outcome', 'done'] });
  await control.createService(create, callerOf());
  t.equal(calls.length, 4);
  t.equal(new Set(calls.map(onceOf)).size, 1);
  await control.createService(create, callerOf());
  t.not(onceOf(calls[4]), onceOf(calls[3]), 'the next change has another');
});

t.test('what does something to a container is not asked for twice when nobody knows whether it was done', async t => {
  const verb = { tasks: [] } as never;
  const lost = rig({ answers: ['no-connection', 'done'] });
  await t.rejects(lost.control.restartTasks(verb, callerOf()), { code: 'no-connection' });
  const electing = rig({ answers: ['not-leader', 'done'] });
  await electing.control.restartTasks(verb, callerOf());
  t.equal(electing.calls.length, 2);
});

t.test('a refusal is a refusal, at once', async t => {
  const { control, calls } = rig({ answers: ['already-exists'] });
  await t.rejects(control.createService(create, callerOf()), { code: 'already-exists' });
  t.equal(calls.length, 1);
});

t.test('without a leader a change is given up after five seconds, with what is known', async t => {
  const { control, clock } = rig({ answers: ['no-leader'] });
  const begin = clock.monotonicMs();
  await t.rejects(control.createService(create, callerOf()), {
    code: 'no-leader',
    state: '1 of 3 managers answer here, 2 are needed',
  });
  t.ok(clock.monotonicMs() - begin < 6_000);
  const unknown = rig({ answers: ['unknown-outcome', 'no-leader'] });
  await t.rejects(unknown.control.createService(create, callerOf()), { code: 'unknown-outcome' });
});

t.test(
  'what a leader refuses by what it knows it refuses when a majority says that it leads, and looks again',
  async t => {
    const woken = rig({ leads: true, answers: ['not-found', 'done'] });
    await woken.control.createService(create, callerOf());
    t.equal(woken.calls.length, 2, 'meanwhile it has heard of what another leader stored');
    const sure = rig({ leads: true, answers: ['not-found'] });
    await t.rejects(sure.control.createService(create, callerOf()), { code: 'not-found' });
    t.equal(sure.calls.length, 2);
    const deposed = rig({ leads: true, ready: false, answers: ['not-found'] });
    await t.rejects(deposed.control.createService(create, callerOf()), { code: 'no-leader' });
    const late = rig({ leads: true, answers: ['timeout'] });
    await t.rejects(late.control.createService(create, callerOf()), { code: 'timeout' });
    t.equal(late.calls.length, 1, 'a wait is not waited for twice');
    const verb = rig({ leads: true, answers: ['not-found'] });
    await t.rejects(verb.control.restartTasks({ objects: [] } as never, callerOf()), { code: 'not-found' });
    t.equal(verb.calls.length, 1, 'nor is done twice what acts on containers');
  },
);
