/**
 * A process that no signal ends: its task is told, and no other waits for it.
 */
import * as fs from 'node:fs';
import t from 'tap';
import { makeTask, openRig, whyNotReal } from '../fixtures.js';
import { codes, isV2 } from './objects.js';

const skip = whyNotReal();

/** D: the freezer of version 1 holds a process so that no signal ends it. Version 2 has no such thing that tests can make. */
const held = isV2 ? 'cgroup version 2 has no state that tests can hold a process in' : skip;

t.test('F8: a task whose process cannot be killed is told, and holds nobody else up', { skip: held }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtd', limitsEveryMs: 200 });
  const task = makeTask({});
  const { pid } = await rig.run(task);
  const group = `/sys/fs/cgroup/freezer/cvtd/${task.id}/held`;
  fs.mkdirSync(group);
  const thaw = async (): Promise<void> => {
    fs.writeFileSync(`${group}/freezer.state`, 'THAWED');
    // Killed long ago, it ends now; nothing can be removed above the group that holds it.
    while (fs.readFileSync(`${group}/cgroup.procs`, 'utf8') !== '')
      await new Promise(resolve => setTimeout(resolve, 5));
    fs.rmdirSync(group);
  };
  try {
    fs.writeFileSync(`${group}/cgroup.procs`, String(pid));
    fs.writeFileSync(`${group}/freezer.state`, 'FROZEN');
    await rig.assign([{ ...task, desired: 'shutdown' }]);
    const other = await rig.run(makeTask({ container: { command: ['true'] } }), 'complete');
    t.equal(other.state, 'complete', 'others go on');
    const told = await rig.wait(task.id, status => codes(status).includes('does-not-end'));
    t.match(told.limits?.warnings[0]?.message, /killed \d+ s ago and still there: process \d+ \(sleep\) is in state D/);
    t.equal(told.state, 'running', 'it is not said to have ended');
  } finally {
    await thaw();
  }
  t.equal((await rig.wait(task.id, 'complete')).state, 'shutdown', 'it ends when it can');
});
