/**
 * The table of bugs: complete, and each row names tests that exist.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const folder = join(dirname(fileURLToPath(import.meta.url)), '../../../test/raft');

interface Row {
  readonly id: string;
  readonly files: readonly string[];
}

function readTable(): Row[] {
  return readFileSync(join(folder, 'bugs.md'), 'utf8')
    .split('\n')
    .flatMap(line => {
      const cells = line.split('|').map(cell => cell.trim());
      const id = cells[1] ?? '';
      return /^B\d+$/.test(id)
        ? [{ id, files: [...(cells[4] ?? '').matchAll(/`([^`]+)`/g)].map(match => match[1]!) }]
        : [];
    });
}

t.test('the table has all 48 bugs, in order, each with a test', async t => {
  const rows = readTable();
  t.same(
    rows.map(({ id }) => id),
    Array.from({ length: 48 }, (_, at) => `B${at + 1}`),
  );
  for (const { id, files } of rows) t.ok(files.length > 0, `${id} has a test`);
});

t.test('each test named carries its bug’s number in a title', async t => {
  for (const { id, files } of readTable()) {
    for (const file of files) {
      const path = join(folder, file);
      if (!t.ok(existsSync(path), `${id}: ${file} exists`)) continue;
      if (file.endsWith('.txt')) continue;
      const titled = new RegExp(`test\\(\\s*['"\`]${id}: `);
      t.ok(titled.test(readFileSync(path, 'utf8')), `${id}: ${file} has a title that begins with it`);
    }
  }
});
