/**
 * Bad input, a row each: a clear error with its code in two seconds at most, nothing changed, nothing lost.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openTestDaemon } from './daemon.js';
import { cannotCluster, type DevCluster, openDevCluster, run, until } from './dev-cluster.js';
import { readIdentity, testRefusedCertificates } from './refused-certificates.js';

/** Promised are 2 s, and 5 s for a join; a machine that runs other tests at the same time gets more. */
const slowMs = 20_000;

function temporary(t: Test): string {
  const directory = fs.mkdtempSync('/tmp/covey-bad-');
  t.teardown(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** What a node says of itself, and when: nobody has asked for that to change. */
const ownNews = new Set(['age', 'since', 'cpu', 'memory', 'updatedAt', 'lastHeardAt', 'hardware', 'version']);

/** Names and versions of everything that a failed request might have changed. */
function census(cluster: DevCluster): unknown {
  return ['service', 'network', 'node', 'image'].map(noun =>
    cluster
      .must(1, noun, 'ls', '--format', 'json')
      .split('\n')
      .filter(line => line !== '')
      .map(line => Object.entries(JSON.parse(line) as object).filter(([key]) => noun !== 'node' || !ownNews.has(key))),
  );
}

t.test('bad input', { skip: cannotCluster, timeout: 600_000 }, async t => {
  const cluster = openDevCluster(t, { name: 'bad', workers: 1 });
  const directory = temporary(t);

  await t.test('stack files are refused with line, column and code', async t => {
    const before = census(cluster);
    const rows: [string, string, string, RegExp][] = [
      ['syntax', 'services:\n  web: [', 'stack-syntax', /:2:/],
      ['tab', 'services:\n\tweb: {}', 'stack-syntax', /:2:/],
      ['unknown key', 'services:\n  web:\n    image: hello:1\n    imagee: x', 'stack-unknown-key', /:4:5/],
      ['wrong type', 'services:\n  web:\n    image: [a]', 'stack-type', /:3:/],
      ['wrong number', 'services:\n  web:\n    image: hello:1\n    deploy:\n      replicas: many', 'stack-type', /:5:/],
      [
        'variable without a value',
        'services:\n  web:\n    image: hello:$' + '{NO_SUCH_TAG:?set it}',
        'stack-variable',
        /:3:/,
      ],
      ['undefined network', 'services:\n  web:\n    image: hello:1\n    networks: [nowhere]', 'stack-reference', /:4:/],
      ['not honoured', 'services:\n  web:\n    image: hello:1\n    network_mode: bridge', 'stack-not-honoured', /:4:/],
      ['bad port', 'services:\n  web:\n    image: hello:1\n    ports: ["80:99999"]', 'stack-type', /:4:/],
    ];
    for (const [title, text, code, place] of rows) {
      const file = join(directory, 'stack.yaml');
      fs.writeFileSync(file, text);
      const outcome = cluster.covey(1, 'stack', 'deploy', '-c', file, 'bad');
      t.not(outcome.status, 0, title);
      t.match(outcome.stderr, new RegExp(`code\\s+${code}\\b`), `${title}: ${outcome.stderr}`);
      t.match(outcome.stderr, place, `${title}: its place`);
      t.ok(outcome.ms < slowMs, `${title}: ${Math.round(outcome.ms)} ms`);
    }
    t.same(census(cluster), before, 'nothing changed');
  });

  await t.test('a task that can’t run says why', async t => {
    const rows: [string, readonly string[], string | undefined, RegExp][] = [
      ['unknown image', ['--pull', 'never', 'nosuch:1'], 'image-not-found', /nosuch:1/],
      ['unknown command', ['hello:1', '/bin/nosuch'], 'command-not-found', /nosuch/],
      ['unknown user', ['--user', 'ghost', 'hello:1', 'sleep', '9'], 'user-not-found', /ghost/],
      [
        'missing mount source',
        ['--mount', 'type=bind,source=/no/such/path,target=/x', 'hello:1', 'sleep', '9'],
        'mount-source',
        /\/no\/such\/path/,
      ],
      [
        'reservation beyond all nodes',
        ['--reserve-memory', '900G', 'hello:1', 'sleep', '9'],
        undefined,
        /no node fits.*memory/,
      ],
      [
        'constraint that no node meets',
        ['--constraint', 'node.labels.zone==moon', 'hello:1', 'sleep', '9'],
        undefined,
        /no node fits/,
      ],
    ];
    for (const [title, args, code, why] of rows) {
      const begin = performance.now();
      cluster.must(1, 'service', 'create', '-d', '--restart-condition', 'none', '--name', 'doomed', ...args);
      type Row = { error: string; errorCode: string; message: string; state: string };
      const row = await until(
        title,
        () => cluster.json<Row>(1, 'service', 'ps', 'doomed')[0],
        found => found !== undefined && why.test(`${found.error} ${found.message}`),
        5_000,
      );
      t.ok(performance.now() - begin < slowMs, `${title}: ${Math.round(performance.now() - begin)} ms`);
      if (code !== undefined) t.match(`${row?.errorCode}`, code, title);
      t.match(cluster.must(1, 'service', 'ps', '--no-trunc', 'doomed'), why, `${title}: in the table`);
      cluster.must(1, 'service', 'rm', '--yes', 'doomed');
    }
    t.same(cluster.json(1, 'task', 'ls'), []);
  });

  await t.test('a published port has one owner', async t => {
    cluster.must(1, 'service', 'create', '--name', 'owner', '-p', '8123:80', 'hello:1', 'sleep', '1000');
    const before = census(cluster);
    const outcome = cluster.covey(
      1,
      'service',
      'create',
      '--name',
      'rival',
      '-p',
      '8123:80',
      'hello:1',
      'sleep',
      '1000',
    );
    t.match(outcome.stderr, /code\s+port-conflict/);
    t.ok(outcome.status !== 0 && outcome.ms < slowMs, `${outcome.ms} ms`);
    t.same(census(cluster), before);
    cluster.must(1, 'service', 'rm', '--yes', 'owner');
  });

  await t.test('damaged archives store nothing', async t => {
    const archive = join(directory, 'hello.tar');
    t.equal(run(['scripts/make-image', archive]).status, 0);
    const whole = fs.readFileSync(archive);
    const files: [string, Uint8Array, string][] = [
      [
        'rubbish',
        Buffer.from('this is no archive at all, just some text of a certain length'.repeat(40)),
        'image-archive',
      ],
      ['empty', Buffer.alloc(0), 'image-archive'],
      ['cut short', whole.subarray(0, whole.length >> 1), 'image-archive'],
      ['a layer with another digest', ociArchive(join(directory, 'oci'), whole), 'image-digest'],
    ];
    const before = census(cluster);
    for (const [title, content, code] of files) {
      const file = join(directory, 'bad.tar');
      fs.writeFileSync(file, content);
      const outcome = cluster.covey(1, 'image', 'import', file, 'bad:1');
      t.match(outcome.stderr, new RegExp(`code\\s+${code}\\b`), `${title}: ${outcome.stderr}`);
      t.ok(outcome.status === 1 && outcome.ms < slowMs, `${title}: ${outcome.status}, ${Math.round(outcome.ms)} ms`);
      t.same(fs.readdirSync(join(cluster.node(1).dataDir, 'images/tmp')), [], `${title}: nothing half done is left`);
    }
    t.same(census(cluster), before);
  });

  await t.test('a full disk while importing is told, and nothing of it stays', async t => {
    const daemon = await openTestDaemon(t, { prefix: 'fulld', port: 7811, dataMaxMib: 12 });
    const big = join(directory, 'big');
    fs.mkdirSync(big);
    fs.writeFileSync(join(big, 'data'), Buffer.alloc(24 * 2 ** 20, 7));
    run(['tar', '-C', big, '-cf', join(directory, 'big.tar'), '.']);
    const outcome = daemon.covey('image', 'import', join(directory, 'big.tar'), 'big:1');
    t.match(outcome.stderr, /code\s+no-space/, outcome.stderr);
    t.ok(outcome.status === 1 && outcome.ms < slowMs, `${outcome.ms} ms`);
    t.equal(daemon.covey('image', 'ls', '-q').stdout, '');
    t.ok(fs.statfsSync(join(daemon.directory, 'data')).bavail * 4096 > 10 * 2 ** 20, 'the space is free again');
    const small = join(directory, 'hello.tar');
    t.equal(daemon.covey('image', 'import', small, 'hello:1').status, 0, 'a smaller one fits');
  });

  await t.test('tokens and addresses: each refusal is its own', async t => {
    const manager = cluster.node(1);
    const joiner = await openTestDaemon(t, { prefix: 'joiner', port: 7821, namespace: cluster.node(2).namespace });
    const good = cluster.must(1, 'token', 'worker', '-q').trim();
    const expired = cluster.must(1, 'token', 'worker', '-q', '--expires', '1ms').trim();
    const once = cluster.must(1, 'token', 'worker', '-q', '--uses', '1').trim();
    const parts = good.split('-');
    const address = `${manager.address}:7377`;
    const rows: [string, string, string, string][] = [
      ['rubbish', 'hello', address, 'bad-token'],
      ['wrong secret', [...parts.slice(0, 3), '0'.repeat(25)].join('-'), address, 'bad-token'],
      ['wrong CA digest', [...parts.slice(0, 2), '0'.repeat(50), parts[3]].join('-'), address, 'wrong-ca'],
      ['expired', expired, address, 'token-expired'],
      ['closed port', good, `${manager.address}:7999`, 'no-connection'],
      ['no such host', good, 'no-such-host.invalid:7377', 'unresolvable'],
    ];
    const before = census(cluster);
    for (const [title, token, at, code] of rows) {
      const outcome = joiner.covey('join', '--token', token, at);
      t.match(outcome.stderr, new RegExp(`code\\s+${code}\\b`), `${title}: ${outcome.stderr}`);
      t.ok(outcome.status !== 0 && outcome.ms < slowMs, `${title}: ${Math.round(outcome.ms)} ms`);
      t.match(joiner.covey('info', '--format', '{{.inCluster}}').stdout, 'false', title);
    }
    t.same(census(cluster), before, 'nothing left on the managers');
    t.equal(joiner.covey('join', '--token', once, address).status, 0, 'a good token joins');
    t.match(joiner.covey('join', '--token', good, address).stderr, /code\s+already-in-cluster/);
    const late = await openTestDaemon(t, { prefix: 'late', port: 7831, namespace: cluster.node(2).namespace });
    t.match(late.covey('join', '--token', once, address).stderr, /code\s+token-used-up/);
    const removed = readIdentity(join(joiner.directory, 'data'));
    cluster.must(1, 'node', 'rm', '--force', '--yes', 'joiner');
    const left = census(cluster);
    const [{ id: nodeId = '' } = {}] = cluster.json<{ id: string; name: string }>(
      1,
      'node',
      'ls',
      '-f',
      'role=manager',
    );
    const worker = readIdentity(cluster.node(2).dataDir);
    await testRefusedCertificates(t, { nodeId, address, worker, removed, slowMs });
    t.same(census(cluster), left, 'nothing changed');
  });

  await t.test('what is no node does not get in by the cluster port', async t => {
    const { address } = cluster.node(1);
    const plain = run(
      ['nsenter', `--net=/run/netns/${cluster.node(2).namespace}`, 'busybox', 'nc', '-w', '2', address, '7377'],
      { input: 'GET / HTTP/1.0\r\n\r\n' },
    );
    t.notMatch(plain.stdout, /200 OK/);
    t.match(cluster.must(1, 'node', 'ls'), /ready/, 'and the manager goes on');
  });

  await t.test('a stopped daemon is told apart from everything else', async t => {
    const outcome = run(['bin/covey', '--socket', '/run/covey-test-none/covey.sock', 'node', 'ls']);
    t.match(outcome.stderr, /code\s+no-daemon/);
    t.equal(outcome.status, 6);
    t.ok(outcome.ms < slowMs, `${outcome.ms} ms`);
  });

  await t.test('wrong usage is exit code 2 and suggests the nearest', async t => {
    for (const [args, suggestion] of [
      [['service', 'creat'], /service create/],
      [['service', 'create', '--replica', '2', 'x'], /--replicas/],
      [['nod', 'ls'], /node/],
    ] as const) {
      const outcome = run(['bin/covey', ...args]);
      t.equal(outcome.status, 2, args.join(' '));
      t.match(outcome.stderr, suggestion, args.join(' '));
    }
  });
});

/** An OCI archive of one layer whose blob does not have the digest that names it. */
function ociArchive(directory: string, layer: Uint8Array): Uint8Array {
  fs.mkdirSync(join(directory, 'blobs/sha256'), { recursive: true });
  const digestOf = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
  const put = (data: Uint8Array, name = digestOf(data)): { digest: string; size: number } => {
    fs.writeFileSync(join(directory, 'blobs/sha256', name), data);
    return { digest: `sha256:${name}`, size: data.length };
  };
  const forged = Buffer.from(layer);
  forged[forged.length - 2_000] = (forged[forged.length - 2_000] ?? 0) ^ 1;
  const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
  const config = put(
    json({
      architecture: 'amd64',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [`sha256:${digestOf(layer)}`] },
    }),
  );
  const manifest = put(
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...put(forged, digestOf(layer)) }],
    }),
  );
  fs.writeFileSync(join(directory, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  fs.writeFileSync(
    join(directory, 'index.json'),
    json({
      schemaVersion: 2,
      manifests: [
        {
          mediaType: 'application/vnd.oci.image.manifest.v1+json',
          ...manifest,
          annotations: { 'org.opencontainers.image.ref.name': 'bad:1' },
        },
      ],
    }),
  );
  run(['tar', '-C', directory, '-cf', `${directory}.tar`, 'oci-layout', 'index.json', 'blobs']);
  return fs.readFileSync(`${directory}.tar`);
}
