import t from 'tap';
import { nearest } from '../src/nearest.js';

t.test('the nearest word is found by letters changed, added, left out or swapped', async t => {
  const words = ['create', 'inspect', 'update', 'ls', 'logs', 'rm'];
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['creat', 'create'],
    ['craete', 'create'],
    ['CREATE', 'create'],
    ['inspct', 'inspect'],
    ['log', 'logs'],
    ['l', 'ls'],
    ['xyzzy', undefined],
    ['delete', undefined],
    ['', 'ls'],
  ];
  for (const [word, expected] of rows)
    t.equal(nearest(word, word === '' ? ['ls'] : words), word === '' ? undefined : expected, word);
});
