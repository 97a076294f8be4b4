/**
 * A registry from the first push to the last container: Debian's docker-registry on each node's own address, filled by skopeo;
 * nodes pull for people and for tasks, keep what is in use, and log in where the registry asks who they are.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ociArchive, ociLayout, tarOf } from '../tasks/image/archives.js';
import { hasRegistry } from '../tasks/image/debian-registry.js';
import { packed } from '../tasks/image/mock-registry.js';
import { cannotCluster, type DevCluster, openDevCluster, run, type TaskRow, until } from './dev-cluster.js';

const skip = cannotCluster !== false ? cannotCluster : hasRegistry ? false : 'needs docker-registry and skopeo';

const open = '127.0.0.1:5000';
const guarded = '127.0.0.1:5001';
/** "me" with the password "right", by bcrypt with its least cost. */
const users = 'me:$2b$04$XmCQXYQ5E1IwGjP51trsHeJss9OBEbFuJAQWI7KTdFkx.6JHI2SSi\n';

/** One with and one without users on the loopback of each node, all with one storage. */
async function openRegistries(t: Test, cluster: DevCluster): Promise<string> {
  const scratch = fs.mkdtempSync(join(tmpdir(), 'covey-registry-test-'));
  const children: ChildProcess[] = [];
  t.teardown(async () => {
    for (const child of children) {
      const ended = new Promise(resolve => child.once('exit', resolve));
      if (child.kill('SIGKILL')) await ended;
    }
    fs.rmSync(scratch, { recursive: true, force: true });
  });
  fs.writeFileSync(join(scratch, 'users'), users);
  const auth = `auth: { htpasswd: { realm: test, path: ${join(scratch, 'users')} } }\n`;
  for (const { namespace } of cluster.nodes) {
    for (const [address, more] of [
      [open, ''],
      [guarded, auth],
    ] as const) {
      const config = join(scratch, `${namespace}-${address.split(':')[1]}.yml`);
      const storage = `storage: { filesystem: { rootdirectory: ${join(scratch, 'storage')} } }\n`;
      const text = `version: 0.1\nlog: { level: error, accesslog: { disabled: true } }\n${storage}http: { addr: '${address}' }\n${more}`;
      fs.writeFileSync(config, text);
      const argv = [`--net=/run/netns/${namespace}`, 'docker-registry', 'serve', config];
      children.push(spawn('nsenter', argv, { stdio: 'ignore' }));
    }
  }
  for (const [at] of cluster.nodes.entries()) {
    for (const address of [open, guarded]) {
      const ask = () =>
        cluster.inside(at + 1, 'curl', '-s', '-o', '/dev/null', '-m', '2', `http://${address}/v2/`).status;
      await until(`the registry ${address} of node ${at + 1}`, ask, status => status === 0);
    }
  }
  return scratch;
}

/** busybox and a file that tells the images apart. */
function writeArchive(path: string, mark: string): void {
  const busybox = fs.readFileSync('/bin/busybox');
  const base = tarOf([
    { path: 'bin/', type: '5', mode: 0o755 },
    { path: 'bin/busybox', data: busybox, mode: 0o755 },
    ...['sh', 'cat', 'sleep'].map(name => ({ path: `bin/${name}`, type: '2', target: 'busybox', mode: 0o777 })),
  ]);
  const layers = [base, tarOf([{ path: 'mark', data: mark }])];
  fs.writeFileSync(path, ociArchive(ociLayout([packed(layers, { run: { Cmd: ['/bin/sleep', '1000'] } })])));
}

interface ImageRow {
  readonly name: string;
  readonly digest: string;
}

