/**
 * Identity over the years, on one cluster of three managers and a worker: all of them off for 91 days, at other addresses, with a
 * root certificate that is replaced twice; nothing that runs is restarted.
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import t from 'tap';
import { openTestDaemon } from './daemon.js';
import { cannotCluster, type DevCluster, openDevCluster, run, type TaskRow, until } from './dev-cluster.js';

const library = fs.globSync('/usr/lib/*/faketime/libfaketime.so.1')[0];
/** The clock of a daemon 91 days ago; the one that never jumps stays as it is. */
const past = {
  LD_PRELOAD: library ?? '',
  FAKETIME: '-91d',
  FAKETIME_DONT_FAKE_MONOTONIC: '1',
  FAKETIME_DONT_RESET: '1',
};
const slowMs = 60_000;

interface NodeRow {
  readonly name: string;
  readonly state: string;
  readonly leader: boolean;
  readonly address: string;
  readonly certificateExpiresAt: string;
}

function nodesAt(cluster: DevCluster, at: number): readonly NodeRow[] {
  const outcome = cluster.covey(at, 'node', 'ls', '--format', 'json');
  return outcome.stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line));
}

const allReady = (cluster: DevCluster, at: number, holds: (node: NodeRow) => boolean = () => true) =>
  until(
    'all four nodes ready',
    () => {
      const outcome = cluster.covey(at, 'node', 'ls', '--consistent', '--format', 'json');
      return outcome.status === 0 ? nodesAt(cluster, at) : [outcome.stderr];
    },
    rows => rows.filter(row => typeof row !== 'string' && row.state === 'ready' && holds(row)).length === 4,
    slowMs,
  );

/** The main processes of the tasks of "web", by the machine: equal only when nothing was restarted. */
function processes(cluster: DevCluster, at: number): readonly string[] {
  return cluster
    .json<TaskRow & { pid: number }>(at, 'service', 'ps', 'web')
    .filter(task => task.desiredState === 'running')
    .map(task => `${task.name} ${task.pid}`)
    .sort();
}

function restart(cluster: DevCluster, index: number, flags = ''): void {
  const started = cluster.scriptWith({ DEV_CLUSTER_FLAGS: flags }, 'start', String(index));
  if (started.status !== 0) throw new Error(started.stderr);
}

function kill(cluster: DevCluster, ...indexes: readonly number[]): void {
  for (const index of indexes) {
    const killed = cluster.script('kill', String(index));
    if (killed.status !== 0) throw new Error(killed.stderr);
  }
}

/** Gives the node another address, on the wire of the same name. */
function move(cluster: DevCluster, index: number): string {
  const { namespace, address } = cluster.node(index);
  const subnet = address.split('.').slice(0, 3).join('.');
  const next = `${subnet}.${100 + Number(address.split('.')[3]) + (moves.get(index) ?? 0) * 10}`;
  moves.set(index, (moves.get(index) ?? 0) + 1);
  for (const words of [
    ['address', 'flush', 'dev', 'eth0'],
    ['address', 'add', `${next}/24`, 'dev', 'eth0'],
    ['route', 'replace', 'default', 'via', `${subnet}.254`],
  ]) {
    const done = run(['ip', '-n', namespace, ...words]);
    if (done.status !== 0) throw new Error(`${words.join(' ')}: ${done.stderr}`);
  }
  return next;
}
const moves = new Map<number, number>();

