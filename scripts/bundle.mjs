// One bundle a program. koffi stays outside (it loads a native library beside itself); everything else is inlined.
//
// The command line is split where it imports late: `covey --help` then reads 140 KB instead of 1 MB, and commander's imports
// of Node's modules are not hoisted to its start (45 ms instead of 70). Its parts lie in dist/chunks.
import { rmSync } from 'node:fs';
import { build } from 'esbuild';

const common = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node26',
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: true,
  external: ['koffi'],
  // Not an import: importing node:module evaluates all that it exports.
  banner: { js: "const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);" },
  legalComments: 'none',
  logLevel: 'warning',
};

rmSync('dist/chunks', { recursive: true, force: true });
await build({
  ...common,
  entryPoints: { covey: 'src/cli/main.ts' },
  outdir: 'dist',
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
});
await build({ ...common, entryPoints: ['src/daemon/main.ts'], outfile: 'dist/coveyd.js' });
// The thread that owns the log of a manager.
await build({ ...common, entryPoints: ['src/raft/storage/wal-worker.ts'], outfile: 'dist/wal-worker.js' });
