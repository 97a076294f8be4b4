import t from 'tap';
import { renderFrame } from '../../../src/cli/output/live.js';
import { renderTable } from '../../../src/cli/output/table.js';
import { cutText, padText, visibleText, widthOf, wrapWords } from '../../../src/cli/output/text.js';
import {
  renderAge,
  renderBytes,
  renderBytesOf,
  renderCpus,
  renderDuration,
  renderTime,
} from '../../../src/cli/output/values.js';

t.test('what others wrote cannot command the terminal', async t => {
  t.equal(visibleText('a\u001b[2Jb\u0007c\u009b1m'), 'a?[2Jb?c?1m');
  t.equal(visibleText('two\r\nlines\tand'), 'two lines and');
});

t.test('texts are as wide as the terminal shows them', async t => {
  t.equal(widthOf('abc'), 3);
  t.equal(widthOf('é…'), 2);
  t.equal(widthOf('e\u0301'), 1);
  t.equal(widthOf('日本'), 4);
  t.equal(cutText('日本語', 5), '日本…');
  t.equal(cutText('abcdef', 4), 'abc…');
  t.equal(cutText('abcd', 4), 'abcd');
  t.equal(padText('日', 4, 'left'), '日  ');
  t.equal(padText('5', 3, 'right'), '  5');
  t.same(wrapWords('one two three', 7), ['one two', 'three']);
  t.same(wrapWords('one', 1), ['one']);
});

t.test('sizes are binary with one decimal, ages have one unit', async t => {
  const sizes: readonly (readonly [number, string])[] = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1_048_575, '1.0 MiB'],
    [1.5 * 1024 ** 3, '1.5 GiB'],
    [5 * 1024 ** 6, '5120.0 PiB'],
  ];
  for (const [bytes, expected] of sizes) t.equal(renderBytes(bytes), expected, String(bytes));
  t.equal(renderBytesOf(41 * 1024 ** 2, 66.3 * 1024 ** 2), '41.0 of 66.3 MiB');
  t.equal(renderBytesOf(5, 100), '5 of 100 B');
  const ages: readonly (readonly [number, string])[] = [
    [-5, '0s'],
    [999, '0s'],
    [59_999, '59s'],
    [120_000, '2m'],
    [3_600_000, '1h'],
    [4 * 86_400_000, '4d'],
    [70 * 86_400_000, '10w'],
    [800 * 86_400_000, '2y'],
  ];
  for (const [ms, expected] of ages) t.equal(renderAge(ms), expected, String(ms));
  const durations: readonly (readonly [number, string])[] = [
    [42, '42 ms'],
    [4_200, '4.2 s'],
    [65_000, '1 min 5 s'],
    [7_380_000, '2 h 3 min'],
    [90_000_000, '1 d 1 h'],
  ];
  for (const [ms, expected] of durations) t.equal(renderDuration(ms), expected, String(ms));
  t.equal(renderTime(0), '');
  t.equal(renderTime(1_800_000_000_000), '2027-01-15T08:00:00.000Z');
  t.equal(renderCpus(8e9), '8');
  t.equal(renderCpus(5e8), '0.5');
});

t.test('tables cut the widest column that may be cut, and only as far as it may', async t => {
  const columns = [{ header: 'NAME', cutTo: 4 }, { header: 'STATE' }, { header: 'WHY', cutTo: 8 }] as const;
  const rows = [['a-long-name', 'failed', 'exit code 137: killed for memory']];
  const at = (width: number | undefined): readonly string[] => renderTable(columns, rows, { width, colours: false });
  t.same(at(undefined), ['NAME         STATE   WHY', 'a-long-name  failed  exit code 137: killed for memory']);
  t.same(at(40), ['NAME         STATE   WHY', 'a-long-name  failed  exit code 137: kil…']);
  t.same(at(10), ['NAME  STATE   WHY', 'a-l…  failed  exit co…']);
});

t.test('colours do not move columns', async t => {
  const [, line] = renderTable([{ header: 'S' }, { header: 'B' }], [[{ text: 'up', colour: 'green' }, 'x']], {
    width: undefined,
    colours: true,
  });
  t.equal(line, '\u001b[32mup\u001b[0m  x');
});

t.test('a frame is drawn over the one before, and what is left of that is wiped', async t => {
  t.equal(renderFrame(0, ['a', 'b']), '\u001b[2Ka\n\u001b[2Kb\n\u001b[J');
  t.equal(renderFrame(2, ['c']), '\u001b[2A\r\u001b[2Kc\n\u001b[J');
});
