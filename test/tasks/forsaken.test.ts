/** When a node that hears no manager stops tasks by itself. */
import t from 'tap';
import type { Task } from '../../src/gen/types.js';
import { openForsaken } from '../../src/tasks/forsaken.js';
import { task } from '../daemon/object-fixtures.js';
import { makeFakeClock } from '../fake-clock.js';

const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silent,
};

function openNode() {
  const clock = makeFakeClock();
  const forsaken = openForsaken({ clock, log: silent });
  const stopped: string[] = [];
  const controller = (one: Task, ended = false) => ({
    task: one,
    ended,
    giveUp: async (because: string) => void stopped.push(`${one.id}: ${because}`),
  });
  const controllers = [
    controller({ ...task('five'), stopAfterDisconnectMs: 5_000 }),
    controller({ ...task('ten'), stopAfterDisconnectMs: 10_000 }),
    controller({ ...task('ended'), stopAfterDisconnectMs: 5_000 }, true),
    controller({ ...task('stopping', { desired: 'shutdown' }), stopAfterDisconnectMs: 5_000 }),
    controller(task('plain')),
  ];
  const look = async (): Promise<readonly string[]> => {
    stopped.length = 0;
    await forsaken.look(controllers);
    return [...stopped];
  };
  return { clock, forsaken, look };
}

t.test('a task is stopped when no manager was heard of for as long as its service says, others run on', async t => {
  const { clock, forsaken, look } = openNode();
  forsaken.connected(true);
  await clock.advance(60_000);
  t.same(await look(), [], 'while there is a manager');
  forsaken.connected(false);
  await clock.advance(4_000);
  forsaken.connected(false);
  t.same(await look(), []);
  await clock.advance(1_000);
  t.same(await look(), ['five: stopped by its node, which has heard no manager for 5 s']);
  await clock.advance(5_000);
  t.equal((await look()).length, 2, 'five goes on stopping until it has ended');
});

t.test('a manager that answers in between starts the time anew; so does a start of the daemon', async t => {
  const { clock, forsaken, look } = openNode();
  await clock.advance(4_900);
  t.same(await look(), []);
  forsaken.connected(true);
  forsaken.connected(false);
  await clock.advance(4_900);
  t.same(await look(), []);
  await clock.advance(100);
  t.equal((await look()).length, 1);
});
