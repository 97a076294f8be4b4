/**
 * Three managers whose disks open with a key that people hold: all start anew at once, are unlocked one after the other, and
 * everything is back with the same containers; one misses a rotation of the key; it is turned off again.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cannotCluster, type DevCluster, type Outcome, openDevCluster, run, until } from './dev-cluster.js';
import { patienceMs, sleeper, startTimes } from './living.js';

const managers = [1, 2, 3];
const keyForm = /CVKEY-1-[0-9a-z]{50}-[0-9a-z]{4}/;
/** In a spec, and so in the log of every manager. */
const words = 'WORDS-THAT-NOBODY-READS';

/** The key on standard input. A daemon that had no processor to greet with was not asked: it is asked again. */
function unlock(cluster: DevCluster, at: number, key: string): Outcome {
  const { namespace, socket } = cluster.node(at);
  const argv = ['nsenter', `--net=/run/netns/${namespace}`, 'bin/covey', '--socket', socket, 'unlock'];
  for (let tries = 1; ; tries += 1) {
    const outcome = run(argv, { input: `${key}\n`, timeoutMs: 120_000 });
    if (tries === 10 || !outcome.stderr.includes('accepts, but nothing greets')) return outcome;
  }
}

function restart(cluster: DevCluster, nodes: readonly number[]): readonly string[] {
  const outcomes = [
    ...nodes.map(at => cluster.script('kill', String(at))),
    ...nodes.map(at => cluster.script('start', String(at))),
  ];
  return outcomes.filter(({ status }) => status !== 0).map(({ stderr }) => stderr);
}

/** Files of the log in which the words lie as they are. */
function readable(cluster: DevCluster, at: number): readonly string[] {
  const folder = `${cluster.node(at).dataDir}/raft`;
  const files = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile());
  return files.map(entry => join(entry.parentPath, entry.name)).filter(path => fs.readFileSync(path).includes(words));
}

const keyIn = (outcome: Outcome): string =>
  keyForm.exec(outcome.stdout)?.[0] ?? `no key in: ${outcome.stdout}${outcome.stderr}`;

const isLocked = (cluster: DevCluster, at: number): boolean =>
  cluster.json<{ readonly locked: boolean }>(at, 'info')[0]?.locked === true;

