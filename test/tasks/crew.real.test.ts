import * as fs from 'node:fs';
import t from 'tap';
import type { ContainerSpec, Hook, ReadyCheck, TaskStatus } from '../../src/gen/types.js';
import { makeMount, makeTask, openRig, whyNotReal } from './fixtures.js';

const skip = whyNotReal();
const sh = (script: string): Pick<ContainerSpec, 'command'> => ({ command: ['/bin/sh', '-c', script] });
const hook = (script: string, more: Partial<Hook> = {}): Hook => ({
  command: ['/bin/sh', '-c', script],
  user: '',
  workingDir: '',
  env: [],
  timeoutMs: 0,
  ...more,
});
const ready = (probe: ReadyCheck['probe'], more: Partial<ReadyCheck> = {}): ReadyCheck => ({
  intervalMs: 50,
  timeoutMs: 2_000,
  initialDelayMs: 0,
  failures: 2,
  successes: 1,
  probe,
  ...more,
});
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(resolve => setTimeout(resolve, 5));
}

/** Runs until it is told to end, and then ends with 0. */
const stoppable = "trap 'exit 0' TERM; while :; do usleep 20000; done";
const isReady = (status: TaskStatus): boolean => status.ready === 'ready';

t.test('init containers, sidecars and hooks', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtc' });
  const shared = fs.mkdtempSync(`${rig.directory}/shared-`);
  const mounts = [makeMount('bind', shared, '/shared')];
  const log = (): string => fs.readFileSync(`${shared}/log`, 'utf8').trim().replaceAll('\n', ' ');
  const fresh = (): void => fs.rmSync(`${shared}/log`, { force: true });
  const say = (word: string): string => `echo ${word} >> /shared/log`;

  await t.test('each starts when those before are done, and ends in the opposite order', async t => {
    fresh();
    const ends = (name: string): string =>
      `${say(`${name}+`)}; trap '${say(`${name}-`)}; exit 0' TERM; while :; do usleep 20000; done`;
    const task = makeTask({
      container: { ...sh(ends('main')), mounts },
      more: [
        { name: 'one', role: 'init', ...sh(say('one')), mounts },
        { name: 'two', role: 'init', ...sh(`usleep 50000; ${say('two')}`), mounts },
        { name: 's1', role: 'sidecar', ...sh(ends('s1')), mounts, postStart: [hook(`usleep 100000; ${say('hook')}`)] },
        { name: 's2', role: 'sidecar', ...sh(ends('s2')), mounts },
      ],
    });
    const status = await rig.run(task);
    t.equal(status.state, 'running', status.error);
    await rig.assign([{ ...task, desired: 'shutdown' }]);
    const end = await rig.wait(task.id, 'complete');
    t.match(end, { state: 'shutdown', exitCode: 0 });
    t.match(log(), /^one two s1\+ (hook s2\+|s2\+ hook)|main/);
    const words = log().split(' ');
    t.strictSame(words.slice(0, 2), ['one', 'two']);
    t.ok(words.indexOf('hook') < words.indexOf('main+'), 'hooks of sidecars come before the main container');
    t.strictSame(
      words.filter(word => word.endsWith('-')),
      ['main-', 's2-', 's1-'],
    );
    t.match(end.containers, [
      { name: '', role: 'main', state: 'ended' },
      { name: 'one', role: 'init', state: 'ended', exitCode: 0 },
      {},
      { name: 's1', role: 'sidecar' },
      { name: 's2' },
    ]);
  });

  await t.test('an init container that fails keeps the others from starting', async t => {
    fresh();
    const task = makeTask({
      container: { ...sh(say('main')), mounts },
      more: [{ name: 'migrate', role: 'init', ...sh('exit 7') }],
    });
    const end = await rig.run(task, 'complete');
    t.match(end, {
      state: 'failed',
      errorCode: 'init-failed',
      error: /init container "migrate" ended with exit code 7/,
    });
    t.notOk(fs.existsSync(`${shared}/log`));
  });

  await t.test('a stop while an init container runs reaches it', async t => {
    fresh();
    const task = makeTask({
      container: { ...sh(say('main')), mounts },
      more: [
        {
          name: 'long',
          role: 'init',
          ...sh(`trap '${say('told')}; exit 1' TERM; ${say('up')}; while :; do usleep 20000; done`),
          mounts,
        },
      ],
    });
    await rig.assign([task]);
    await until(() => fs.existsSync(`${shared}/log`) && log() === 'up');
    await rig.assign([{ ...task, desired: 'shutdown' }]);
    const end = await rig.wait(task.id, 'complete');
    t.equal(end.state, 'shutdown', end.error);
    t.equal(log(), 'up told');
  });

  await t.test('a sidecar that dies is started again in its place; the main container does not notice', async t => {
    const task = makeTask({
      container: sh(stoppable),
      more: [{ name: 'proxy', role: 'sidecar', ...sh('echo up; usleep 50000; exit 3') }],
    });
    const first = await rig.run(task);
    const again = await rig.wait(task.id, status => (status.containers[1]?.restarts ?? 0) >= 2);
    t.match(again, { state: 'running', pid: first.pid });
    t.ok((await rig.logs(task.id, { container: 'proxy' })).startsWith('up\nup\n'), 'its log goes on');
    await rig.assign([], { removed: [task.id] });
    await until(() => rig.status(task.id) === undefined);
  });

  await t.test('a sidecar with restart never takes the task with it, gently', async t => {
    fresh();
    const task = makeTask({
      container: { ...sh(`trap '${say('told')}; exit 0' TERM; while :; do usleep 20000; done`), mounts },
      more: [{ name: 'vital', role: 'sidecar', restart: 'never', ...sh('usleep 300000; exit 3') }],
    });
    const end = await rig.run(task, 'complete');
    t.match(end, { state: 'failed', errorCode: 'sidecar-ended', error: /"vital" ended with exit code 3/ });
    t.equal(log(), 'told');
  });

  await t.test('the end of the main container is the end of the task', async t => {
    const task = makeTask({
      container: sh('usleep 100000; exit 0'),
      more: [{ name: 'side', role: 'sidecar', ...sh(stoppable) }],
    });
    t.match(await rig.run(task, 'complete'), { state: 'complete', exitCode: 0 });
  });

  await t.test('containers share the network of the task and volumes of its own', async t => {
    const both = [makeMount('bind', shared, '/shared')];
    const task = makeTask({
      container: {
        ...sh('cat /proc/net/dev | wc -l; readlink /proc/self/ns/net > /shared/main; sleep 1000'),
        mounts: both,
      },
      more: [
        { name: 'side', role: 'sidecar', ...sh('readlink /proc/self/ns/net > /shared/side; sleep 1000'), mounts: both },
      ],
    });
    await rig.run(task);
    const read = (name: string): string =>
      fs.existsSync(`${shared}/${name}`) ? fs.readFileSync(`${shared}/${name}`, 'utf8') : '';
    await until(() => read('main') !== '' && read('side') !== '');
    t.equal(read('main'), read('side'));
  });

  await t.test('the post-start hook is done before the task is running, and its failure is the end of it', async t => {
    fresh();
    const good = makeTask({
      container: {
        ...sh(stoppable),
        mounts,
        postStart: [hook(`usleep 200000; ${say('$WHO')}`, { env: ['WHO=me'] }), hook(say('$(id -u)'), { user: 'web' })],
      },
    });
    fs.chmodSync(shared, 0o777);
    fs.writeFileSync(`${shared}/log`, '', { mode: 0o666 });
    fs.chmodSync(`${shared}/log`, 0o666);
    t.equal((await rig.run(good)).state, 'running');
    t.equal(log(), 'me 33');
    const bad = makeTask({ container: { ...sh(stoppable), postStart: [hook('echo no such table; exit 4')] } });
    const end = await rig.run(bad, 'complete');
    t.match(end, { state: 'failed', errorCode: 'hook-failed', error: /post-start hook 1: exit code 4: no such table/ });
    const slow = makeTask({ container: { ...sh(stoppable), postStart: [hook('sleep 100', { timeoutMs: 200 })] } });
    t.match(await rig.run(slow, 'complete'), { state: 'failed', error: /took more than 200 ms/ });
  });

  await t.test('the pre-stop hook runs before the stop signal, within the grace', async t => {
    fresh();
    const trap = `trap '${say('term')}; exit 0' TERM; while :; do usleep 20000; done`;
    const task = makeTask({ container: { ...sh(trap), mounts, preStop: [hook(say('hook')), hook('exit 9')] } });
    await rig.run(task);
    await rig.assign([{ ...task, desired: 'shutdown' }]);
    t.match(await rig.wait(task.id, 'complete'), { state: 'shutdown', exitCode: 0 });
    t.equal(log(), 'hook term');
    const stuck = makeTask({ container: { ...sh(trap), mounts, stopGraceMs: 300, preStop: [hook('sleep 1000')] } });
    await rig.run(stuck);
    await rig.assign([{ ...stuck, desired: 'shutdown' }]);
    t.match(await rig.wait(stuck.id, 'complete'), { state: 'shutdown' }, 'a hook that hangs is no way to stay');
  });
});

