/**
 * The main job: two nodes run one stack, its containers find each other by name, and its port answers on either node.
 */
import t from 'tap';
import { cannotCluster, openDevCluster, openOutsider, type TaskRow, until } from './dev-cluster.js';

t.test('two nodes run one stack', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'st', workers: 1 });
  const outsider = openOutsider(t, { cluster: 'st', address: cluster.node(1).address.replace(/\d+$/, '99') });
  const manager = cluster.node(1);
  const worker = cluster.node(2);

  await t.test('deploy waits until every task runs, and they are spread over both nodes', async t => {
    cluster.must(1, 'stack', 'deploy', '-c', 'examples/hello/stack.yaml', 'hello');
    const tasks = cluster.json<TaskRow>(1, 'stack', 'ps', 'hello').filter(task => task.desiredState === 'running');
    t.equal(tasks.length, 4);
    for (const task of tasks) t.match(task, { state: 'running', image: 'hello:1' }, task.name);
    t.same(new Set(tasks.map(task => task.node)), new Set([manager.name, worker.name]));
    t.same(new Set(tasks.filter(task => task.service === 'hello_web').map(task => task.slot)), new Set([1, 2, 3]));
  });

  await t.test('services and nodes say what programs rely on', async t => {
    const [web] = cluster.json(1, 'service', 'ls').filter(row => (row as { name: string }).name === 'hello_web');
    t.match(web, {
      name: 'hello_web',
      mode: 'replicated',
      replicas: 3,
      running: 3,
      image: 'hello:1',
      ports: [{ published: 8080, target: 80, protocol: 'tcp', mode: 'ingress' }],
    });
    const nodes = cluster.json<{ name: string; role: string; state: string; leader: boolean }>(1, 'node', 'ls');
    t.match(
      nodes.find(node => node.name === manager.name),
      { role: 'manager', state: 'ready', availability: 'active', leader: true },
    );
    t.match(
      nodes.find(node => node.name === worker.name),
      { role: 'worker', state: 'ready', leader: false },
    );
    t.match(cluster.json(2, 'image', 'ls'), [{ name: 'hello:1', digest: /^sha256:[0-9a-f]{64}$/, size: Number }]);
  });

  await t.test('the published port of either node reaches all replicas and keeps the client’s address', async t => {
    for (const node of [manager, worker]) {
      const answers = Array.from(
        { length: 24 },
        () => outsider.get(`http://${node.address}:8080/cgi-bin/hello`).stdout,
      );
      t.equal(answers.filter(answer => answer !== '').length, 24, `all answers of ${node.name}`);
      const servers = new Set(answers.map(answer => answer.split('\n')[0]));
      t.equal(servers.size, 3, `${node.name} reaches ${[...servers].join(' | ')}`);
      for (const answer of answers) t.match(answer, /10\.91\.\d+\.99/);
    }
    t.match(
      cluster.inside(2, 'busybox', 'wget', '-q', '-O', '-', 'http://127.0.0.1:8080/cgi-bin/hello').stdout,
      /\w/,
      'and on 127.0.0.1',
    );
  });

  await t.test('containers find each other by name from both nodes', async t => {
    const tasks = cluster.json<TaskRow>(1, 'stack', 'ps', 'hello').filter(task => task.service === 'hello_web');
    for (const task of tasks) {
      const shell = (script: string): string => cluster.must(1, 'exec', task.id, 'sh', '-c', script);
      t.match(shell('wget -q -O - http://web/cgi-bin/hello'), /\w/, `${task.name} on ${task.node}: web`);
      t.match(shell('wget -q -O - http://hello_web/cgi-bin/hello'), /\w/, 'its full name');
      t.equal(
        new Set(shell('nslookup tasks.web 127.0.0.11').match(/\b10\.\d+\.\d+\.\d+\b/g)).size,
        3,
        'tasks.web through 127.0.0.11',
      );
      for (const other of tasks)
        t.match(
          shell(`wget -q -O - http://${other.addresses[0]?.replace(/\/.*/, '')}/cgi-bin/hello`),
          /\w/,
          `${task.name} -> ${other.name}`,
        );
    }
  });

  await t.test('the client’s log holds the answers', async t => {
    const log = await until(
      'an answer in the log',
      () => cluster.must(1, 'service', 'logs', 'hello_client'),
      text => text.split('\n').length > 3,
    );
    t.match(log, /hello_client\.1/);
  });

  await t.test('a removed stack leaves nothing running', async t => {
    cluster.must(1, 'stack', 'rm', '--yes', 'hello');
    t.same(cluster.json(1, 'service', 'ls'), []);
    t.same(cluster.json(1, 'task', 'ls'), []);
    t.equal(outsider.get(`http://${manager.address}:8080/`).stdout, '');
  });
});
