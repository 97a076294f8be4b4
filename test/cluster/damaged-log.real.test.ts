/**
 * The log of a manager is damaged in the middle: its daemon does not start, and one command says what is lost, keeps what lies
 * before the damage, and leaves everything alone while another manager is there.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cannotCluster, type Outcome, openDevCluster } from './dev-cluster.js';

/** Behind the head of a segment and the head of its first record. */
const inFirstRecord = 512 + 60;

t.test('a damaged log is looked at, and repaired only for the last manager', { skip: cannotCluster }, async t => {
  const cluster = openDevCluster(t, { name: 'dlg', managers: 2, workers: 0 });
  for (const name of ['a', 'b', 'c'])
    cluster.must(1, 'service', 'create', '-d', '--name', name, '--replicas', '0', 'hello:1');
  const { dataDir, runDir } = cluster.node(2);
  const repair = (how: string): Outcome =>
    cluster.inside(2, 'bin/coveyd', '--data-dir', dataDir, '--run-dir', runDir, '--repair-log', how);
  t.match(repair('look'), { status: 1, stderr: /code\s+daemon-running/ });
  cluster.script('kill', '2');
  t.match(repair('look'), { status: 0, stdout: /The log can be used: nothing is to be repaired/ });

  const [folder = ''] = fs.globSync(`${dataDir}/raft/*/wal`);
  const [segment = ''] = fs.globSync(`${folder}/[0-9]*.wal`).sort();
  const bytes = fs.readFileSync(segment);
  bytes[inFirstRecord] = (bytes[inFirstRecord] ?? 0) ^ 1;
  fs.writeFileSync(segment, bytes);
  const started = cluster.script('start', '2');
  t.match(started.stderr, /log-damaged/);
  t.match(started.stderr, /coveyd --repair-log look/);

  t.match(
    repair('look').stdout,
    /Damage: .* offset 512: [\s\S]*Another manager is known: [\s\S]*Only when all of them are gone/,
  );
  t.match(repair('all'), { status: 1, stderr: /code\s+bad-argument/ });
  t.match(repair('last-manager'), { status: 1, stderr: /code\s+quorum-alive/ }, 'the other one answers');
  t.ok(fs.readFileSync(segment).equals(bytes), 'nothing was changed');
  cluster.script('kill', '1');
  t.match(repair('last-manager'), { status: 0, stdout: /Set aside: [\s\S]*The log ends before the damage now/ });
  t.ok(fs.readFileSync(join(folder, fs.readdirSync(folder).find(name => name.endsWith('.damaged')) ?? '')).length > 0);
  const again = cluster.script('start', '2');
  t.equal(again.status, 0, again.stderr);
});
