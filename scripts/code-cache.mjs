// Runs one command of the built command line against a server that answers it, and keeps what V8 compiled on the way: that is
// what most commands need. Called by bundle.mjs; started as a program it is the process that runs the command.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';

const self = fileURLToPath(import.meta.url);
const dist = join(dirname(self), '../dist');

export async function writeCodeCache(path) {
  const { default: grpc } = await import('@grpc/grpc-js');
  const { addService } = await import(join(dist, 'src/grpc.js'));
  const { openWire } = await import(join(dist, 'src/wire.js'));
  const folder = mkdtempSync(join(tmpdir(), 'covey-code-'));
  const server = new grpc.Server();
  const none = async () => ({});
  addService(server, 'Control', {
    wire: openWire(),
    findCaller: () => ({ kind: 'uid', uid: 0 }),
    handlers: new Proxy(
      {
        exec: async function* () {
          const data = { kind: 'data', stream: 'stdout', data: Buffer.from('\n'), eof: false, atMs: 0 };
          yield { body: data };
          yield { body: { kind: 'end', exitCode: 0 } };
        },
      },
      { get: (handlers, name) => handlers[name] ?? none },
    ),
  });
  const socket = join(folder, 's');
  await new Promise((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), error =>
      error ? reject(error) : resolve(),
    );
  });
  const child = spawn(process.execPath, [self, path, 'exec', 'web.1', 'true'], {
    env: { PATH: process.env.PATH, COVEY_SOCKET: socket },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const code = await new Promise(resolve => child.once('exit', resolve));
  server.forceShutdown();
  rmSync(folder, { recursive: true, force: true });
  if (code !== 0) throw new Error(`the command that the code of the command line is made with ended with ${code}`);
}

if (process.argv[1] === self) {
  const [, , path] = process.argv;
  process.argv.splice(2, 1);
  const filename = join(dist, 'covey-cli.js');
  const script = new Script(readFileSync(filename, 'latin1'), { filename });
  process.on('exit', () => writeFileSync(path, script.createCachedData()));
  script.runInThisContext()(createRequire(filename));
}