t.test('ready checks', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtr' });
  const file = { kind: 'exec', test: ['CMD-SHELL', 'test -e /tmp/ready'] } as const;
  const toggle = (status: TaskStatus): string => `/proc/${status.pid}/root/tmp/ready`;

  await t.test('a task runs before it is ready, says why it is not, and runs on when it is no more', async t => {
    const task = makeTask({
      container: { readyCheck: ready({ ...file, test: ['CMD-SHELL', 'echo not yet; test -e /tmp/ready'] }) },
    });
    const first = await rig.run(task);
    t.match(first, { state: 'running', ready: 'waiting' });
    t.match(await rig.wait(task.id, status => status.message !== ''), { message: 'not ready: not yet' });
    fs.writeFileSync(toggle(first), '');
    t.match(await rig.wait(task.id, isReady), { state: 'running', message: '' });
    await rig.reopen();
    t.equal(rig.status(task.id)?.ready, 'ready', 'a new daemon takes it out of no table');
    fs.rmSync(toggle(first));
    const later = await rig.wait(task.id, status => status.ready === 'unready');
    t.match(later, { state: 'running', pid: first.pid });
    fs.writeFileSync(toggle(first), '');
    await rig.wait(task.id, isReady);
  });

  const answers = [
    { name: 'TCP', probe: { kind: 'tcp', port: 8080 } },
    {
      name: 'HTTP',
      probe: { kind: 'http', scheme: '', port: 8080, path: '/ready', headers: {}, statusMin: 0, statusMax: 0 },
    },
  ] as const;
  for (const { name, probe } of answers) {
    await t.test(`a ${name} check asks inside of the task’s own network, which nobody else can reach`, async t => {
      const script =
        "while [ ! -e /tmp/ready ]; do usleep 20000; done; while :; do printf 'HTTP/1.0 204 ok\\r\\n\\r\\n' | nc -l -p 8080; done";
      const task = makeTask({ container: { ...sh(script), readyCheck: ready(probe, { failures: 1_000 }) } });
      const first = await rig.run(task);
      t.match(await rig.wait(task.id, status => status.message !== ''), { message: /nothing listens there/ });
      fs.writeFileSync(toggle(first), '');
      t.equal((await rig.wait(task.id, isReady)).state, 'running');
    });
  }

  await t.test('a sidecar that is not ready makes the task not ready', async t => {
    const task = makeTask({
      container: { readyCheck: ready({ kind: 'exec', test: ['CMD', 'true'] }) },
      more: [{ name: 'side', role: 'sidecar', ...sh('sleep 1000'), readyCheck: ready(file) }],
    });
    await rig.run(task);
    const waiting = await rig.wait(task.id, status => status.containers[0]?.ready === 'ready');
    t.match(waiting, { ready: 'waiting', containers: [{}, { name: 'side', ready: 'waiting' }] });
  });
});
