/**
 * The disk of a manager fails under it: its daemon ends and says why, the others go on, and what it acknowledged is there.
 */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { cannotCluster, openDevCluster, run, until } from './dev-cluster.js';

const cannotMount = fs.existsSync('/dev/loop-control') ? false : 'no loop devices here';

t.test('the disk of the leader is lost', { skip: cannotCluster || cannotMount, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'ld', managers: 3, workers: 0, diskMib: 256 });
  const create = (at: number, name: string) =>
    cluster.covey(at, 'service', 'create', '-d', '--name', name, '--replicas', '0', 'hello:1');
  t.equal(create(1, 'before').status, 0);
  const [leader] = cluster.json<{ name: string; leader: boolean }>(2, 'node', 'ls').filter(node => node.leader);
  const broken = cluster.nodes.find(({ name }) => name === leader?.name) ?? cluster.node(1);
  const other = (broken.index % 3) + 1;

  // What lies behind the end of a device cannot be written: EIO.
  const disk = join(dirname(broken.dataDir), 'disk');
  fs.truncateSync(disk, 2 ** 20);
  const [device = ''] = run(['losetup', '--associated', disk]).stdout.split(':');
  t.equal(run(['losetup', '--set-capacity', device]).status, 0, device);
  const acknowledged: string[] = [];
  await until(
    'another leader that takes changes, and the end of the daemon',
    () => {
      const name = `after${acknowledged.length + 1}`;
      const created = create(other, name);
      if (created.status === 0) acknowledged.push(name);
      const runs = (JSON.parse(cluster.script('status').stdout) as { nodes: readonly { pid?: number }[] }).nodes;
      return { runs: runs[broken.index - 1]?.pid, said: created.stderr, acknowledged: acknowledged.length };
    },
    seen => seen.runs === undefined && seen.acknowledged >= 2 && seen.said === '',
    60_000,
  );
  const log = fs.readFileSync(broken.log, 'utf8');
  t.match(log, /ending: something happened that must not/);
  t.match(log, /Cannot \w+ the Raft storage|Cannot .*(disk|storage|log)/, log.split('\n').slice(-8).join('\n'));
  const third = (other % 3) + 1 === broken.index ? (broken.index % 3) + 1 : (other % 3) + 1;
  for (const at of [other, third]) {
    const names = cluster.must(at, 'service', 'ls', '-q', '--format', 'name').split('\n');
    for (const name of ['before', ...acknowledged]) t.ok(names.includes(name), `${name}, as manager ${at} has it`);
  }
});
