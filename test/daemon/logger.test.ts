import t from 'tap';
import { makeLogger, renderLine } from '../../src/daemon/logger.js';
import { CoveyError } from '../../src/errors.js';

function collect(format: 'text' | 'json', level: 'debug' | 'info' = 'info') {
  const lines: string[] = [];
  return { lines, log: makeLogger({ level, format, write: line => void lines.push(line) }) };
}

t.test('a line in JSON has time, level, message and the fields of all its loggers', async t => {
  const { lines, log } = collect('json');
  log.with({ part: 'store' }).info('opened', { entries: 3 });
  t.match(JSON.parse(lines[0] ?? ''), {
    level: 'info',
    time: /^\d{4}-\d\d-\d\dT.*Z$/,
    message: 'opened',
    part: 'store',
    entries: 3,
  });
});

t.test('an error becomes its text, state and code; only defects bring their stack', async t => {
  const { lines, log } = collect('json');
  log.error('failed', { error: new CoveyError('no-space', 'Cannot write', { state: '0 bytes left' }) });
  log.error('failed', { error: new TypeError('x is not a function') });
  t.match(JSON.parse(lines[0] ?? ''), { error: 'Cannot write', code: 'no-space', state: '0 bytes left' });
  t.notOk('stack' in JSON.parse(lines[0] ?? ''));
  t.match(JSON.parse(lines[1] ?? ''), { code: 'internal', stack: /TypeError/ });
});

t.test('text is one line that a person reads, with quotes where they are needed', async t => {
  t.equal(
    renderLine('{"level":"warn","time":"2026-01-02T03:04:05.678Z","message":"late","node":"rack 1","ms":5}'),
    '03:04:05.678 warn  late  node="rack 1"  ms=5\n',
  );
});

t.test('the level is kept, and can change while running', async t => {
  const { lines, log } = collect('text');
  log.debug('quiet');
  t.equal(lines.length, 0);
  log.setLevel('debug');
  log.debug('heard');
  t.equal(lines.length, 1);
});
