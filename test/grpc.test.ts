import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import grpc from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { CoveyError, codeOf, deepest } from '../src/errors.js';
import type { Services } from '../src/gen/services.js';
import type { BulkFrame, WatchEvent } from '../src/gen/types.js';
import { addService, type Calls, type Handlers, makeCalls, pathsOf } from '../src/grpc.js';
import { openWire } from '../src/wire.js';

const wire = openWire();

async function serve(t: Test, handlers: Partial<Handlers<Services['Control']>>): Promise<Calls<Services['Control']>> {
  const directory = mkdtempSync(join(tmpdir(), 'covey-grpc-'));
  const path = join(directory, 's.sock');
  const missing = async (): Promise<never> => {
    throw new CoveyError('bug', 'Cannot get here');
  };
  const names = pathsOf('Control').map(full => full.split('/')[2] ?? '');
  const all = Object.fromEntries(names.map(name => [`${name.charAt(0).toLowerCase()}${name.slice(1)}`, missing]));
  const server = new grpc.Server();
  addService(server, 'Control', {
    wire,
    handlers: { ...all, ...handlers } as Handlers<Services['Control']>,
    findCaller: () => ({ kind: 'uid', uid: 42 }),
  });
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${path}`, grpc.ServerCredentials.createInsecure(), error =>
      error ? reject(error) : resolve(),
    ),
  );
  const client = new grpc.Client(`unix:${path}`, grpc.credentials.createInsecure());
  t.teardown(() => {
    client.close();
    server.forceShutdown();
    rmSync(directory, { recursive: true });
  });
  return makeCalls(client, 'Control', wire);
}

const { signal } = new AbortController();

t.test('a unary call carries domain values both ways and tells who called', async t => {
  const calls = await serve(t, {
    removeNetwork: async (request, context) => ({
      id: `${request.object} by ${context.caller.kind === 'uid' ? context.caller.uid : '?'}`,
    }),
  });
  t.same(await calls.removeNetwork({ object: 'web' }, { signal }), { id: 'web by 42' });
});

t.test('an error arrives with code, state, hint and cause', async t => {
  const calls = await serve(t, {
    removeNetwork: async () => {
      throw new CoveyError('network-in-use', 'Cannot remove network "ü"', {
        state: '2 services',
        cause: new CoveyError('port-conflict', 'deep', { hint: 'try that' }),
      });
    },
  });
  const error = await calls.removeNetwork({ object: 'x' }, { signal }).catch((caught: unknown) => caught);
  t.match(error, { code: 'network-in-use', message: 'Cannot remove network "ü"', state: '2 services' });
  t.equal(codeOf(error), 'port-conflict');
  t.equal(deepest(error, 'hint'), 'try that');
});

t.test('a chain of causes too long for a trailer still arrives as an error with its code', async t => {
  const calls = await serve(t, {
    removeNetwork: async () => {
      throw new CoveyError('network-in-use', 'x'.repeat(50_000), { cause: new Error('y'.repeat(50_000)) });
    },
  });
  await t.rejects(calls.removeNetwork({ object: 'x' }, { signal }), { code: 'network-in-use' });
});

t.test('a server stream yields all messages and then ends', async t => {
  const calls = await serve(t, {
    watch: async function* () {
      for (let i = 0; i < 2_000; i += 1)
        yield { event: { kind: 'deletion', table: 'task', id: String(i) } } as WatchEvent;
    },
  });
  let count = 0;
  for await (const { event } of calls.watch({ tables: [], service: '', stack: '' }, { signal })) {
    t.equal(event.kind === 'deletion' && event.id === String(count), true);
    count += 1;
  }
  t.equal(count, 2_000);
});

t.test('a caller that leaves a stream cancels the handler', async t => {
  const gone = Promise.withResolvers<void>();
  const calls = await serve(t, {
    watch: async function* (_request, context) {
      context.signal.addEventListener('abort', () => gone.resolve());
      yield { event: { kind: 'synced' } };
      await gone.promise;
    },
  });
  for await (const _event of calls.watch({ tables: [], service: '', stack: '' }, { signal })) break;
  await gone.promise;
  t.pass('cancelled');
});

t.test('both halves of a two-way stream are independent', async t => {
  const calls = await serve(t, {
    exec: async function* (requests) {
      for await (const frame of requests) yield frame;
      yield { body: { kind: 'end', exitCode: 7 } };
    },
  });
  const stream = calls.exec({ signal });
  const data = (text: string): BulkFrame => ({
    body: { kind: 'data', stream: 'stdin', data: Buffer.from(text), eof: false, atMs: 0 },
  });
  await stream.send(data('one'));
  await stream.send(data('two'));
  stream.end();
  const seen: string[] = [];
  for await (const { body } of stream)
    seen.push(
      body.kind === 'data'
        ? Buffer.from(body.data).toString()
        : body.kind === 'end'
          ? String(body.exitCode)
          : body.kind,
    );
  t.same(seen, ['one', 'two', '7']);
});

t.test('a deadline and a signal end a call with their own error', async t => {
  const calls = await serve(t, { getCluster: () => new Promise(() => undefined) });
  await t.rejects(calls.getCluster({}, { signal, timeoutMs: 30 }), { code: 'timeout' });
  const controller = new AbortController();
  const call = calls.getCluster({}, { signal: controller.signal });
  controller.abort(new CoveyError('cancelled', 'Cannot go on: told so'));
  await t.rejects(call, { code: 'cancelled', message: 'Cannot go on: told so' });
});

t.test('nobody at the address is no-connection', async t => {
  const client = new grpc.Client('unix:/nowhere/covey.sock', grpc.credentials.createInsecure());
  t.teardown(() => client.close());
  await t.rejects(makeCalls(client, 'Control', wire).getCluster({}, { signal, timeoutMs: 2_000 }), {
    code: 'no-connection',
  });
});
