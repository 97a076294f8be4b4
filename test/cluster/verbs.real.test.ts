/**
 * What people do to single tasks, typed on one node for a task of another: the whole command line, real daemons and containers.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import t from 'tap';
import {
  cannotCluster,
  type DevCluster,
  type Outcome,
  openDevCluster,
  run,
  type TaskRow,
  until,
} from './dev-cluster.js';

const program = 'trap "exit 7" TERM; for i in 1 2 3; do echo line $i; done; while :; do sleep 1 & wait $!; done';

function argvOf(cluster: DevCluster, ...args: readonly string[]): readonly string[] {
  const { namespace, socket } = cluster.node(1);
  return ['nsenter', `--net=/run/netns/${namespace}`, 'bin/covey', '--socket', socket, ...args];
}

/** On a terminal of 30 rows and 100 columns. */
function onTerminal(cluster: DevCluster, args: string, input = ''): Outcome {
  const line = `stty cols 100 rows 30; ${argvOf(cluster).join(' ')} ${args}`;
  return run(['script', '-qec', line, '/dev/null'], { input, timeoutMs: 30_000 });
}

t.test('tasks of another node', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'vb', workers: 1 });
  const directory = fs.mkdtempSync(`${os.tmpdir()}/covey-verbs-`);
  t.teardown(() => fs.rmSync(directory, { recursive: true, force: true }));
  cluster.must(1, 'service', 'create', '--name', 'w', '--replicas', '2', 'hello:1', 'sh', '-c', program);
  const rows = (): readonly TaskRow[] => cluster.json<TaskRow>(1, 'task', 'ls');
  const far = rows().find(task => task.node === cluster.node(2).name)?.name ?? 'none is on node 2';
  const current = (): TaskRow | undefined => rows().find(task => task.name === far && task.desiredState === 'running');

  await t.test('exec keeps the streams apart and passes input and exit code on', async t => {
    const both = cluster.covey(1, 'exec', far, 'sh', '-c', 'echo out; echo err >&2; exit 9');
    t.match(both, { status: 9, stdout: 'out\n', stderr: 'err\n' });
    t.match(run(argvOf(cluster, 'exec', '-i', far, 'tr', 'a-z', 'A-Z'), { input: 'hello' }), {
      status: 0,
      stdout: 'HELLO',
    });
    const missing = cluster.covey(1, 'exec', far, 'nosuch');
    t.equal(missing.status, 127);
    t.match(missing.stderr, /error: Cannot run "nosuch" in the container: executable file not found in \$PATH/);
  });

  await t.test('on a terminal all is seen that a short program says, and nothing else', async t => {
    for (let round = 0; round < 4; round += 1) {
      const { status, stdout } = onTerminal(cluster, `exec -it ${far} sh -c 'tty; exit 5'`);
      t.match({ status, stdout: stdout.replaceAll(/[\r\0]/g, '') }, { status: 5, stdout: '/dev/pts/0\n' });
    }
  });

  await t.test('files go in and come out as they were', async t => {
    fs.writeFileSync(`${directory}/file`, 'content\n');
    const copied = cluster.covey(1, 'cp', `${directory}/file`, `${far}:/tmp/`);
    t.match(copied, { status: 0, stderr: `Successfully copied 8 B to ${far}:/tmp/\n` });
    cluster.must(1, 'cp', `${far}:/tmp/file`, `${directory}/back`);
    t.equal(fs.readFileSync(`${directory}/back`, 'utf8'), 'content\n');
  });

  await t.test('logs come from both nodes, and follow ends with its reader', async t => {
    const tail = cluster.must(1, 'logs', '--tail', '1', 'w').trim().split('\n').sort();
    t.match(tail, [/^w\.1@vb\d \| line 3$/, /^w\.2@vb\d \| line 3$/]);
    t.equal(cluster.must(1, 'logs', '--since', '1h', far).trim().split('\n').length, 3);
    t.equal(cluster.must(1, 'logs', '--since', '2100-01-01T00:00:00Z', far), '');
    const followed = run(['timeout', '-s', 'INT', '2', ...argvOf(cluster, 'logs', '-f', '--tail', '1', far)]);
    t.match(followed.stdout, /line 3\n$/);
  });

  await t.test('attach without input is left by its signal, and the task runs on', async t => {
    const before = current()?.id;
    const left = run(['timeout', '-s', 'INT', '2', ...argvOf(cluster, 'attach', '--sig-proxy=false', far)]);
    t.equal(left.status, 124);
    t.equal(current()?.id, before);
  });

  await t.test('paused, going on, killed, stopped and restarted', async t => {
    cluster.must(1, 'task', 'pause', far);
    t.match(cluster.covey(1, 'exec', far, 'true'), { status: 5, stderr: /it is paused[\s\S]*task-paused/ });
    cluster.must(1, 'task', 'unpause', far);
    cluster.must(1, 'exec', far, 'true');
    for (const [verb, exitCode] of [
      ['kill', 137],
      ['stop', 7],
      ['restart', 7],
    ] as const) {
      const before = current();
      cluster.must(1, 'task', verb, far);
      t.equal(cluster.must(1, 'task', 'wait', before?.id ?? ''), `${exitCode}\n`, verb);
      await until(
        `another ${far} after ${verb}`,
        current,
        task => task !== undefined && task.id !== before?.id && task.state === 'running',
      );
    }
  });

  await t.test('volumes of another node, and of all of them', async t => {
    const names = cluster.nodes.map(({ name }) => name);
    const listed = (node: string): readonly string[] =>
      cluster
        .json<{ node: string; name: string }>(1, 'volume', 'ls', '--node', node)
        .map(volume => `${volume.node} ${volume.name}`);
    const mount = 'type=volume,source=kept,target=/kept,volume-label=mark=1';
    const holds = ['--mode', 'global', '--name', 'holds', '--mount', mount];
    cluster.must(1, 'service', 'create', ...holds, 'hello:1', 'sh', '-c', 'echo x > /kept/file; exec sleep 1000');
    cluster.must(2, 'volume', 'create', 'alone');
    t.strictSame(listed(names[1] ?? ''), [`${names[1]} alone`, `${names[1]} kept`]);
    t.strictSame(listed('all'), [`${names[0]} kept`, `${names[1]} alone`, `${names[1]} kept`]);
    const [far] = cluster.json<Record<string, unknown>>(1, 'volume', 'inspect', '--node', names[1] ?? '', 'kept');
    t.match(far, { node: names[1], name: 'kept', labels: { mark: '1' } });
    const kept = cluster.covey(1, 'volume', 'rm', '--yes', '--node', 'all', 'kept');
    t.not(kept.status, 0, 'what is in use is refused');
    for (const name of names) t.match(kept.stderr, `${name}: Cannot remove volume "kept": tasks of this node use it`);
    cluster.must(1, 'service', 'rm', '--yes', 'holds');
    t.strictSame(listed('all').length, 3, 'a volume outlives its service');
    cluster.must(1, 'volume', 'rm', '--yes', '--node', names[1] ?? '', 'alone');
    t.equal(cluster.covey(1, 'volume', 'rm', '--yes', '--node', names[1] ?? '', 'alone').status, 4);
    cluster.must(1, 'volume', 'prune', '--all', '--yes', '--node', 'all');
    t.strictSame(listed('all'), []);
  });

  await t.test('of a node that is lost the error says so', async t => {
    cluster.script('kill', '2');
    await until(
      'the loss of node 2',
      () => cluster.covey(1, 'exec', far, 'true'),
      ({ stderr }) => stderr.includes('node-unreachable'),
      30_000,
    );
    const { status, stderr } = cluster.covey(1, 'exec', far, 'true');
    t.equal(status, 6);
    t.match(stderr, /node vb2 is \S+ and has no session with the leader/);
  });
});
