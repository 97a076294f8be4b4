/** Jobs on real daemons: work that ends, is waited for, and is never done twice. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { cannotCluster, openDevCluster, type TaskRow, until } from './dev-cluster.js';

interface JobRow {
  readonly mode: string;
  readonly running: number;
  readonly replicas: number;
  readonly completed: number;
}

t.test('jobs', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'jb', workers: 1 });
  const row = (name: string): JobRow | undefined =>
    cluster.json<JobRow>(1, 'service', 'ls', '-f', `name=${name}`).find(() => true);
  const tasksOf = (name: string): readonly TaskRow[] => cluster.json<TaskRow>(1, 'service', 'ps', name);

  await t.test(
    'a replicated job is waited for until all of it has completed, no more than asked at a time',
    async t => {
      const job = ['--mode', 'replicated-job', '--replicas', '5', '--max-concurrent', '2'];
      const said = cluster.must(1, 'service', 'create', ...job, '--name', 'work', 'hello:1', 'sh', '-c', 'echo did');
      t.match(said, /work is complete: 5 of 5/);
      t.match(row('work'), { mode: 'replicated-job', running: 0, completed: 5, replicas: 5 });
      t.match(cluster.must(1, 'service', 'ls'), /work +replicated-job +0 \(5\/5 completed\)/);
      t.strictSame(
        tasksOf('work').map(({ name, state, exitCode }) => [name, state, exitCode]),
        [1, 2, 3, 4, 5].map(slot => [`work.${slot}`, 'complete', 0]),
      );
      t.equal(cluster.must(1, 'logs', '--raw', 'work'), 'did\n'.repeat(5), 'each was done once');
    },
  );

  await t.test('what is done stays done when the daemons start anew, and a change does it once more', async t => {
    const before = tasksOf('work').map(({ id }) => id);
    for (const node of ['1', '2']) {
      t.equal(cluster.script('kill', node).status, 0);
      t.equal(cluster.script('start', node).status, 0);
    }
    const asked = () => cluster.covey(1, 'service', 'ls', '--consistent');
    await until('the manager leads again', asked, ({ status }) => status === 0);
    cluster.must(1, 'service', 'scale', 'work=6');
    const after = tasksOf('work').map(({ id }) => id);
    t.equal(after.length, 6, 'one more, and no other');
    t.strictSame(
      before.filter(id => !after.includes(id)),
      [],
    );
    cluster.must(1, 'service', 'update', '--force', 'work');
    t.match(row('work'), { completed: 6, replicas: 6 });
    t.equal(tasksOf('work').filter(({ state }) => state === 'complete').length, 12);
  });

  await t.test('a task that fails is tried again as the policy says; one that fails for good is told', async t => {
    const once = ['--mode', 'replicated-job', '--restart-max-attempts', '1', '--restart-delay', '1ms'];
    const mount = [
      '--mount',
      'type=volume,source=tries,target=/tries',
      '--constraint',
      `node.name==${cluster.node(1).name}`,
    ];
    const program = 'mkdir /tries/first 2>/dev/null && exit 3; exit 0';
    cluster.must(1, 'service', 'create', ...once, ...mount, '--name', 'again', 'hello:1', 'sh', '-c', program);
    t.strictSame([...tasksOf('again').map(({ exitCode }) => exitCode)].sort(), [0, 3]);
    const never = ['--mode', 'replicated-job', '--restart-condition', 'none', '--name', 'never'];
    const failed = cluster.covey(1, 'service', 'create', ...never, 'hello:1', 'sh', '-c', 'exit 4');
    t.match(failed, { status: 1, stderr: /Cannot start never\.1: exit code 4[\s\S]*0 of 1 of "never" completed/ });
  });

  await t.test('a stack has jobs beside services, and a global job is done once on each node', async t => {
    const folder = fs.mkdtempSync(join(tmpdir(), 'covey-jobs-'));
    t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'stack.yaml');
    const service = (name: string, command: string, deploy: string): string =>
      `  ${name}:\n    image: hello:1\n    command: ${command}\n    deploy: {${deploy}}\n`;
    fs.writeFileSync(
      file,
      `services:\n${service('every', '["true"]', 'mode: global-job')}${service('some', '["true"]', 'mode: replicated-job, replicas: 3, x-max-concurrent: 1')}`,
    );
    const said = cluster.must(1, 'stack', 'deploy', '-c', file, 'j');
    t.match(said, /j_every is complete: 2 of 2/);
    t.match(said, /j_some is complete: 3 of 3/);
    t.same(new Set(tasksOf('j_every').map(({ node }) => node)), new Set(cluster.nodes.map(({ name }) => name)));
    t.match(cluster.must(1, 'stack', 'deploy', '-c', file, 'j'), /2 services unchanged/);
    t.equal(tasksOf('j_some').length, 3, 'deployed again it does nothing again');
    cluster.must(1, 'stack', 'rm', '--yes', 'j');
  });
});
