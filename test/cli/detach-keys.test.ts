import t from 'tap';
import { openKeyScanner, parseDetachKeys } from '../../src/cli/detach-keys.js';

t.test('keys are named as Docker names them', async t => {
  t.same([...parseDetachKeys('ctrl-p,ctrl-q')], [16, 17]);
  t.same([...parseDetachKeys('ctrl-],d')], [29, 100]);
  t.same([...parseDetachKeys('')], []);
  for (const text of ['ctrl-', 'ctrl-pp', 'ab', 'ctrl-p,,x'])
    t.throws(() => parseDetachKeys(text), { code: 'bad-argument' }, text);
});

t.test('the sequence detaches, and all else is passed on, however it is cut into pieces', async t => {
  const rows: readonly (readonly [string, readonly string[], string, boolean])[] = [
    ['PQ', ['abc'], 'abc', false],
    ['PQ', ['aPQb'], 'a', true],
    ['PQ', ['aP', 'Qb'], 'a', true],
    ['PQ', ['aP', 'b'], 'aPb', false],
    ['PQ', ['PP', 'Q'], 'P', true],
    ['PPQ', ['PPPQ'], 'P', true],
    ['PQPR', ['PQPQPR'], 'PQ', true],
    ['', ['PQ'], 'PQ', false],
  ];
  for (const [keys, chunks, passed, detached] of rows) {
    const scanner = openKeyScanner(Buffer.from(keys));
    let [text, ended] = ['', false];
    for (const chunk of chunks) {
      const out = ended ? undefined : scanner.scan(Buffer.from(chunk));
      if (out === undefined) ended = true;
      else text += Buffer.from(out).toString();
    }
    t.same([text, ended], [detached ? text : passed, detached], `${keys} in ${chunks.join('|')}`);
  }
});
