/**
 * The command line as a process against a daemon of plain objects: waiting for what was changed, and how it ends.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CoveyError } from '../../src/errors.js';
import type { DeployStackRequest } from '../../src/gen/types.js';
import { listing, openFakeDaemon } from './fake-daemon.js';
import { service, task } from './objects.js';

const web = service({ replicas: 3, published: 8080 });

t.test('create waits until all runs, telling each step once in a pipe', async t => {
  const created = service({ replicas: 2, published: 8080 });
  const daemon = await openFakeDaemon(t, {
    control: {
      ...listing([created], []),
      createService: async request => {
        t.match(request.spec, { name: 'web', mode: { replicas: 2 }, ports: [{ published: 8080, target: 80 }] });
        return created;
      },
      watch: async function* () {
        yield { event: { kind: 'service', ...created } };
        yield { event: { kind: 'task', ...task({ id: 'one', slot: 1, state: 'preparing' }) } };
        yield {
          event: {
            kind: 'task',
            ...task({ id: 'two', slot: 2, nodeId: '', state: 'pending', message: 'no node fits' }),
          },
        };
        yield { event: { kind: 'synced' } };
        yield { event: { kind: 'task', ...task({ id: 'one', slot: 1 }) } };
        yield { event: { kind: 'task', ...task({ id: 'two', slot: 2 }) } };
      },
    },
  });
  const outcome = await daemon.covey([
    'service',
    'create',
    '--name',
    'web',
    '--replicas',
    '2',
    '-p',
    '8080:80',
    'hello:1',
  ]);
  t.equal(outcome.code, 0, outcome.err);
  t.match(outcome.out, /^web\.2 {2}- {2}pending: no node fits\nweb\.1 {2}- {2}running\n/);
  t.match(outcome.out, /web is running: 2 of 2 after [\d.]+ m?s · http:\/\/10\.0\.0\.11:8080 and every other node\n$/);
  t.notMatch(outcome.out, '\u001b');
  const detached = await daemon.covey([
    'service',
    'create',
    '-d',
    '--name',
    'web',
    '--replicas',
    '2',
    '-p',
    '8080:80',
    'hello:1',
  ]);
  t.match(detached, { code: 0, out: 'service-web\n' });
});

t.test('a wait says when nobody leads, and when it goes on', async t => {
  const wanted = service({ replicas: 1 });
  const why = 'no leader: 1 of 3 managers answer here, 2 are needed';
  const daemon = await openFakeDaemon(t, {
    control: {
      ...listing([wanted], []),
      createService: async () => wanted,
      watch: async function* () {
        yield { event: { kind: 'service', ...wanted } };
        yield { event: { kind: 'synced' } };
        yield { event: { kind: 'asOf', atMs: 5, why } };
        yield { event: { kind: 'asOf', atMs: 0, why: '' } };
        yield { event: { kind: 'task', ...task({ id: 'one', slot: 1 }) } };
      },
    },
  });
  t.match(await daemon.covey(['service', 'create', '--name', 'web', 'hello:1']), {
    code: 0,
    err: `It goes on when a manager leads again (${why}).\nA manager leads again; it goes on.\n`,
  });
});

t.test('what the watch shows of before the change does not count', async t => {
  const before = service({ replicas: 1, version: 5 });
  const after = service({ replicas: 2, version: 6 });
  const daemon = await openFakeDaemon(t, {
    control: {
      ...listing([before], []),
      updateService: async () => {
        daemon.shown.push({ kind: 'service', ...before }, { kind: 'task', ...task({ slot: 1 }) });
        return after;
      },
      watch: async function* () {
        for (const event of [...daemon.shown, { kind: 'synced' } as const]) yield { event };
        yield { event: { kind: 'service', ...after } };
        yield { event: { kind: 'task', ...task({ slot: 2 }) } };
      },
    },
  });
  t.match(await daemon.covey(['service', 'scale', 'web=2']), { code: 0, out: /web is running: 2 of 2/ });
});

t.test(
  'a timeout ends the waiting with exit code 3, an interrupt with 130, and both say that the change goes on',
  async t => {
    const daemon = await openFakeDaemon(t, {
      control: {
        ...listing([web], []),
        createService: async () => {
          daemon.shown.push({ kind: 'service', ...web }, { kind: 'task', ...task({ slot: 1 }) });
          return web;
        },
      },
    });
    const late = await daemon.covey(['service', 'create', '--timeout', '300ms', '--name', 'web', 'hello:1']);
    t.match(late, {
      code: 3,
      err: /Cannot see service "web" as asked within 0.3 s\n {2}state {2}web: 1 of 3 running\n {2}try {4}covey service ps web\n {2}code {3}timeout/,
    });
    const stopped = await daemon.process(['service', 'create', '--name', 'web', 'hello:1'], {
      onOutput: (_, kill) => kill('SIGINT'),
    });
    t.match(stopped, { code: 130, err: 'Stopped waiting; the change goes on. covey service ps web shows it.\n' });
  },
);

t.test('waiting gives up when the same refusal comes twice', async t => {
  const refused = (createdAtMs: number) =>
    task({
      slot: 1,
      state: 'rejected',
      error: 'Cannot find image "nope:1"',
      errorCode: 'image-not-found',
      createdAtMs,
    });
  const one = service({ replicas: 1 });
  const daemon = await openFakeDaemon(t, {
    control: {
      createService: async () => {
        daemon.shown.push(
          { kind: 'service', ...one },
          { kind: 'task', ...refused(1) },
          { kind: 'task', ...refused(2) },
        );
        return one;
      },
    },
  });
  t.match(await daemon.covey(['service', 'create', '--name', 'web', 'nope:1']), {
    code: 4,
    err: /^error: Cannot start web\.1: Cannot find image "nope:1"\n.*code {3}image-not-found/s,
  });
});

t.test('a change that another made first is made again on top of it', async t => {
  let tries = 0;
  const daemon = await openFakeDaemon(t, {
    control: {
      ...listing([web], []),
      updateService: async request => {
        tries += 1;
        if (tries < 3) throw new CoveyError('stale-version', 'Cannot update service "web"');
        t.match(request, { version: 5, spec: { mode: { replicas: 5 } } });
        return web;
      },
    },
  });
  t.match(await daemon.covey(['service', 'scale', '-d', 'web=5']), { code: 0, out: 'service-web\n' });
  t.equal(tries, 3);
});

t.test('a stack is planned, deployed and removed', async t => {
  const shop = service({ name: 'shop_web', replicas: 1, stack: 'shop' });
  const requests: DeployStackRequest[] = [];
  const daemon = await openFakeDaemon(t, {
    control: {
      ...listing([shop], []),
      deployStack: async request => {
        requests.push(request);
        daemon.shown.push({ kind: 'service', ...shop }, { kind: 'task', ...task({ service: shop }) });
        return {
          changes: [{ kind: 'create', object: 'service', name: 'web', details: ['1 replica of hello:1'] }],
          serviceIds: [shop.id],
          mark: '4f2a',
        };
      },
      removeStack: async () => {
        daemon.shown.splice(0);
        return { changes: [{ kind: 'remove', object: 'service', name: 'web', details: [] }], serviceIds: [shop.id] };
      },
    },
  });
  const file = join(daemon.directory, 'stack.yaml');
  writeFileSync(file, 'services:\n  web:\n    image: "hello:$' + '{TAG:-1}"\n    environment: {V: 1.10}\n');
  const plan = await daemon.covey(['stack', 'deploy', '-c', file, 'shop', '--plan']);
  t.equal(
    plan.out,
    `shop: 1 service new\n  + service  web  1 replica of hello:1\nApply with:  covey stack deploy -c ${file} shop --expect 4f2a\n`,
  );
  t.match(plan.err, /^note: .*stack\.yaml:4:22: .*1\.10 without quotes is read as 1\.1/);
  t.match(requests[0], {
    name: 'shop',
    plan: true,
    services: [{ name: 'shop_web', task: { containers: [{ image: 'hello:1' }] } }],
  });
  const deploy = await daemon.covey(['stack', 'deploy', '-c', file, '--prune', 'shop'], { env: { TAG: '2' } });
  t.match(deploy, { code: 0, out: /shop_web\.1 {2}- {2}running\nshop_web is running: 1 of 1/ });
  t.match(requests[1], { plan: false, prune: true, services: [{ task: { containers: [{ image: 'hello:2' }] } }] });
  writeFileSync(file, 'services:\n  web:\n    imagee: x\n');
  t.match(await daemon.covey(['stack', 'deploy', '-c', file, 'shop']), {
    code: 2,
    err: /stack\.yaml:3:5: services\.web\.imagee.*code {3}stack-unknown-key/s,
  });
  t.equal(requests.length, 2, 'a bad file reaches nobody');
  t.match(await daemon.covey(['stack', 'ls']), { out: /^STACK {2}SERVICES {2}RUNNING\nshop {10}1 {3}0 of 1\n/ });
  t.match(await daemon.covey(['stack', 'rm', 'shop']), { code: 2, err: /without being told that it is meant.*--yes/s });
  t.match(await daemon.covey(['stack', 'rm', '--yes', 'shop']), { code: 0, out: /shop is gone\n$/ });
});
