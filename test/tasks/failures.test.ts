/**
 * The table of failures: its rows are in order, and each names tests that exist and carry its number.
 */
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';

const count = 15;

interface Row {
  readonly id: string;
  readonly files: readonly string[];
  readonly tortures: readonly string[];
}

const rows: readonly Row[] = readFileSync('test/tasks/failures.md', 'utf8')
  .split('\n')
  .flatMap(line => {
    const cells = line.split('|').map(cell => cell.trim());
    const [, id = '', , , where = ''] = cells;
    if (!/^F\d+$/.test(id)) return [];
    const named = [...where.matchAll(/(torture )?`([^`]+)`/g)];
    return [
      {
        id,
        files: named.filter(match => match[1] === undefined).map(match => match[2] ?? ''),
        tortures: named.filter(match => match[1] !== undefined).map(match => match[2] ?? ''),
      },
    ];
  });
const numberOf = (id: string): number => Number(id.slice(1));

t.test('the rows are in order, and none stands twice', async t => {
  const ids = rows.map(({ id }) => numberOf(id));
  t.strictSame(
    ids,
    [...new Set(ids)].sort((a, b) => a - b),
  );
  t.ok(ids.every(id => id >= 1 && id <= count));
  for (const { id, files } of rows) t.ok(files.length > 0, `${id} has a test`);
});

t.test('each test named carries the number of its failure in a title', async t => {
  const tortures = readFileSync('scripts/torture/main.mjs', 'utf8');
  for (const { id, files, tortures: named } of rows) {
    for (const file of files) {
      if (!t.ok(existsSync(`test/${file}`), `${id}: ${file} exists`)) continue;
      const titled = new RegExp(`test\\(\\s*['"\`]${id}: `);
      t.ok(titled.test(readFileSync(`test/${file}`, 'utf8')), `${id}: ${file} has a title that begins with it`);
    }
    for (const name of named) t.match(tortures, new RegExp(`^  '?${name}'?: \\{`, 'm'), `${id}: torture ${name}`);
  }
});

const missing = Array.from({ length: count }, (_, at) => `F${at + 1}`).filter(id => rows.every(row => row.id !== id));
t.test(
  `all fifteen have a row${missing.length === 0 ? '' : `: missing ${missing.join(', ')}`}`,
  { skip: missing.length > 0 },
  async t => {
    t.equal(rows.length, count);
  },
);
