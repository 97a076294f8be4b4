/**
 * The command line as a process against a daemon of plain objects: what people and programs see, word for word.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CoveyError } from '../../src/errors.js';
import type { ImportImageProgress } from '../../src/gen/types.js';
import { asId, type ClusterId, type NodeId, type ServiceId } from '../../src/ids.js';
import { covey, listing, openFakeDaemon } from './fake-daemon.js';
import { service, task } from './objects.js';

const web = service({ replicas: 3, published: 8080 });
const tasks = [
  task({ slot: 1 }),
  task({ slot: 2, state: 'pending', nodeId: '', message: 'no node fits: 3 looked at; 2 have too little memory' }),
  task({ slot: 3, nodeId: 'n3', state: 'preparing', message: 'pulling, 62 %' }),
  task({
    slot: 3,
    nodeId: 'n3',
    state: 'failed',
    error: 'exit code 137: killed for memory at its limit of 256 MiB',
    exitCode: 137,
    createdAtMs: 5,
  }),
];

t.test('a daemon that is not there is told at once, with exit code 6', async t => {
  const { directory } = await openFakeDaemon(t);
  for (const args of [
    ['--socket', '/nowhere/covey.sock', 'node', 'ls'],
    ['--run-dir', directory.replace('covey-cli', 'nowhere'), 'info'],
  ]) {
    const outcome = await covey(args);
    t.match(outcome, {
      code: 6,
      out: '',
      err: /^error: Cannot reach coveyd\n {2}state {2}there is no \/.*\n {2}try .*\n {2}code {3}no-daemon /,
    });
    t.ok(outcome.ms < 10_000, `${Math.round(outcome.ms)} ms`);
  }
  writeFileSync(join(directory, 'file.sock'), '');
  t.match(await covey(['--socket', join(directory, 'file.sock'), 'info']), { code: 6, err: /nothing listens/ });
});

t.test('a daemon that goes away during a command is told', async t => {
  const daemon = await openFakeDaemon(t, {
    control: {
      listNodes: async () => {
        daemon.stop();
        return await new Promise<never>(() => undefined);
      },
    },
  });
  t.match(await daemon.covey(['node', 'ls']), { code: 6, err: /gone away.*no-daemon/s });
});

t.test('an old answer says so: to people beside the table, to programs in each record', async t => {
  const wishes: unknown[] = [];
  const daemon = await openFakeDaemon(t, {
    control: {
      listServices: async (_request, { metadata }) => {
        wishes.push(metadata.get('covey-read')[0]);
        const asOf = { atMs: Date.now() - 34_500, why: 'no leader: 1 of 3 managers answer here, 2 are needed' };
        return { services: [web], running: {}, completed: {}, wanted: { [web.id]: 3 }, asOf };
      },
    },
  });
  const table = await daemon.covey(['service', 'ls']);
  t.match(table, {
    code: 0,
    out: /^SERVICE/,
    err: /^as of 20\S+Z, 3\ds ago; no leader: 1 of 3 managers answer here, 2 are needed\n$/,
  });
  const json = await daemon.covey(['service', 'ls', '--stale', '--format', 'json']);
  t.match(JSON.parse(json.out), { name: 'web', asOf: /^20/, asOfBecause: /no leader/ });
  await daemon.covey(['service', 'inspect', '--consistent', 'web']);
  t.same(wishes, [undefined, 'stale', 'consistent']);
  t.match(await daemon.covey(['service', 'ls', '--stale', '--consistent']), { code: 2, err: /Cannot read both ways/ });
  t.notMatch(
    (await (await openFakeDaemon(t, { control: listing([web], []) })).covey(['service', 'ls', '--format', 'json'])).out,
    'asOf',
  );
});

t.test('the nodes, for people and for programs', async t => {
  const daemon = await openFakeDaemon(t, { control: listing([], []) });
  t.equal(
    (await daemon.covey(['node', 'ls'])).out,
    `NODE     ROLE              STATE  AVAILABILITY  LINK  ADDRESS    CPU    MEMORY  TASKS  AGE
edge-a   worker            ready  draining      lan   10.0.0.13    8  31.2 GiB      2  0s   2 tasks still here
rack1 *  manager (leader)  ready  active        lan   10.0.0.11    8  31.2 GiB     12  0s
rack2    worker            lost   active        lan   10.0.0.12    8  31.2 GiB      0  0s   for 38 s; its tasks move in 22 s
`,
  );
  const [first = ''] = (await daemon.covey(['node', 'ls', '--format', 'json', '-f', 'role=manager'])).out.split('\n');
  t.match(JSON.parse(first), {
    id: 'n1',
    name: 'rack1',
    role: 'manager',
    state: 'ready',
    availability: 'active',
    address: '10.0.0.11',
    leader: true,
  });
  t.equal((await daemon.covey(['node', 'ls', '-q', '--sort', '-name'])).out, 'n2\nn1\nn3\n');
});

t.test('the tasks of a service with their reasons and history', async t => {
  const daemon = await openFakeDaemon(t, { control: listing([web], tasks) });
  t.equal(
    (await daemon.covey(['service', 'ps', 'web'])).out,
    `TASK   NODE   STATE      SINCE  ADDRESS   WHY
web.1  rack1  running    0s     10.1.0.5
web.2  -      pending    0s               no node fits: 3 looked at; 2 have too little memory
web.3  rack3  preparing  0s     10.1.0.7  pulling, 62 %
 \\ .3  rack3  failed     0s     10.1.0.7  exit code 137: killed for memory at its limit of 256 MiB
`,
  );
  const rows = (await daemon.covey(['service', 'ps', '--format', 'json', 'web'])).out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as object);
  t.match(rows[3], {
    name: 'web.3',
    service: 'web',
    slot: 3,
    node: 'rack3',
    state: 'failed',
    desiredState: 'shutdown',
    addresses: ['10.1.0.7'],
    image: 'hello:1',
    error: /137/,
    exitCode: 137,
  });
  t.match(rows[0], { exitCode: null, error: '' });
  t.match(JSON.parse((await daemon.covey(['service', 'ls', '--format', 'json'])).out), {
    name: 'web',
    mode: 'replicated',
    replicas: 3,
    running: 1,
    image: 'hello:1',
    ports: [{ published: 8080, target: 80, protocol: 'tcp', mode: 'ingress' }],
  });
  t.equal((await daemon.covey(['service', 'inspect', '--format', '{{.spec.mode.replicas}}', 'web'])).out, '3\n');
});

t.test('an error of the daemon keeps its state, hint and code, and has its exit code', async t => {
  const daemon = await openFakeDaemon(t, { control: listing([], []) });
  t.same(await daemon.covey(['service', 'ps', 'nosuch']).then(({ code, err }) => ({ code, err })), {
    code: 4,
    err: 'error: Cannot find service "nosuch"\n  try    covey service ls\n  code   not-found   (covey explain not-found)\n',
  });
});

t.test('init says how to go on; join, leave and tokens pass on what they are given', async t => {
  const daemon = await openFakeDaemon(t, {
    local: {
      init: async request => {
        t.match(request, { name: 'rack1', lostAfterMs: 20_000, labels: { a: 'b' }, certificateDays: 30 });
        return {
          clusterId: asId<ClusterId>('k3f9xw000'),
          nodeId: asId<NodeId>('n1'),
          nodeName: 'rack1',
          address: '10.0.0.11:7377',
          workerToken: 'CVTKN-1-a-b',
        };
      },
      joinCluster: async request => {
        t.match(request, { address: '10.0.0.11:7377', token: 'CVTKN-1-a-b' });
        return {
          clusterId: asId<ClusterId>('k3f9xw000'),
          nodeId: asId<NodeId>('n2'),
          nodeName: 'rack2',
          role: 'worker',
        };
      },
      leaveCluster: async ({ force }) => {
        if (!force) throw new CoveyError('last-manager', 'Cannot leave: this is the only manager');
        return { tasksStopped: 2, undone: ['link covey0 removed'] };
      },
    },
    control: {
      createJoinToken: async request => {
        t.match(request, { role: 'manager', usesMax: 1, expiresMs: 3_600_000 });
        return {
          joinToken: {
            id: 'x',
            meta: { version: 1, createdAtMs: 1, updatedAtMs: 1, owner: '' },
            role: 'manager',
            secretHash: new Uint8Array(1),
            expiresAtMs: 0,
            usesMax: 1,
            uses: 0,
            labels: {},
          } as never,
          token: 'CVTKN-1-a-c',
          address: '10.0.0.11:7377',
        };
      },
    },
  });
  const made = await daemon.covey([
    'init',
    '--name',
    'rack1',
    '--lost-after',
    '20s',
    '-l',
    'a=b',
    '--cert-expiry',
    '30d',
  ]);
  t.equal(
    made.out,
    `Cluster k3f9xw created on rack1 (manager, 10.0.0.11:7377).

  Add a worker:   covey join --token CVTKN-1-a-b 10.0.0.11:7377
  Look around:    covey info · covey doctor · covey stack deploy -c stack.yaml demo
`,
  );
  t.match(await daemon.covey(['join', '--token', '-', '10.0.0.11'], { input: 'CVTKN-1-a-b\n' }), {
    code: 0,
    out: 'rack2 is a worker of cluster k3f9xw.\n',
  });
  t.match(await daemon.covey(['token', 'manager', '-q', '--uses', '1', '--expires', '1h']), {
    code: 0,
    out: 'CVTKN-1-a-c\n',
  });
  t.match(await daemon.covey(['leave']), { code: 5, err: /last-manager/ });
  t.match(await daemon.covey(['leave', '--yes']), {
    code: 0,
    out: /2 tasks stopped\.\n {2}undone {2}link covey0 removed/,
  });
});

t.test('doctor shows findings, and fails when one does', async t => {
  const daemon = await openFakeDaemon(t, {
    local: {
      doctor: async ({ changes }) => ({
        findings: changes
          ? []
          : [
              { level: 'ok', code: 'no-crun', message: 'crun works', hint: '' },
              { level: 'fail', code: 'disk-low', message: 'little space', hint: 'make room' },
            ],
        changes: changes ? ['net.ipv4.conf.covey0.forwarding: 0 -> 1'] : [],
      }),
    },
  });
  t.match(await daemon.covey(['doctor']), { code: 1, out: 'ok      crun works\nfail    little space  (make room)\n' });
  t.match(await daemon.covey(['doctor', '--changes']), { code: 0, out: 'net.ipv4.conf.covey0.forwarding: 0 -> 1\n' });
  t.match(await daemon.covey(['info']), {
    code: 0,
    out: /^cluster {4}k3f9xw.*2 nodes · 1 service · 3 tasks\nnode {7}rack1 · manager \(leader\)/,
  });
  t.match(await daemon.covey(['version']), { code: 0, out: /^covey {3}0\.\d+\.\d+\ncoveyd {2}0\.1\.0\n$/ });
});

t.test('an archive is handed over byte by byte', async t => {
  const sent: number[] = [];
  const daemon = await openFakeDaemon(t, {
    local: {
      importImage: async function* (requests): AsyncGenerator<ImportImageProgress> {
        let bytes = 0;
        for await (const { body } of requests) {
          if (body.kind === 'start')
            t.match(body, { name: 'hello:1', changes: ['CMD ["/bin/sh"]'], source: /image\.tar$/ });
          else {
            bytes += body.data.length;
            sent.push(body.data.length);
          }
          yield { step: 'reading', bytes, images: [] };
        }
        if (bytes !== 1_000_000) throw new CoveyError('image-archive', `Cannot read ${bytes} bytes`);
        yield {
          step: 'done',
          bytes,
          images: [
            {
              names: ['hello:1'],
              digest: 'sha256:00',
              sizeBytes: bytes,
              createdAtMs: 0,
              architecture: 'amd64',
              os: 'linux',
              layers: [],
              origins: [],
              uses: 0,
            },
          ],
        };
      },
    },
  });
  const file = join(daemon.directory, 'image.tar');
  writeFileSync(file, new Uint8Array(1_000_000));
  t.match(await daemon.covey(['image', 'import', '-c', 'CMD ["/bin/sh"]', file, 'hello:1']), {
    code: 0,
    out: 'hello:1  sha256:00  976.6 KiB\n',
  });
  t.ok(sent.length > 2, 'in pieces');
  writeFileSync(file, new Uint8Array(10));
  t.match(await daemon.covey(['image', 'import', '-c', 'CMD ["/bin/sh"]', file, 'hello:1']), {
    code: 1,
    err: /image-archive/,
  });
  t.match(await daemon.covey(['image', 'import', '/no/such/file']), { code: 4, err: /no such file/ });
});

t.test('completion names what the cluster has, and is silent without a daemon', async t => {
  const daemon = await openFakeDaemon(t, {
    control: listing([web, service({ name: 'mailer', id: asId<ServiceId>('m') })], tasks),
  });
  t.equal((await daemon.covey(['__complete', '--', 'service', 'ps', 'w'])).out, 'web\n');
  t.match(await covey(['--socket', '/nowhere', '__complete', '--', 'service', 'ps', '']), {
    code: 0,
    out: '',
    err: '',
  });
});

t.test('a code is explained, an unknown one suggests the nearest', async t => {
  t.match(await covey(['explain', 'no-daemon']), { code: 0, out: /No coveyd answers on the socket/ });
  t.match(await covey(['explain', 'no-demon']), { code: 4, err: /covey explain no-daemon/ });
  t.match(await covey(['service', 'creat']), {
    code: 2,
    err: 'error: Cannot run "covey service creat": no such command\n  try    covey service create\n  code   unknown-command   (covey explain unknown-command)\n',
  });
  t.match(await covey(['--help']), { code: 0, out: /covey help all/, err: '' });
});
