import t from 'tap';
import { errorCodes } from '../src/error-codes.js';
import { asCoveyError, CoveyError, codeOf, deepest, fromProblem, messageOf, toProblem } from '../src/errors.js';

const chain = new CoveyError('container-create', 'Cannot start web.3 on node rack7', {
  cause: new CoveyError('subnet-exhausted', 'No free address on network "frontend"', {
    state: '254 of 254 in use',
    hint: 'covey network update',
  }),
});

t.test('the deepest code, state and hint tell most', async t => {
  t.equal(codeOf(chain), 'subnet-exhausted');
  t.equal(deepest(chain, 'state'), '254 of 254 in use');
  t.equal(deepest(chain, 'hint'), 'covey network update');
  t.equal(messageOf(chain), 'Cannot start web.3 on node rack7: No free address on network "frontend"');
});

t.test('an error crosses the wire whole', async t => {
  const back = fromProblem(toProblem(chain));
  t.equal(messageOf(back), messageOf(chain));
  t.equal(codeOf(back), codeOf(chain));
  t.equal(deepest(back, 'hint'), deepest(chain, 'hint'));
});

t.test('a foreign error keeps its text; an aborted one is cancelled', async t => {
  t.match(asCoveyError(new Error('disk on fire')), { code: 'internal', message: 'disk on fire' });
  const controller = new AbortController();
  controller.abort();
  t.match(asCoveyError(controller.signal.reason), { code: 'cancelled' });
});

t.test('every code explains itself in at least one whole sentence', async t => {
  for (const [code, text] of Object.entries(errorCodes)) {
    t.match(code, /^[a-z]+(-[a-z]+)*$/);
    t.match(text, /^[A-Za-z].{30,}\S$/s, code);
  }
});
