import t from 'tap';
import { exitCodeOf, renderError } from '../../../src/cli/output/errors.js';
import { errorCodes } from '../../../src/error-codes.js';
import { CoveyError, type ErrorCode, fromProblem, toProblem } from '../../../src/errors.js';

const plain = { colours: false, columns: 80, isTerminal: false };

t.test('an error has its state, one thing to try, and the deepest code', async t => {
  const cause = new CoveyError('subnet-exhausted', 'No free address on network "frontend"', {
    state: '254 of 254 addresses in use',
    hint: 'covey network create --subnet 10.20.5.0/24 more',
  });
  const error = new CoveyError('internal', 'Cannot start web.3 on node rack7', { cause });
  const expected = `error: Cannot start web.3 on node rack7: No free address on network "frontend"
  state  254 of 254 addresses in use
  try    covey network create --subnet 10.20.5.0/24 more
  code   subnet-exhausted   (covey explain subnet-exhausted)
`;
  t.equal(renderError(error, plain), expected);
  t.equal(renderError(fromProblem(toProblem(error)), plain), expected, 'and after it crossed a wire');
});

t.test('what is not known is left out; long states wrap on a terminal', async t => {
  t.equal(
    renderError(new Error('broken\u001b[2J'), plain),
    'error: broken?[2J\n  code   internal   (covey explain internal)\n',
  );
  const long = new CoveyError('timeout', 'Cannot wait', { state: 'word '.repeat(30).trim() });
  const lines = renderError(long, { ...plain, isTerminal: true, columns: 60 }).split('\n');
  t.ok(lines.length > 4 && lines.every(line => line.length <= 60));
  t.match(lines[2], /^ {9}word/);
});

t.test('exit codes say what kind of failure it was', async t => {
  const rows: readonly (readonly [ErrorCode, number])[] = [
    ['internal', 1],
    ['image-archive', 1],
    ['bad-argument', 2],
    ['unknown-command', 2],
    ['stack-type', 2],
    ['timeout', 3],
    ['not-found', 4],
    ['image-not-found', 4],
    ['already-in-cluster', 5],
    ['stale-version', 5],
    ['no-leader', 5],
    ['no-daemon', 6],
    ['no-connection', 6],
    ['cancelled', 1],
  ];
  for (const [code, expected] of rows) t.equal(exitCodeOf(new CoveyError(code, 'x')), expected, code);
  for (const code of Object.keys(errorCodes)) t.ok(exitCodeOf(new CoveyError(code as ErrorCode, 'x')) > 0, code);
});
