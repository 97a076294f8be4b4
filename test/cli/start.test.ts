/** How the built command line starts: with the code that V8 made of it, and without. Reads what scripts/build made. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';

const names = fs.readdirSync('dist').filter(name => /^covey(\.cjs|-cli\.)/.test(name));
const codeName = names.find(name => name.endsWith('.code')) ?? '';

t.test('the flags of the launcher leave the compiled code usable', async t => {
  const flags = fs.readFileSync('bin/covey', 'utf8').match(/(?<=\s)--(?!disable)[a-z][\w=-]+/g) ?? [];
  t.ok(flags.length > 0, 'found the flags');
  const probe = `
    const source = fs.readFileSync('dist/covey-cli.js', 'latin1');
    const cachedData = fs.readFileSync(process.argv[1]);
    process.stdout.write(String(new vm.Script(source, { cachedData }).cachedDataRejected));`;
  const rejected = (given: readonly string[]): string =>
    execFileSync(process.execPath, [...given, '-e', probe, `dist/${codeName}`], { encoding: 'utf8', env: {} });
  t.equal(rejected(flags), 'false');
  t.equal(rejected([...flags, '--no-maglev']), 'true', 'a flag that chooses a compiler does not');
});

t.test('without the code, and with code that is damaged or of another text, a command works', async t => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'covey-start-'));
  t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
  for (const name of names) if (name !== codeName) fs.copyFileSync(`dist/${name}`, join(folder, name));
  const said = (): string =>
    execFileSync(process.execPath, [join(folder, 'covey.cjs'), 'help', 'exec'], { encoding: 'utf8', env: {} });
  const expected = said();
  t.match(expected, /Run a program in a task/);
  const code = fs.readFileSync(`dist/${codeName}`);
  const rows: readonly (readonly [string, string, Buffer])[] = [
    ['empty', codeName, Buffer.alloc(0)],
    ['cut', codeName, code.subarray(0, code.length >> 1)],
    ['of another V8', codeName, Buffer.concat([Buffer.alloc(64, 7), code.subarray(64)])],
    ['of another text', codeName.replace(/\.[0-9a-f]{16}\./, '.0000000000000000.'), code],
    ['right', codeName, code],
  ];
  for (const [what, name, bytes] of rows) {
    fs.writeFileSync(join(folder, name), bytes);
    t.equal(said(), expected, what);
    fs.rmSync(join(folder, name));
  }
});
