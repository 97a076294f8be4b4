import t from 'tap';
import { isId, newId } from '../src/ids.js';

t.test('an id has 25 characters of base36 whatever the random bytes are', async t => {
  for (const byte of [0, 1, 127, 255]) {
    const id = newId(size => new Uint8Array(size).fill(byte));
    t.equal(isId(id), true, id);
  }
});

t.test('other texts are no ids', async t => {
  for (const text of ['', 'A'.repeat(25), 'a'.repeat(24), 'a'.repeat(26), `${'a'.repeat(24)}-`])
    t.equal(isId(text), false, text);
});
