/** Debian's docker-registry on a free port of this machine, with a folder of its own; ended with the test. */
import { execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';

const registryPath = '/usr/bin/docker-registry';
export const skopeoPath = '/usr/bin/skopeo';

export const hasRegistry = [registryPath, skopeoPath].every(path => fs.existsSync(path));

export interface DebianRegistry extends AsyncDisposable {
  readonly host: string;
  /** Copies an OCI archive into it. */
  readonly push: (archive: string, name: string) => void;
}

export async function openDebianRegistry(scratch: string): Promise<DebianRegistry> {
  const port = await freePort();
  const config = join(scratch, 'registry.yml');
  const folder = join(scratch, 'registry');
  fs.writeFileSync(
    config,
    `version: 0.1\nlog: { level: error, accesslog: { disabled: true } }\nstorage: { filesystem: { rootdirectory: ${folder} } }\nhttp: { addr: '127.0.0.1:${port}' }\n`,
  );
  const child = spawn(registryPath, ['serve', config], { stdio: 'ignore' });
  const ended = new Promise(resolve => child.once('exit', resolve));
  await untilListening(port, () => child.exitCode !== null);
  return {
    host: `127.0.0.1:${port}`,
    push: (archive, name) =>
      void execFileSync(
        skopeoPath,
        [
          'copy',
          '--quiet',
          '--insecure-policy',
          '--dest-tls-verify=false',
          `oci-archive:${archive}`,
          `docker://127.0.0.1:${port}/${name}`,
        ],
        { stdio: 'pipe' },
      ),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function freePort(): Promise<number> {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

async function untilListening(port: number, hasEnded: () => boolean): Promise<void> {
  for (;;) {
    if (hasEnded()) throw new Error('docker-registry ended');
    const isOpen = await new Promise(resolve => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('close', () => undefined);
      socket.unref();
    });
    if (isOpen === true) return;
    await new Promise(resolve => setImmediate(resolve));
  }
}
