// One bundle a program. koffi stays outside (it loads a native library beside itself); everything else is inlined.
import { build } from 'esbuild';

const banner =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

for (const [name, entry] of [
  ['covey', 'src/cli/main.ts'],
  ['coveyd', 'src/daemon/main.ts'],
]) {
  await build({
    entryPoints: [entry],
    outfile: `dist/${name}.js`,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    minifySyntax: true,
    minifyWhitespace: true,
    sourcemap: true,
    external: ['koffi'],
    banner: { js: banner },
    legalComments: 'none',
    logLevel: 'warning',
  });
}
