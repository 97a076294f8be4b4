/**
 * Managers of this covey and of the next one in one group, upgraded one by one while somebody writes.
 *
 * Not here: messages and entries of other versions (test/daemon/peers/versions.test.ts, test/raft/golden.test.ts).
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import t from 'tap';
import { cannotCluster, type DevCluster, type Outcome, openDevCluster, until } from './dev-cluster.js';
import { buildNextDaemon } from './next-daemon.js';
import { version as nextVersion } from './next-version.js';

/** A config is what the next version has and this one would not know. */
const stackWithConfig = `
services:
  reader:
    image: hello:1
    command: [sleep, '100000']
    configs: [motd]
configs:
  motd:
    file: ./motd
`;

interface ServiceRow {
  readonly name: string;
  readonly labels: { readonly n?: string };
}

interface NodeRow {
  readonly name: string;
  readonly state: string;
  readonly leader: boolean;
}

const nodes = (cluster: DevCluster, at: number): readonly NodeRow[] => {
  const { status, stdout } = cluster.covey(at, 'node', 'ls', '--consistent', '--format', 'json');
  if (status !== 0) return [];
  return stdout
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line));
};

/** All are ready, as each of them says, and who leads. */
async function untilWhole(cluster: DevCluster): Promise<number> {
  const isWhole = (rows: readonly NodeRow[]): boolean =>
    rows.length === 3 && rows.every(({ state }) => state === 'ready');
  let rows: readonly NodeRow[] = [];
  for (const at of [1, 2, 3])
    rows = await until(`all managers ready, as ${at} says`, () => nodes(cluster, at), isWhole);
  return cluster.node(cluster.nodes.findIndex(({ name }) => name === rows.find(({ leader }) => leader)?.name) + 1)
    .index;
}

/** Updates one label again and again, on one manager after the other, and writes down what was acknowledged. */
function openWriter(test: { readonly teardown: (end: () => void) => void }, cluster: DevCluster) {
  const folder = fs.mkdtempSync('/tmp/covey-versions-');
  const file = `${folder}/acknowledged`;
  const script = `n=0; while :; do n=$((n+1)); for s in "$@"; do
    bin/covey --socket "$s" service update -d --label-add n=$n web >/dev/null 2>&1 && { echo $n >>${file}; break; }; done; sleep 0.1; done`;
  const child = spawn('sh', ['-c', script, 'sh', ...cluster.nodes.map(({ socket }) => socket)], { stdio: 'ignore' });
  const ended = new Promise(resolve => child.once('exit', resolve));
  const end = async (): Promise<number> => {
    child.kill('SIGKILL');
    await ended;
    return acknowledged();
  };
  const acknowledged = (): number =>
    fs.existsSync(file) ? Number(fs.readFileSync(file, 'utf8').trim().split('\n').at(-1)) : 0;
  test.teardown(() => {
    child.kill('SIGKILL');
    fs.rmSync(folder, { recursive: true, force: true });
  });
  return { end, acknowledged };
}

t.test(
  'managers of this version and the next run together; what only the next one knows waits for the last of them, and then there is no way back',
  { skip: cannotCluster, timeout: 600_000 },
  async t => {
    const next = await buildNextDaemon(t);
    const cluster = openDevCluster(t, { name: 'ver', managers: 3, workers: 0 });
    cluster.must(1, 'service', 'create', '--name', 'web', '--lost-after', '10m', 'hello:1', 'sleep', '100000');
    const folder = t.testdir({ motd: 'welcome\n', 'stack.yaml': stackWithConfig });
    const deploy = (at: number): Outcome => cluster.covey(at, 'stack', 'deploy', '-c', `${folder}/stack.yaml`, 'news');
    const writer = openWriter(t, cluster);
    const isNext = new Set<number>();
    const restart = (index: number): string => {
      cluster.script('kill', String(index));
      const env = isNext.has(index) ? { DEV_CLUSTER_DAEMON: next } : {};
      const { status, stderr } = cluster.scriptWith(env, 'start', String(index));
      return status === 0 ? '' : stderr;
    };
    const writtenSince = async (count: number): Promise<void> => {
      await until('changes go on', writer.acknowledged, now => now > count + 2);
    };
    const upgrade = async (index: number): Promise<void> => {
      isNext.add(index);
      t.equal(restart(index), '', `manager ${index} starts as covey ${nextVersion}`);
      await untilWhole(cluster);
      await until(
        'its version is told',
        () => cluster.covey(1, 'node', 'inspect', cluster.node(index).name).stdout,
        text => text.includes(nextVersion),
      );
      await writtenSince(writer.acknowledged());
    };

    const leader = await untilWhole(cluster);
    await upgrade(leader);
    const [other = 0, last = 0] = [1, 2, 3].filter(index => index !== leader);
    await upgrade(other);
    // The old one leads no more when it comes back: one of the new ones does.
    while (!isNext.has(await untilWhole(cluster))) t.equal(restart(last), '', 'the old one starts again');
    const refused = deploy(last);
    t.match(refused.stderr, /code\s+older-managers/);
    t.match(refused.stderr, `${cluster.node(last).name} runs covey 0.1.0; it takes store version 2`);
    await writtenSince(writer.acknowledged());
    await upgrade(last);
    t.match(deploy(last), { status: 0 });

    isNext.delete(last);
    t.match(restart(last), /newer-schema/, 'this version does not start on what the next one stored');
    t.match(fs.readFileSync(cluster.node(last).log, 'utf8'), /schema version 2/);
    isNext.add(last);
    t.equal(restart(last), '', 'and the next one does, as if nothing had been');
    await untilWhole(cluster);
    const acknowledged = await writer.end();
    for (const { index } of cluster.nodes)
      t.match(cluster.json(index, 'stack', 'services', 'news', '--consistent'), [{ name: 'news_reader' }]);
    const services = cluster.json<ServiceRow>(last, 'service', 'ls', '--consistent');
    const web = services.find(({ name }) => name === 'web');
    t.ok(Number(web?.labels.n) >= acknowledged, `${JSON.stringify(web)}: ${acknowledged} was acknowledged`);
  },
);
