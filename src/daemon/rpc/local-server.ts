/**
 * The unix socket for people on this machine. The kernel says who connects (SO_PEERCRED); that uid is the principal of every
 * change. Root and the members of the group covey may open it, nobody else: owner root, group covey, mode 0660.
 *
 * The socket is bound under a temporary name, given its owner and mode, then renamed into place: there is no moment at which
 * a stranger could connect, and a stale socket of a daemon that was killed is replaced in one step. A socket on which
 * somebody answers is left alone.
 *
 * Not here: what is served (Local: daemon/, Control: control.ts).
 */
import * as net from 'node:net';
import grpc from '@grpc/grpc-js';
import { CoveyError, errnoOf } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import { addService, type Caller, type Handlers, mapHandlers } from '../../grpc.js';
import { promptCall } from '../../grpc-prompt.js';
import type { Clock, Files, Kernel, Random } from '../../host.js';
import type { Logger } from '../../telemetry.js';
import type { Wire } from '../../wire.js';
import { messageMaxBytes } from './client.js';
import { closeServer } from './cluster-server.js';
import { type RolesByPath, refusalOf, rolesOf } from './roles.js';

export interface LocalServerOptions {
  readonly path: string;
  readonly files: Files;
  readonly kernel: Pick<Kernel, 'peerCredentials'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly wire: Wire;
  readonly services: { readonly [Name in keyof Services]?: Handlers<Services[Name]> };
}

/** sockaddr_un, with the final zero. */
const pathMaxBytes = 107;
const socketMode = 0o660;
const closeGraceMs = 1_000;

export async function openLocalServer(options: LocalServerOptions): Promise<AsyncDisposable> {
  const names = Object.keys(options.services) as (keyof Services)[];
  const rows = rolesOf(names);
  await checkPath(options);
  // One for each user: who calls is known from the connection, and no call has to be told. Few may open the socket.
  const users = new Map<number, User>();
  const listener = net.createServer(socket => {
    const caller = findPeer(socket, options);
    if (caller === undefined) return void socket.destroy();
    // The peer may vanish at any time; its calls end as cancelled.
    socket.on('error', () => undefined);
    let user = users.get(caller.uid);
    if (user === undefined) {
      user = serverFor(caller.uid, { options, names, rows });
      users.set(caller.uid, user);
    }
    user.injector.injectConnection(socket);
  });
  const inode = await listen(listener, options);
  return {
    [Symbol.asyncDispose]: async () => {
      listener.close();
      await removeSocket(options, inode);
      const limits = { clock: options.clock, graceMs: closeGraceMs };
      await Promise.all([...users.values()].map(({ server }) => closeServer(server, limits)));
    },
  };
}

interface User {
  readonly server: grpc.Server;
  readonly injector: grpc.ConnectionInjector;
}

function serverFor(
  uid: number,
  serving: {
    readonly options: LocalServerOptions;
    readonly names: readonly (keyof Services)[];
    readonly rows: RolesByPath;
  },
): User {
  const { options, names, rows } = serving;
  const server = new grpc.Server({
    'grpc.max_receive_message_length': messageMaxBytes,
    interceptors: [(method, call) => promptCall(method, call)],
  });
  const caller: Caller = { kind: 'uid', uid };
  for (const name of names) addHandlers(server, name, { options, caller, rows });
  return { server, injector: server.createConnectionInjector(grpc.ServerCredentials.createInsecure()) };
}

function addHandlers<Name extends keyof Services>(
  server: grpc.Server,
  name: Name,
  {
    options: { wire, services },
    caller,
    rows,
  }: { readonly options: LocalServerOptions; readonly caller: Caller; readonly rows: RolesByPath },
): void {
  const handlers = services[name];
  if (handlers === undefined) return;
  const allowed = mapHandlers({ name, wire, handlers }, ({ handler, path, getsStream }) => {
    const refusal = refusalOf(caller, path, rows);
    if (refusal === undefined) return handler;
    return getsStream ? () => refusedStream(refusal) : () => Promise.reject(refusal);
  });
  addService(server, name, { wire, handlers: allowed, findCaller: () => caller });
}

async function* refusedStream(refusal: CoveyError): AsyncGenerator<never> {
  yield* [];
  throw refusal;
}

function findPeer(socket: net.Socket, options: LocalServerOptions): { readonly uid: number } | undefined {
  const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } | null })._handle ?? { fd: -1 };
  try {
    return options.kernel.peerCredentials(fd);
  } catch (error) {
    options.log.warn('connection on the socket refused: its peer is unknown', { error });
    return undefined;
  }
}

/** Nothing answers at the path, and what lies there (if anything) is a socket. */
async function checkPath(options: LocalServerOptions): Promise<void> {
  const { path, files } = options;
  const sizeBytes = Buffer.byteLength(temporaryPath(path, 'xxxxxxxx'));
  if (sizeBytes > pathMaxBytes) {
    throw new CoveyError('bad-config', `Cannot listen on "${path}"`, {
      state: `with the temporary name it has ${sizeBytes} bytes; sockets have at most ${pathMaxBytes}`,
      hint: 'choose a shorter path with --socket',
    });
  }
  const stat = await files.findStat(path);
  if (stat === undefined) return;
  if (stat.kind !== 'other') {
    throw new CoveyError('bad-config', `Cannot listen on "${path}"`, {
      state: `a ${stat.kind} is there, not a socket`,
    });
  }
  if (await isAnswered(path)) {
    throw new CoveyError('daemon-running', `Cannot listen on "${path}"`, { state: 'a daemon answers there' });
  }
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const probe = net.connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    // ECONNREFUSED: its daemon is gone. EAGAIN: its queue is full, so it has one.
    probe.once('error', error => resolve(errnoOf(error) === 'EAGAIN'));
  });
}

function temporaryPath(path: string, mark: string): string {
  return `${path}.${mark}`;
}

/** The inode of the socket, so that closing removes ours and not that of a successor. */
async function listen(listener: net.Server, options: LocalServerOptions): Promise<number> {
  const { files, path } = options;
  const temporary = temporaryPath(path, Buffer.from(options.random.bytes(4)).toString('hex'));
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(temporary, () => {
      listener.removeListener('error', reject);
      resolve();
    });
  });
  await files.changeOwner(temporary, 0, await groupOf(files));
  await files.changeMode(temporary, socketMode);
  await files.rename(temporary, path);
  const stat = await files.findStat(path);
  return stat?.inode ?? -1;
}

/** The gid of the group covey; without that group, root's. */
async function groupOf(files: Files): Promise<number> {
  const groups = (await files.findText('/etc/group')) ?? '';
  const line = groups.split('\n').find(text => text.startsWith('covey:'));
  return Number(line?.split(':')[2] ?? 0);
}

async function removeSocket(options: LocalServerOptions, inode: number): Promise<void> {
  const stat = await options.files.findStat(options.path);
  if (stat?.inode === inode) await options.files.remove(options.path);
}
