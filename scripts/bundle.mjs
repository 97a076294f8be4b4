// One bundle a program. koffi stays outside (it loads a native library beside itself); everything else is inlined.
//
// The command line is one function in one script (dist/covey-cli.js), which dist/covey.cjs compiles from V8's own code of it
// (scripts/code-cache.mjs). What it imports late is in it too, and is evaluated late.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';
import { writeCodeCache } from './code-cache.mjs';

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

// Without a source map: positions would be off by the mark, and a map is read before the program that needs none.
const script = { ...common, format: 'cjs', banner: {}, sourcemap: false, supported: { 'dynamic-import': false } };
await build({ ...script, entryPoints: ['src/host-linux/start.ts'], outfile: 'dist/covey.cjs' });
const { outputFiles } = await build({
  ...script,
  entryPoints: ['src/cli/main.ts'],
  write: false,
  plugins: [late(), parsedJson()],
});
const [{ text }] = outputFiles;
const mark = createHash('sha256').update(text).digest('hex').slice(0, 16);
const code = `covey-cli.${mark}.${process.arch}.code`;
// Renamed into place: a command that starts meanwhile finds the old one or the new one.
writeFileSync('dist/covey-cli.js.new', `/*${mark}*/(function(require){${text}\n})`);
renameSync('dist/covey-cli.js.new', 'dist/covey-cli.js');
await writeCodeCache(`dist/${code}`);
for (const name of readdirSync('dist')) if (name.endsWith('.code') && name !== code) rmSync(`dist/${name}`);

await build({ ...common, entryPoints: ['src/daemon/main.ts'], outfile: 'dist/coveyd.js', plugins: [ascii()] });
// The thread that owns the log of a manager.
await build({ ...common, entryPoints: ['src/raft/storage/wal-worker.ts'], outfile: 'dist/wal-worker.js' });

for (const name of ['covey.cjs', 'covey-cli.js', 'coveyd.js', 'wal-worker.js'])
  if (/[^\0-\x7f]/.test(readFileSync(`dist/${name}`, 'utf8')))
    throw new Error(`dist/${name}: a regular expression holds what is not ASCII; write it as \\u and four digits`);

/**
 * Functions of Node that few commands call, by module: it comes with the first call, whoever imports it. node:crypto alone takes 4 ms
 * of 20. A name that is missing here is an error of the build.
 */
function late() {
  const functions = {
    crypto: ['createCipheriv', 'createDecipheriv', 'createHash', 'randomBytes', 'scryptSync'],
    child_process: ['spawn'],
  };
  const render = module => {
    const calls = functions[module].map(
      name => `export const ${name} = (...args) => process.getBuiltinModule('${module}').${name}(...args);`,
    );
    return `${calls.join('\n')}\nexport default { ${functions[module].join(', ')} };`;
  };
  const filter = new RegExp(`^(?:node:)?(?:${Object.keys(functions).join('|')})$`);
  return {
    name: 'late',
    setup: ({ onResolve, onLoad }) => {
      onResolve({ filter }, ({ path }) => ({ path: path.replace(/^node:/, ''), namespace: 'late' }));
      onLoad({ filter: /./, namespace: 'late' }, ({ path }) => ({ contents: render(path) }));
    },
  };
}

/** esbuild escapes what is not ASCII, but not in regular expressions. One such character, and V8 keeps all of a text in two bytes. */
function ascii() {
  return {
    name: 'ascii',
    setup: ({ onLoad }) => {
      onLoad({ filter: /\/node_modules\/systeminformation\/.*\.js$/ }, ({ path }) => ({
        contents: readFileSync(path, 'utf8').replace(
          /[^\0-\x7f]/g,
          unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
        ),
      }));
    },
  };
}

/** A large literal is slower to make than the same text is to parse. */
function parsedJson() {
  return {
    name: 'parsed-json',
    setup: ({ onLoad }) => {
      onLoad({ filter: /\/src\/gen\/.*\.json$/ }, ({ path }) => ({
        contents: `export default JSON.parse(${JSON.stringify(readFileSync(path, 'utf8').trim())});`,
      }));
    },
  };
}
