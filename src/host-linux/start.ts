/**
 * The file that Node is given to start the command line (dist/covey.cjs): compiles the bundle beside it from the code that V8 made
 * of it when it was built, and runs it. That saves a third of a short command.
 *
 * Keeps true: code is only used for the very text that it was made from: both carry the same mark, and V8 refuses what another
 * version, or other flags, made. Without it the bundle is compiled as usual.
 *
 * Not here: making that code (scripts/code-cache.mjs), the command line (cli/main.ts).
 */
const { readFileSync } = process.getBuiltinModule('node:fs');
const { Script } = process.getBuiltinModule('node:vm');

function start(folder: string, load: typeof require): void {
  const filename = `${folder}/covey-cli.js`;
  const source = readFileSync(filename, 'latin1'); // esbuild writes ASCII
  const mark = /^\/\*([0-9a-f]+)\*\//.exec(source)?.[1];
  const cachedData = findCode(`${folder}/covey-cli.${mark}.${process.arch}.code`);
  const script = new Script(source, { filename, ...(cachedData === undefined ? {} : { cachedData }) });
  const begin = script.runInThisContext() as (load: typeof require) => void;
  begin(load);
}

function findCode(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

start(__dirname, require);
