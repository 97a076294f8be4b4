import { execFileSync, spawn } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import * as net from 'node:net';
import grpc from '@grpc/grpc-js';
import t from 'tap';
import { type LocalServerOptions, openLocalServer } from '../../../src/daemon/rpc/local-server.js';
import { CoveyError, codeOf } from '../../../src/errors.js';
import type { CallContext } from '../../../src/grpc.js';
import { makeCalls } from '../../../src/grpc.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { anySignal, silent, wire } from '../node-fixtures.js';
import { temporaryDirectory } from '../node-rig.js';

const none = new Uint8Array(0);
const noCertificate = { certificate: none, rootCertificate: none, intermediates: [], roots: [] };
const skip = process.getuid?.() === 0 ? false : 'needs root: sockets of other users';

function localOptions(path: string, callers: CallContext['caller'][] = []): LocalServerOptions {
  return {
    path,
    files: linuxHost.files,
    kernel: linuxHost.kernel,
    clock: linuxHost.clock,
    random: linuxHost.random,
    log: silent,
    wire,
    services: {
      Ca: {
        join: async (_request, context) => {
          callers.push(context.caller);
          throw new CoveyError('internal', 'reached');
        },
        renew: async () => noCertificate,
        recover: async () => noCertificate,
        leave: async () => ({}),
      },
      Dispatcher: {
        session: async function* () {
          yield* [];
        },
        bulk: async function* () {
          yield* [];
        },
      },
    },
  };
}

t.test('the kernel says who calls, whatever the caller claims', { skip }, async t => {
  const path = `${await temporaryDirectory(t)}/s`;
  const callers: CallContext['caller'][] = [];
  const server = await openLocalServer(localOptions(path, callers));
  t.teardown(() => server[Symbol.asyncDispose]());
  const client = new grpc.Client(`unix:${path}`, grpc.credentials.createInsecure(), {
    'grpc.default_authority': 'covey',
  });
  t.teardown(() => client.close());
  const metadata = new grpc.Metadata();
  metadata.set('covey-uid', '4711');
  const request = wire.type('LeaveRequest').encode({});
  await new Promise<void>(resolve => {
    const join = '/covey.v1.Ca/Join';
    const bytes = wire.type('JoinRequest').encode(emptyJoin());
    client.makeUnaryRequest(join, Buffer.from, Buffer.from, Buffer.from(bytes), metadata, () => resolve());
  });
  t.same(callers, [{ kind: 'uid', uid: 0 }]);
  const calls = makeCalls(client, 'Ca', wire);
  const refused = await calls.leave({}, { signal: anySignal(), timeoutMs: 2_000 }).catch((error: unknown) => error);
  t.equal(codeOf(refused), 'role-refused', 'what is for nodes is not for people');
  t.ok(request.length === 0);
});

t.test('the socket is for root and the group covey', { skip }, async t => {
  const directory = await temporaryDirectory(t);
  await chmod(directory, 0o755);
  const path = `${directory}/s`;
  const server = await openLocalServer(localOptions(path));
  t.teardown(() => server[Symbol.asyncDispose]());
  const stat = statSync(path);
  t.equal(stat.mode & 0o777, 0o660);
  t.equal(stat.uid, 0);
  t.equal(stat.gid, groupId('covey') ?? 0);
  const script = `require('net').connect(${JSON.stringify(path)}).on('connect',()=>process.exit(0)).on('error',e=>{console.log(e.code);process.exit(1)})`;
  const stranger = spawn('setpriv', [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    process.execPath,
    '-e',
    script,
  ]);
  let said = '';
  stranger.stdout.on('data', data => {
    said += String(data);
  });
  await new Promise(resolve => stranger.once('close', resolve));
  t.equal(said.trim(), 'EACCES');
});

t.test('a stale socket is replaced, a live one and other files are not', { skip }, async t => {
  const directory = await temporaryDirectory(t);
  const path = `${directory}/s`;
  const script = `const s=require('net').createServer().listen(${JSON.stringify(path)},()=>process.kill(process.pid,'SIGKILL'))`;
  await new Promise(resolve => spawn(process.execPath, ['-e', script]).once('close', resolve));
  t.ok(statSync(path).isSocket(), 'left by a daemon that was killed');
  const first = await openLocalServer(localOptions(path));
  t.ok(await answers(path), 'replaced');
  await t.rejects(openLocalServer(localOptions(path)), { code: 'daemon-running' });
  t.ok(await answers(path), 'still there');
  await first[Symbol.asyncDispose]();
  t.throws(() => statSync(path), { code: 'ENOENT' }, 'removed at the end');
  writeFileSync(path, 'precious');
  await t.rejects(openLocalServer(localOptions(path)), { code: 'bad-config' });
  await t.rejects(openLocalServer(localOptions(`${directory}/${'x'.repeat(100)}`)), { code: 'bad-config' });
});

function answers(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = net.connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

function groupId(name: string): number | undefined {
  try {
    return Number(execFileSync('getent', ['group', name], { encoding: 'utf8' }).split(':')[2]);
  } catch {
    // No such group: the socket is root's alone.
    return undefined;
  }
}

function emptyJoin() {
  return {
    secret: '',
    certificateRequest: new Uint8Array(0),
    name: '',
    labels: {},
    description: {
      hostname: '',
      os: '',
      architecture: '',
      kernel: '',
      cpuNanos: 0,
      memoryBytes: 0,
      addresses: [],
      dataAddresses: [],
      dataPort: 0,
      runtime: '',
      cgroup: '',
      version: '',
      labels: {},
      images: [],
      volumes: [],
      routes: [],
      userns: true,
      privileged: false,
    },
    requestId: '',
    protocolMin: 1,
    protocolMax: 1,
  };
}