t.test('images from a registry', { skip, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'rg', workers: 1 });
  const scratch = await openRegistries(t, cluster);
  const skopeo = (...args: readonly string[]): string => {
    const { status, stdout, stderr } = cluster.inside(1, 'skopeo', ...args);
    if (status !== 0) throw new Error(`skopeo ${args[0]}: ${stderr}`);
    return stdout;
  };
  const push = (name: string, mark: string): void => {
    const archive = join(scratch, 'pushed.tar');
    writeArchive(archive, mark);
    const flags = ['--quiet', '--insecure-policy', '--dest-tls-verify=false'];
    skopeo('copy', ...flags, `oci-archive:${archive}`, `docker://${open}/${name}`);
  };
  const names = (node: number): readonly string[] =>
    cluster.json<ImageRow>(node, 'image', 'ls').map(({ name }) => name);

  await t.test('pulled by a person it is what was pushed', async t => {
    push('team/app:1', 'first');
    cluster.must(1, 'image', 'pull', `${open}/team/app:1`);
    const { Digest } = JSON.parse(skopeo('inspect', '--tls-verify=false', `docker://${open}/team/app:1`));
    const [row] = cluster.json<ImageRow>(1, 'image', 'ls').filter(({ name }) => name === `${open}/team/app:1`);
    t.equal(row?.digest, Digest);
    t.match(cluster.must(1, 'image', 'inspect', `${open}/team/app:1`), Digest);
    t.match(cluster.must(1, 'image', 'pull', `${open}/team/app:1`), /up to date/);
    const none = cluster.covey(1, 'image', 'pull', `${open}/team/none:1`);
    t.not(none.status, 0);
    t.match(none.stderr, /none/);
  });

  await t.test('tasks pull it on the node where they run', async t => {
    t.notOk(names(2).includes(`${open}/team/app:1`));
    cluster.must(1, 'service', 'create', '--name', 'app', '--mode', 'global', `${open}/team/app:1`);
    const tasks = cluster.json<TaskRow>(1, 'service', 'ps', 'app');
    t.same(new Set(tasks.map(task => task.node)), new Set(cluster.nodes.map(node => node.name)));
    for (const task of tasks) t.equal(cluster.must(1, 'exec', task.id, 'cat', '/mark'), 'first', task.node);
    t.ok(names(2).includes(`${open}/team/app:1`));
  });

  await t.test('an image that no registry has is told by its tasks', async () => {
    cluster.must(1, 'service', 'create', '-d', '--name', 'none', `${open}/team/none:1`);
    const errors = () => cluster.json<TaskRow>(1, 'service', 'ps', 'none').map(task => task.error);
    await until('the reason', errors, texts => texts.some(text => text.includes('"team/none"')));
    cluster.must(1, 'service', 'rm', '--yes', 'none');
  });

  await t.test('other names, archives, the check and pruning', async t => {
    cluster.must(1, 'image', 'tag', `${open}/team/app:1`, 'mine:1');
    const archive = join(scratch, 'exported.tar');
    cluster.must(1, 'image', 'export', '-o', archive, 'mine:1');
    t.match(JSON.parse(skopeo('inspect', '--config', `docker-archive:${archive}`)), {
      config: { Cmd: ['/bin/sleep', '1000'] },
    });
    push('team/idle:1', 'idle');
    cluster.must(1, 'image', 'pull', `${open}/team/idle:1`);
    cluster.must(1, 'image', 'fsck');
    const pruned = cluster.must(1, 'image', 'prune', '-a', '--yes');
    t.match(pruned, 'team/idle:1');
    t.same([...names(1)].sort(), [`${open}/team/app:1`, 'mine:1'].sort(), 'what a task uses stays, by all its names');
    cluster.must(1, 'image', 'fsck');
  });

  await t.test('a registry with users: by login only, until logout', async t => {
    const image = `${guarded}/team/idle:1`;
    const refused = cluster.covey(1, 'image', 'pull', image);
    t.not(refused.status, 0);
    t.match(refused.stderr, /credential|login/);
    const login = (password: string) =>
      run(
        [
          'nsenter',
          `--net=/run/netns/${cluster.node(1).namespace}`,
          'bin/covey',
          '--socket',
          cluster.node(1).socket,
        ].concat(['login', '-u', 'me', '--password-stdin', guarded]),
        { input: password },
      );
    t.not(login('wrong').status, 0);
    t.not(cluster.covey(1, 'image', 'pull', image).status, 0, 'a password that is refused is not kept');
    t.match(login('right'), { status: 0 });
    cluster.must(1, 'image', 'pull', image);
    cluster.must(1, 'logout', guarded);
    t.not(cluster.covey(1, 'image', 'pull', image).status, 0);
    cluster.must(1, 'service', 'rm', '--yes', 'app');
  });

  await t.test('with --with-registry-auth the nodes pull as the person does, for that service alone', async t => {
    const folder = join(scratch, 'person');
    fs.mkdirSync(folder);
    const auth = Buffer.from('me:right').toString('base64');
    const others = { 'other.example': { auth: Buffer.from('me:unasked').toString('base64') } };
    fs.writeFileSync(join(folder, 'config.json'), JSON.stringify({ auths: { [guarded]: { auth }, ...others } }));
    const { namespace, socket } = cluster.node(1);
    const asPerson = (...args: readonly string[]) => {
      const env = ['env', `DOCKER_CONFIG=${folder}`, 'bin/covey', '--socket', socket];
      // A refused task is tried again after a delay that grows.
      return run(['nsenter', `--net=/run/netns/${namespace}`, ...env, ...args], { timeoutMs: 150_000 });
    };
    push('team/closed:1', 'closed');
    const image = `${guarded}/team/closed:1`;
    const made = asPerson('service', 'create', '--with-registry-auth', '--mode', 'global', '--name', 'mine', image);
    t.equal(made.status, 0, made.stderr);
    const tasks = cluster.json<TaskRow>(1, 'service', 'ps', 'mine');
    t.same(new Set(tasks.map(task => task.node)), new Set(cluster.nodes.map(node => node.name)));
    for (const task of tasks) t.equal(cluster.must(1, 'exec', task.id, 'cat', '/mark'), 'closed', task.node);

    const shown = ['service inspect mine', 'service history mine', 'task inspect mine', 'info'].map(
      line => cluster.covey(1, ...line.split(' '), '--format', 'json').stdout,
    );
    const logs = cluster.nodes.map(node => fs.readFileSync(node.log, 'utf8'));
    for (const text of [...shown, ...logs]) t.notOk(text.includes(auth) || text.includes('unasked'), 'nobody is told');

    push('team/alien:1', 'alien');
    const alien = `${guarded}/team/alien:1`;
    cluster.must(1, 'service', 'create', '-d', '--name', 'alien', alien);
    const errors = () => cluster.json<TaskRow>(1, 'service', 'ps', 'alien').map(task => task.error);
    await until('the refusal of another service', errors, texts => texts.some(text => text.includes('it is refused')));
    const updated = asPerson('service', 'update', '--with-registry-auth', 'alien');
    t.equal(updated.status, 0, updated.stderr);
    cluster.must(1, 'service', 'rm', '--yes', 'mine', 'alien');
  });
});
