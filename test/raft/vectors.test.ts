/** The vectors, as one test each; and the reader and the comparison themselves. */
import t from 'tap';
import { parseVector } from './vectors/reader.js';
import { findForeignVectors, listVectors, ownVectors, replay, replayFile } from './vectors/runner.js';

const foreign = findForeignVectors(process.env);

t.test("etcd's vectors", { skip: foreign === undefined && 'no folder of vectors: set COVEY_VECTORS' }, async t => {
  const files = listVectors(foreign ?? '.');
  t.ok(files.length > 0, 'there are files');
  for (const path of files) {
    // Election timeouts are drawn at random there: no vector may depend on the draw.
    for (const random of [() => 0, (bound: number) => Math.floor(bound / 2), (bound: number) => bound - 1]) {
      const result = replayFile(path, foreign ?? '.', { random });
      t.equal(result.kind, 'passed', `${result.name} ${result.kind === 'failed' ? result.problem : ''}`);
    }
  }
});

t.test('vectors of our own', async t => {
  const files = listVectors(ownVectors);
  t.ok(files.length >= 11, `${files.length} files`);
  for (const path of files) {
    const result = replayFile(path, ownVectors);
    t.equal(result.kind, 'passed', `${result.name} ${result.kind === 'failed' ? result.problem : ''}`);
  }
});

t.test('a vector whose output differs in one letter fails and says where', async t => {
  const text = 'add-nodes 1 voters=(1) index=2\n----\nok\n\nraft-state\n----\n1: StateFollower (Voter) Term:1 Lead:0\n';
  const result = replay('x', text);
  t.equal(result.kind, 'failed');
  t.match(
    result.kind === 'failed' && result.problem,
    /x:5 raft-state[\s\S]*found +\| 1: StateFollower \(Voter\) Term:0/,
  );
  t.equal(replay('x', text.replace('Term:1', 'Term:0')).kind, 'passed');
});

t.test('lines of a log are left out of the comparison, other lines are not', async t => {
  const with_ = (line: string) => `add-nodes 1 voters=(1) index=2\n----\n${line}\n`;
  t.equal(replay('x', with_('INFO 1 became follower at term 0')).kind, 'passed');
  t.equal(replay('x', with_('INFORM 1 became follower')).kind, 'failed');
});

t.test('an unknown command is printed, never skipped', async t => {
  t.equal(replay('x', 'frobnicate 1\n----\nok\n').kind, 'failed');
  t.equal(replay('x', 'frobnicate 1\n----\nunknown command\n').kind, 'passed');
});

t.test('directives: values, nesting, continued lines, blank lines in the output', async t => {
  const text = [
    '# a comment',
    'one bare k=v list=(a, b(c,d), ) empty= \\',
    '  more',
    'input 1',
    '',
    'input 2',
    '----',
    'out',
    '',
    'two',
    '----',
    '----',
    'first',
    '',
    'second',
    '----',
    '----',
    '',
    'three',
  ].join('\n');
  const [one, two, three] = parseVector(text);
  t.same(one?.args, [
    { key: 'bare', values: [] },
    { key: 'k', values: ['v'] },
    { key: 'list', values: ['a', 'b(c,d)', ''] },
    { key: 'empty', values: [''] },
    { key: 'more', values: [] },
  ]);
  t.equal(one?.input, 'input 1\n\ninput 2');
  t.equal(one?.expected, 'out\n');
  t.equal(two?.expected, 'first\n\nsecond\n');
  t.equal(three?.expected, '');
});
