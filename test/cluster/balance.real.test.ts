/**
 * Load balancing as clients see it: updates in both orders under constant load through a VIP and a published port, tasks that are
 * killed and replaced, a floating address that leaves a node that is emptied.
 */
import t from 'tap';
import { openClient, readyCheck, server } from './client.js';
import { cannotCluster, openDevCluster, openOutsider, type TaskRow, until } from './dev-cluster.js';

const sleeper = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'];
const replacements = 20;

t.test('load balancing', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'bl', workers: 1 });
  const create = (name: string, ...args: readonly string[]): string =>
    cluster.must(1, 'service', 'create', '--name', name, ...args);
  const tasksOf = (service: string): readonly TaskRow[] => cluster.json<TaskRow>(1, 'service', 'ps', service);
  const runningOf = (service: string): readonly TaskRow[] =>
    tasksOf(service).filter(task => task.desiredState === 'running' && task.state === 'running');
  create('asker', '--replicas', '2', '--replicas-max-per-node', '1', 'hello:1', ...sleeper);
  create('web', '--replicas', '3', '-p', '8091:80', '--restart-delay', '0s', ...readyCheck, 'hello:1', ...server);
  const vip = cluster.must(1, 'service', 'inspect', '--format', '{{.vips.0}}', 'web').trim();
  /** Where each asker runs, with its namespace. */
  const askers = runningOf('asker').map(task => {
    const node = cluster.nodes.find(({ name }) => name === task.node);
    if (node === undefined) throw new Error(`no node ${task.node}`);
    return { node: node.index, inside: `${node.runDir}/netns/${task.id}` };
  });
  const open = () => [
    openClient(cluster, { from: 2, url: `http://${cluster.node(1).address}:8091/` }),
    openClient(cluster, { from: 1, url: `http://${cluster.node(2).address}:8091/` }),
    ...askers.map(({ node, inside }) => openClient(cluster, { from: node, inside, url: `http://${vip}/` })),
  ];

  for (const order of ['start-first', 'stop-first']) {
    await t.test(`an update, ${order}: no request fails, through VIP and published port`, async t => {
      const before = runningOf('web').map(task => task.id);
      const clients = open();
      cluster.must(1, 'service', 'update', '--force', '--update-order', order, '--update-monitor', '0', 'web');
      const answers = await Promise.all(clients.map(client => client.stop()));
      t.same(
        answers.map(list => [...new Set(list)]),
        clients.map(() => ['answered']),
      );
      t.ok(
        answers.every(list => list.length > 1),
        `answers: ${answers.map(list => list.length).join(' ')}`,
      );
      const after = runningOf('web').map(task => task.id);
      t.equal(new Set([...before, ...after]).size, 6, 'all were replaced');
    });
  }

  await t.test('the way of packets of a task on another node is seen from here', async t => {
    const task = runningOf('web').find(one => one.node === cluster.node(2).name);
    if (task === undefined) throw new Error(`no task on node 2: ${JSON.stringify(runningOf('web'))}`);
    const clients = open();
    const text = cluster.must(1, 'network', 'trace', '-c', '2', '--port', '80', task.id);
    const pcap = cluster.covey(1, 'network', 'capture', '-c', '2', '--port', '80', task.id);
    await Promise.all(clients.map(client => client.stop()));
    t.match(text, /^packet [0-9a-f]+ {2}tcp \S+ > \S+ \[\S+\] {2}from /m);
    t.match(text, /^ {4}forward .* => accept$/m);
    t.equal(pcap.status, 0, pcap.stderr);
    t.ok(pcap.stdout.length > 24, `${pcap.stdout.length} characters`);
  });

  await t.test(`${replacements} tasks are killed and replaced: no resolver goes on with a dead address`, async t => {
    const known = (): readonly (readonly string[])[] =>
      askers.map(({ node, inside }) => {
        const answer = cluster.inside(node, 'nsenter', `--net=${inside}`, 'dig', '+short', '@169.254.1.1', 'tasks.web');
        return answer.stdout.trim().split('\n').sort();
      });
    for (let round = 1; round <= replacements; round += 1) {
      const [victim] = runningOf('web');
      if (victim === undefined) throw new Error('nobody runs');
      cluster.must(1, 'task', 'kill', victim.id);
      const serving = await until(
        `three others run after the death of ${victim.id}, and both resolvers know these`,
        () => {
          const addresses = runningOf('web')
            .filter(task => task.id !== victim.id)
            .flatMap(task => task.addresses)
            .sort();
          return { addresses, known: known() };
        },
        ({ addresses, known: all }) => addresses.length === 3 && all.every(list => list.join() === addresses.join()),
      );
      t.equal(new Set(serving.addresses).size, 3, `round ${round}: ${serving.addresses.join(' ')}`);
    }
  });

  await t.test('a floating address answers outside, and leaves a node that is emptied', async t => {
    const address = cluster.node(1).address.replace(/\d+$/, '77');
    const outside = openOutsider(t, { cluster: 'bl', address: address.replace(/77$/, '78') });
    cluster.must(1, 'address', 'add', address, '--service', 'web');
    const holder = (): string => cluster.json<{ node: string }>(1, 'address', 'ls')[0]?.node ?? '';
    const first = holder();
    t.ok(
      cluster.nodes.some(({ name }) => name === first),
      first,
    );
    const get = () => outside.get(`http://${address}:8091/`).status;
    await until('the address answers', get, status => status === 0);
    // One of the askers finds no place elsewhere, and stays.
    cluster.must(1, 'node', 'drain', '-d', first);
    await until('another node has it', holder, name => name !== '' && name !== first);
    await until('the address answers', get, status => status === 0);
    cluster.must(1, 'node', 'activate', first);
    cluster.must(1, 'address', 'rm', address);
    await until('the address is gone', get, status => status !== 0);
    t.match(cluster.covey(1, 'address', 'rm', address).stderr, /Cannot find floating address/);
  });
});
