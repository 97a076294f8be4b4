/**
 * Life in a user namespace beyond the start: programs run in it, health checks, its own view of the network, what it may not
 * reach on the host, and that nothing stays.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import t from 'tap';
import { openChannel } from '../../src/channel.js';
import type { BulkFrame, ExecStart, Task } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { defaultRange, openUserNamespaces } from '../../src/tasks/userns.js';
import { collect, makeMount, makeTask, openRig, type Rig, textOf, whyNotReal } from './fixtures.js';

const skip = whyNotReal();
const auto = (task: Parameters<typeof makeTask>[0] = {}): Task =>
  makeTask({ ...task, container: { userns: 'auto', ...task.container } });

async function exec(rig: Rig, task: Task, start: Partial<ExecStart>): Promise<string> {
  const plain = { container: '', args: [], env: [], workingDir: '', user: '', tty: false, stdin: false, detach: false };
  const frames = openChannel<BulkFrame>(4);
  const answer = await collect(
    rig.agent.exec(frames, { taskId: task.id, ...plain, ...start }, AbortSignal.timeout(20_000)),
  );
  return textOf(answer);
}

for (const wanted of ['crun', 'runc'] as const) {
  const missing = linuxHost.processes.findOnPath(wanted) === undefined ? `needs ${wanted}` : false;
  t.test(`in a user namespace of ${wanted}`, { skip: skip || missing }, async t => {
    await using rig = await openRig(t, { prefix: wanted === 'crun' ? 'cvun' : 'cvur', wanted });
    const healthcheck = {
      ...{ test: ['CMD-SHELL', 'test $(id -u) = 0 && touch /tmp/checked'], intervalMs: 200, timeoutMs: 5_000 },
      ...{ startPeriodMs: 0, startIntervalMs: 100, retries: 5 },
    };
    const task = auto({ container: { healthcheck } });
    t.match(await rig.run(task), { state: 'running', health: 'healthy' }, 'its health check runs in it');
    const pid = fs.readFileSync(`${rig.runDir}/bundles/${task.id}/0/pidfile`, 'utf8').trim();

    await t.test('its root is an ordinary user of the host, also in programs that are run later', async t => {
      t.equal(fs.statSync(`/proc/${pid}`).uid, defaultRange.firstId);
      t.match(
        await exec(rig, task, { args: ['sh', '-c', 'id -u; stat -c "%u %g" /etc/owned /tmp/checked'] }),
        /^0\n33 34\n0 0\n$/,
      );
      t.match(await exec(rig, task, { args: ['sh', '-c', 'id -u; id -g'], user: 'web' }), /^33\n34\n$/);
      t.match(await exec(rig, task, { args: ['sh', '-c', 'echo $(tty)'], tty: true }), /pts/);
    });

    await t.test('it sees its own network in /sys', async t => {
      t.equal(await exec(rig, task, { args: ['ls', '/sys/class/net'] }), 'lo\n');
    });

    await t.test('it has no rights over files of the host, over its processes and its devices', async t => {
      const source = `${rig.directory}/host`;
      fs.mkdirSync(source);
      fs.writeFileSync(`${source}/secret`, 'of root', { mode: 0o600 });
      const script = 'cat /host/secret; touch /host/new; mknod /tmp/disk b 254 0; stat -c %u /host/secret';
      const bound = auto({
        container: { mounts: [makeMount('bind', source, '/host')], command: ['busybox', 'sh', '-c', script] },
      });
      await rig.run(bound, 'complete');
      const text = await rig.logs(bound.id);
      // The two streams come in any order.
      for (const said of [/secret.: Permission denied/, /host\/new: Permission denied/, /not permitted/, /^65534$/m]) {
        t.match(text, said);
      }
      t.strictSame(fs.readdirSync(source), ['secret']);
    });

    await t.test('the null device of the host stays that of its root', async t => {
      const { uid, gid, mode } = fs.statSync('/dev/null');
      t.strictSame([uid, gid, mode & 0o777], [0, 0, 0o666]);
    });

    await t.test('who else is on the host cannot pass the folders that its root passes', async t => {
      const look = (): Buffer =>
        execFileSync(
          'setpriv',
          ['--reuid=65534', '--regid=65534', '--clear-groups', 'ls', `${rig.dataDir}/tasks/${task.id}/0`],
          {
            stdio: ['ignore', 'pipe', 'ignore'],
          },
        );
      t.throws(look);
    });

    await t.test('it runs on under the next daemon, whose containers get the same', async t => {
      await rig.reopen();
      t.match(await exec(rig, task, { args: ['id', '-u'] }), /^0\n$/);
      const next = auto();
      t.equal((await rig.run(next)).state, 'running');
    });
  });
}

t.test('a node says why it has no user namespaces, and a container that asks for one is refused', { skip }, async t => {
  await using rig = await openRig(t, {
    prefix: 'cvuo',
    agent: place => ({
      userns: openUserNamespaces({
        host: {
          ...linuxHost,
          kernel: {
            ...linuxHost.kernel,
            bindMapped: ({ source }) => {
              throw new Error(`Cannot map the owners of "${source}": EINVAL`);
            },
          },
        },
        range: defaultRange,
        dataDir: place.dataDir,
        runDir: `${place.dataDir}/run`,
      }),
      policy: { userns: 'auto', allowPrivileged: false },
    }),
  });
  t.match(await rig.run(auto(), 'complete'), { state: 'rejected', errorCode: 'no-user-namespace' });
  const plain = makeTask({ container: { command: ['cat', '/proc/self/uid_map'] } });
  t.equal((await rig.run(plain, 'complete')).state, 'complete', 'the default of the node yields');
  t.match(await rig.logs(plain.id), /0 +0 +4294967295/);
  const privileged = makeTask({ container: { privileged: true } });
  t.match(await rig.run(privileged, 'complete'), { state: 'rejected', errorCode: 'privileged-refused' });
});

t.test("a node's default of user namespaces yields to rights over the host", { skip }, async t => {
  const policy = { userns: 'auto', allowPrivileged: true } as const;
  await using rig = await openRig(t, { prefix: 'cvud', agent: () => ({ policy }) });
  const mapOf = async (container: object): Promise<string> => {
    const task = makeTask({ container: { command: ['cat', '/proc/self/uid_map'], ...container } });
    await rig.run(task, 'complete');
    return (await rig.logs(task.id)).trim().split(/\s+/)[1] ?? '';
  };
  t.equal(await mapOf({}), String(defaultRange.firstId));
  t.equal(await mapOf({ userns: 'host' }), '0');
  t.equal(await mapOf({ capAdd: ['NET_ADMIN'] }), '0');
  t.equal(await mapOf({ privileged: true }), '0');
  const both = makeTask({ container: { userns: 'auto', capAdd: ['NET_ADMIN'] } });
  t.match(await rig.run(both, 'complete'), { state: 'rejected', errorCode: 'bad-bundle' });
  const far = makeTask({ container: { userns: 'auto', user: '70000:1' } });
  t.match(await rig.run(far, 'complete'), { state: 'rejected', error: /70000 in a user namespace/ });
});
