/** What is pulled, and how far, stands in the status of the task that waits for it; and is gone when it runs. */
import t from 'tap';
import { makeTask, openRig, whyNotReal } from './fixtures.js';

t.test('a task that waits for its image says how far that is', { skip: whyNotReal() }, async t => {
  const seen = Promise.withResolvers<void>();
  const said = ['pulling test:1: 0.5 of 2.0 MiB', 'pulling test:1: 2.0 of 2.0 MiB'];
  await using rig = await openRig(t, {
    prefix: 'cvpn',
    wrapImages: (_directory, plain) => ({
      ...plain,
      ensure: async (wanted, signal) => {
        for (const text of said) wanted.onNote(text);
        await seen.promise;
        return await plain.ensure(wanted, signal);
      },
    }),
  });
  const task = makeTask({});
  await rig.assign([task]);
  const status = await rig.wait(task.id, ({ message }) => message === said[1]);
  t.match(status, { state: 'preparing', error: '' }, 'the latest word counts');
  seen.resolve();
  t.match(await rig.wait(task.id, 'running'), { state: 'running', message: '' });
});