t.test('identity over the years', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, {
    name: 'idn',
    managers: 3,
    workers: 1,
    ...(library === undefined ? {} : { env: past }),
  });
  const all = [1, 2, 3, 4];
  const noFaketime = library === undefined && 'faketime is not installed';

  await t.test('all were off for 91 days, and come back by themselves', { skip: noFaketime }, async t => {
    const ended = nodesAt(cluster, 1).map(node => Date.parse(node.certificateExpiresAt));
    t.ok(
      ended.length === 4 && ended.every(ms => ms < Date.now()),
      `certificates that are over: ${ended.map(ms => new Date(ms).toISOString())}`,
    );
    kill(cluster, ...all);
    for (const index of all) restart(cluster, index);
    await allReady(cluster, 1, node => Date.parse(node.certificateExpiresAt) > Date.now());
  });

  cluster.must(1, 'service', 'create', '--name', 'web', '--replicas', '4', 'hello:1', 'sleep', '100000');
  const before = processes(cluster, 1);
  t.equal(before.length, 4);

  await t.test('a manager with another address says so itself', async t => {
    kill(cluster, 2);
    const address = move(cluster, 2);
    restart(cluster, 2, `--advertise-addr ${address}`);
    await allReady(cluster, 1, node => node.name !== 'idn2' || node.address === address);
    t.same(processes(cluster, 3), before);
  });

  await t.test('all managers with other addresses: told where one another is, the rest finds itself', async t => {
    kill(cluster, 1, 2, 3);
    const addresses = [1, 2, 3].map(index => move(cluster, index));
    for (const index of [1, 2, 3]) restart(cluster, index, `--advertise-addr ${addresses[index - 1]}`);
    for (const other of [2, 3])
      cluster.must(1, 'node', 'update', '--addr', addresses[other - 1] ?? '', cluster.node(other).name);
    cluster.must(4, 'node', 'update', '--addr', addresses[0] ?? '', cluster.node(1).name);
    await allReady(cluster, 2, node => node.name === 'idn4' || addresses.includes(node.address));
    t.same(processes(cluster, 3), before, 'nothing was restarted');
  });

  await t.test('the root is replaced: open streams stay, tokens of before are told apart', async t => {
    const root = cluster.must(1, 'cluster', 'ca', 'show');
    const token = cluster.must(1, 'token', 'worker', '-q').trim();
    const [task] = cluster.json<TaskRow>(3, 'service', 'ps', 'web').filter(row => row.node === 'idn4');
    const { namespace, socket } = cluster.node(2);
    const reader = spawn('nsenter', [
      `--net=/run/netns/${namespace}`,
      ...['bin/covey', '--socket', socket, 'exec', '-i', task?.id ?? '', 'cat'],
    ]);
    t.teardown(() => reader.kill('SIGKILL'));
    let said = '';
    reader.stdout.on('data', chunk => {
      said += String(chunk);
    });
    reader.stdin.write('before\n');
    await until(
      'the stream open',
      () => said,
      text => text.includes('before'),
      slowMs,
    );
    const rotated = cluster.covey(2, 'cluster', 'ca', 'rotate');
    t.equal(rotated.status, 0, rotated.stderr);
    t.not(rotated.stdout, root);
    t.equal(cluster.must(3, 'cluster', 'ca', 'show'), rotated.stdout, 'all managers show it');
    reader.stdin.write('after\n');
    await until(
      'the stream still open',
      () => said,
      text => text.includes('after'),
      slowMs,
    );
    reader.stdin.end();
    const joiner = await openTestDaemon(t, { prefix: 'idnj', port: 7841, namespace: cluster.node(4).namespace });
    const { address = '' } = nodesAt(cluster, 1).find(node => node.name === 'idn1') ?? {};
    const refused = joiner.covey('join', '--token', token, `${address}:7377`);
    t.match(refused.stderr, /code\s+root-replaced/);
    t.same(processes(cluster, 3), before);
  });

  await t.test('with a node away and the leader killed in between it is said who is missing, and it ends', async t => {
    kill(cluster, 4);
    cluster.must(1, 'cluster', 'ca', 'rotate', '--detach');
    await until(
      'all but the one that is away have their certificates',
      () => cluster.covey(1, 'cluster', 'ca', 'show').stderr,
      text => /3 of 4 nodes have a certificate of the new root; waits for idn4/.test(text),
      slowMs,
    );
    const waiting = cluster.covey(1, 'cluster', 'ca', 'rotate', '--timeout', '1s');
    t.equal(waiting.status, 3, waiting.stderr);
    t.match(waiting.stderr, /waits for idn4/);
    const leader = await until(
      'a leader',
      () => cluster.nodes.find(node => nodesAt(cluster, 1).some(row => row.leader && row.name === node.name)),
      found => found !== undefined,
      slowMs,
    );
    kill(cluster, leader?.index ?? 0);
    const at = leader?.index === 1 ? 2 : 1;
    await until(
      'another leader that goes on with it',
      () => cluster.covey(at, 'cluster', 'ca', 'show').stderr,
      text => /3 of 4 nodes/.test(text),
      slowMs,
    );
    restart(
      cluster,
      leader?.index ?? 0,
      `--advertise-addr ${nodesAt(cluster, at).find(row => row.name === leader?.name)?.address}`,
    );
    await until(
      'the one that is away to be lost',
      () => nodesAt(cluster, at).find(row => row.name === 'idn4')?.state,
      state => state === 'lost',
      slowMs,
    );
    const forced = cluster.covey(at, 'cluster', 'ca', 'rotate', '--force');
    t.equal(forced.status, 0, forced.stderr);
    restart(cluster, 4);
    const token = cluster.must(at, 'token', 'node', '-q', 'idn4').trim();
    const { address = '' } = nodesAt(cluster, at).find(row => row.name === `idn${at}`) ?? {};
    const joined = cluster.covey(4, 'join', '--token', token, `${address}:7377`);
    t.equal(joined.status, 0, joined.stderr);
    await allReady(cluster, at);
  });
});
