/** Tasks of one node, found and asked without any manager. */
import t from 'tap';
import { localTaskHandlers } from '../../src/daemon/local-tasks.js';
import type { MemberNode } from '../../src/daemon/member-node.js';
import type { Task, VerbStart } from '../../src/gen/types.js';
import { makeFakeClock } from '../fake-clock.js';
import { task } from './object-fixtures.js';
import { callerOf } from './plane-fixtures.js';

const web1: Task = task('a1', { state: 'running' });
const old: Task = {
  ...task('a0', { state: 'failed' }),
  desired: 'shutdown',
  meta: { ...web1.meta, createdAtMs: 1 },
};
const everywhere: Task = {
  ...task('b1', { state: 'running' }),
  slot: 0,
  serviceName: 'proxy',
  serviceId: 'p' as never,
};

function rig(tasks: readonly Task[]) {
  const verbs: VerbStart[] = [];
  const agent = {
    tasks: () => tasks,
    verb: async (start: VerbStart) => {
      verbs.push(start);
      return { status: web1.status, processes: [] };
    },
  };
  const node = { membership: { nodeId: 'n1', nodeName: 'edge-a' }, agent } as unknown as MemberNode;
  return { verbs, handlers: localTaskHandlers({ clock: makeFakeClock(), findNode: () => node }) };
}

const every = { tasks: [], service: '', node: '', stack: '', current: false };
const name = `${web1.serviceName}.${web1.slot}`;

t.test('a task is found by its name, its id and a beginning of it; of a slot the one that is wanted', async t => {
  const { handlers } = rig([old, web1, everywhere]);
  const ids = async (text: string) =>
    (await handlers.listTasks({ ...every, tasks: [text] }, callerOf())).tasks.map(({ id }) => id);
  t.same(await ids(name), ['a1']);
  t.same(await ids('a0'), ['a0']);
  t.same(await ids('b'), ['b1']);
  t.same(await ids('proxy.edge-a'), ['b1'], 'a task of a global service bears the name of its node');
  await t.rejects(ids('a'), { code: 'ambiguous', state: '2 ids begin like that' });
  await t.rejects(ids('nothing.1'), { code: 'not-found', hint: 'covey task ls --local' });
});

t.test('the list is that of this node, and of nothing else', async t => {
  const { handlers } = rig([old, web1, everywhere]);
  const list = async (over: object) =>
    (await handlers.listTasks({ ...every, ...over }, callerOf())).tasks.map(({ id }) => id);
  t.same(await list({}), ['a0', 'a1', 'b1']);
  t.same(await list({ current: true }), ['a1', 'b1']);
  t.same(await list({ service: 'proxy' }), ['b1']);
  await t.rejects(list({ node: 'rack1' }), { code: 'bad-argument' });
  await t.rejects(list({ service: 'mail' }), { code: 'not-found' });
});

t.test('a verb goes to the agent, which no term can refuse; what a state forbids is refused', async t => {
  const { handlers, verbs } = rig([old, web1]);
  const ask = (text: string) =>
    handlers.runTaskVerb({ task: text, container: '', verb: 'stop', signal: '', graceMs: 500 }, callerOf());
  await ask(name);
  t.match(verbs, [{ taskId: 'a1', verb: 'stop', graceMs: 500, term: 0 }]);
  await t.rejects(
    rig([old]).handlers.runTaskVerb({ task: 'a0', container: '', verb: 'pause', signal: '' }, callerOf()),
    {
      code: 'task-ended',
    },
  );
  const outside = localTaskHandlers({ clock: makeFakeClock(), findNode: () => undefined });
  await t.rejects(outside.listTasks(every, callerOf()), { code: 'not-in-cluster' });
});