t.test('managers that have to be unlocked', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'alk', managers: 3, workers: 1 });
  const service = ['--name', 'web', '--mode', 'global', '--lost-after', '10m', '-e', `TOKEN=${words}`];
  cluster.must(1, 'service', 'create', ...service, 'hello:1', ...sleeper);
  const before = startTimes(cluster, 1, 'web');
  t.equal(Object.keys(before).length, 4);
  let key = '';

  await t.test('without autolock nothing is asked, and nothing of the log can be read on any disk', async t => {
    t.match(cluster.covey(2, 'unlock-key'), { status: 5, stderr: /autolock is off[\s\S]*not-autolocked/ });
    t.match(cluster.must(2, 'unlock'), /not locked/);
    for (const at of managers) t.same(readable(cluster, at), [], `manager ${at}`);
  });

  await t.test('turned on: the key is shown once all have taken it, the private keys are sealed', async t => {
    const said = cluster.covey(2, 'cluster', 'update', '--autolock=true');
    t.equal(said.status, 0, said.stderr);
    t.notMatch(said.stdout, /not taken it yet/);
    key = keyIn(said);
    t.equal(cluster.must(1, 'unlock-key', '-q').trim(), key, 'any manager shows it');
    for (const at of managers) {
      await until(
        `the private key of manager ${at} sealed`,
        () => fs.readFileSync(`${cluster.node(at).dataDir}/tls/node.pem`, 'utf8').match(/BEGIN [A-Z ]+/g),
        found => found?.join() === 'BEGIN CERTIFICATE,BEGIN COVEY SEALED KEY',
        patienceMs,
      );
      const { lock } = JSON.parse(fs.readFileSync(`${cluster.node(at).dataDir}/keys.json`, 'utf8'));
      t.match(lock, { kind: 'locked', kek: undefined }, `manager ${at}`);
    }
    t.notMatch(cluster.must(1, 'node', 'ls', '--format', 'json'), new RegExp(key));
  });

  await t.test('a backup is encrypted with it', async t => {
    const path = join(t.testdir({ key: `${key}\n` }), 'bak');
    t.match(cluster.must(1, 'cluster', 'backup', path), /encrypted with the unlock key/);
    t.notOk(fs.readFileSync(path).includes(words));
    t.match(
      cluster.must(1, 'cluster', 'backup', '--inspect', '--key-file', path.replace(/bak$/, 'key'), path),
      /managers were locked[\s\S]*with this key/,
    );
  });

  await t.test('all start anew: locked, their containers run on, every command says what to do', async t => {
    t.same(restart(cluster, managers), []);
    for (const at of managers) {
      t.ok(isLocked(cluster, at), `manager ${at}`);
      for (const command of [
        ['node', 'ls'],
        ['service', 'rm', 'web'],
        ['unlock-key'],
        ['cluster', 'recover', '--yes'],
        ['leave'],
      ])
        t.match(cluster.covey(at, ...command), { status: 5, stderr: /covey unlock\b[\s\S]*locked/ }, command.join(' '));
      t.match(cluster.must(at, 'info'), /locked: covey unlock/);
      t.match(cluster.covey(at, 'doctor'), { status: 1, stdout: /this manager is locked.*covey unlock/ });
      t.match(cluster.must(at, 'task', 'ls', '--local'), /web\.\S* +\S+ +running/);
    }
  });

  await t.test('a wrong key is told apart from a slip, and changes nothing', async t => {
    const other = `CVKEY-1-${'0'.repeat(50)}-`;
    t.match(unlock(cluster, 1, `${key}x`), { status: 5, stderr: /it has 64 characters[\s\S]*unlock-key-wrong/ });
    t.match(unlock(cluster, 1, `${other}0000`), { status: 5, stderr: /mistyped[\s\S]*unlock-key-wrong/ });
    t.match(unlock(cluster, 1, ''), { status: 2, stderr: /holds no key/ });
    t.ok(isLocked(cluster, 1));
  });

  await t.test('unlocked one after the other, all is back; no container was restarted', async t => {
    t.match(unlock(cluster, 1, key), { status: 0, stdout: /Unlocked\. It takes part as soon as.*1 of 3 managers/ });
    for (const at of [2, 3]) t.match(unlock(cluster, at, key), { status: 0, stdout: /takes part again/ });
    await until(
      'all nodes ready',
      () => cluster.json<{ readonly state: string }>(1, 'node', 'ls').map(({ state }) => state),
      states => states.every(state => state === 'ready'),
      patienceMs,
    );
    t.same(startTimes(cluster, 1, 'web'), before);
  });

  await t.test('the key is rotated while one is away: it opens with the one before, and takes the new one', async t => {
    t.equal(cluster.script('kill', '3').status, 0);
    const name = cluster.node(3).name;
    const rotated = await until(
      'the key rotated',
      () => cluster.covey(1, 'unlock-key', '--rotate'),
      ({ status }) => status === 0,
      patienceMs,
    );
    const next = keyIn(rotated);
    t.not(next, key);
    t.match(cluster.must(2, 'unlock-key'), new RegExp(`${next}[\\s\\S]*${name} \\(\\S+\\) +with ${key}`));
    t.equal(cluster.script('start', '3').status, 0);
    t.match(unlock(cluster, 3, next), {
      status: 5,
      stderr: /was locked with the unlock key with the id[\s\S]*unlock-key-wrong/,
    });
    t.match(unlock(cluster, 3, key), { status: 0, stdout: /takes part again/ });
    await until(
      `${name} has taken the new key`,
      () => cluster.must(2, 'unlock-key'),
      text => !text.includes('not taken it yet'),
      patienceMs,
    );
    key = next;
  });

  await t.test('turned off: managers start without being asked', async t => {
    cluster.must(1, 'cluster', 'update', '--autolock=false');
    for (const at of managers) {
      await until(
        `manager ${at} open`,
        () => fs.readFileSync(`${cluster.node(at).dataDir}/tls/node.pem`, 'utf8').match(/BEGIN [A-Z ]+/g),
        found => found?.join() === 'BEGIN CERTIFICATE,BEGIN PRIVATE KEY',
        patienceMs,
      );
    }
    t.same(restart(cluster, managers), []);
    await until(
      'somebody leading',
      () => cluster.covey(1, 'node', 'ls', '--consistent').status,
      status => status === 0,
      patienceMs,
    );
    t.same(startTimes(cluster, 1, 'web'), before);
  });
});
