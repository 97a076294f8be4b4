/** The Watch stream. */
import t from 'tap';
import { watchStore } from '../../../src/daemon/control/watch.js';
import { codeOf } from '../../../src/errors.js';
import type { WatchEvent } from '../../../src/gen/types.js';
import { settle } from '../../fake-clock.js';
import { serviceSpec } from '../object-fixtures.js';
import { anySignal, callerOf, openPlane, type Plane } from '../plane-fixtures.js';

const create = (plane: Plane, over: Parameters<typeof serviceSpec>[0] = {}) =>
  plane.control.createService({ spec: serviceSpec(over) }, callerOf());

async function refusal(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'accepted',
    (error: unknown) => `${codeOf(error)}: ${error instanceof Error ? error.message : ''}`,
  );
}

const watchAll = { tables: [], service: '', stack: '' };

t.test('a watch tells what is there, that this was all, and then every change', async t => {
  await using plane = await openPlane({ nodes: ['a'] });
  await plane.settle();
  const told: string[] = [];
  const controller = new AbortController();
  const say = ({ event }: WatchEvent): string =>
    event.kind === 'deletion'
      ? `gone ${event.table}`
      : event.kind === 'task'
        ? `task ${event.status.state}`
        : event.kind;
  const reading = (async () => {
    for await (const event of plane.control.watch(watchAll, { ...callerOf(), signal: controller.signal }))
      told.push(say(event));
  })();
  await settle();
  t.same(told.splice(0), ['node', 'network', 'network', 'network', 'synced']);
  await create(plane);
  await plane.settle();
  await plane.control.removeService({ object: 'web' }, callerOf());
  await plane.settle();
  controller.abort();
  await reading;
  t.same(
    told.filter(text => text.startsWith('task') || text.startsWith('gone')),
    ['task assigned', 'task running', 'task running', 'task shutdown', 'gone task', 'gone service'],
  );
});

t.test('a watch tells only what was asked for', async t => {
  await using plane = await openPlane();
  await create(plane);
  await create(plane, { name: 'two', stack: 's' });
  await plane.settle();
  const first = async (request: object): Promise<readonly string[]> => {
    const kinds: string[] = [];
    for await (const { event } of watchStore(plane.store, { ...watchAll, ...request }, { signal: anySignal() })) {
      if (event.kind === 'synced') break;
      kinds.push(event.kind);
    }
    return kinds;
  };
  t.same(await first({ tables: ['task'] }), ['task', 'task']);
  t.same(await first({ tables: ['task', 'service'], service: 'web' }), ['service', 'task']);
  t.same(await first({ tables: ['service', 'network'], stack: 's' }), ['service']);
  t.match(await refusal(first({ tables: ['wish'] })), /^bad-argument: Cannot accept tables: "wish" is none of/);
  t.match(await refusal(first({ service: 'none' })), /^not-found/);
});

t.test('a reader that is too slow is cut off, not remembered', async t => {
  await using plane = await openPlane();
  await plane.settle();
  const watch = watchStore(plane.store, watchAll, { signal: anySignal(), queueMax: 3 });
  await watch.next();
  await create(plane, { mode: { kind: 'replicated', replicas: 20 } });
  await plane.settle();
  const rest = (async () => {
    for await (const _ of watch) t.ok(true);
  })();
  t.match(await refusal(rest), /^too-many: Cannot go on with the watch: the reader is too slow/);
});
