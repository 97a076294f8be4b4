/**
 * Builds the daemon of the covey after this one: the whole program of this tree with other versions (next-version.ts), in a
 * folder of its own with the shape of an installation.
 *
 * Not here: what is tried with it (versions.real.test.ts).
 */
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import type { Test } from 'tap';

/** Its coveyd, in a folder that goes with the test. */
export async function buildNextDaemon(t: Test): Promise<string> {
  const folder = fs.mkdtempSync('/tmp/covey-next-');
  t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
  fs.mkdirSync(join(folder, 'bin'));
  const [present, next] = [resolve('src/version.ts'), resolve('test/cluster/next-version.ts')];
  await build({
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    external: ['koffi'],
    banner: { js: "const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);" },
    logLevel: 'silent',
    entryPoints: { coveyd: 'src/daemon/main.ts', 'wal-worker': 'src/raft/storage/wal-worker.ts' },
    outdir: join(folder, 'dist'),
    plugins: [
      {
        name: 'next version',
        setup: ({ onResolve }) =>
          onResolve({ filter: /\/version\.js$/ }, ({ path, resolveDir, importer }) =>
            importer !== next && resolve(resolveDir, path.replace(/js$/, 'ts')) === present
              ? { path: next }
              : undefined,
          ),
      },
    ],
  });
  fs.copyFileSync('bin/coveyd', join(folder, 'bin/coveyd'));
  fs.symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  return join(folder, 'bin/coveyd');
}
