import t from 'tap';
import { parseDotEnv, parseEnvFile } from '../../../src/tasks/spec/env-file.js';
import { substitute } from '../../../src/tasks/spec/variables.js';

/** Dollar signs are written as percent signs here, so that no reader takes these texts for templates. */
const v = (text: string): string => text.replaceAll('%', '$');

const values: Readonly<Record<string, string>> = { A: 'a', EMPTY: '', B_2: 'b' };
const find = (name: string): string | undefined => values[name];

t.test('variables are replaced in all their forms', async t => {
  const cases: readonly (readonly [string, string])[] = [
    ['plain', 'plain'],
    [v('%A-%{A}'), 'a-a'],
    [v('%%A'), v('%A')],
    [v('%%{A}'), v('%{A}')],
    [v('%{A:-x}'), 'a'],
    [v('%{NONE:-x}'), 'x'],
    [v('%{NONE-x}'), 'x'],
    [v('%{EMPTY:-x}'), 'x'],
    [v('%{EMPTY-x}'), ''],
    [v('%{NONE:-}'), ''],
    [v('%{A:+yes}'), 'yes'],
    [v('%{EMPTY:+yes}'), ''],
    [v('%{EMPTY+yes}'), 'yes'],
    [v('%{NONE+yes}'), ''],
    [v('%{A:?must}'), 'a'],
    [v('%{EMPTY?must}'), ''],
    [v('%{NONE:-%{B_2}}'), 'b'],
    [v('x%{NONE:-%{NONE2:-c}}y'), 'xcy'],
    [v('%{NONE:-a:b-c?d}'), 'a:b-c?d'],
    [v('%{NONE:-%%}'), v('%')],
    [v('%B_2.1'), 'b.1'],
  ];
  for (const [text, expected] of cases) t.same(substitute(text, find), { kind: 'ok', text: expected }, text);
});

t.test('a variable that is not set and has no default is refused, with where it stands', async t => {
  t.match(substitute(v('ab %NONE'), find), { kind: 'unset', name: 'NONE', at: 3 });
  t.match(substitute(v('%{NONE}'), find), { kind: 'unset', name: 'NONE', message: '' });
  t.match(substitute(v('%{EMPTY:?give %{A}}'), find), { kind: 'unset', name: 'EMPTY', message: 'give a' });
  t.match(substitute(v('x%{NONE:-%{NONE2}}'), find), { kind: 'unset', name: 'NONE2', at: 9 });
});

t.test('what is no variable is refused, and never guessed', async t => {
  for (const text of [v('%{'), v('%{A'), v('%{}'), v('%{A!x}'), v('%{1}'), v('cost: 5%'), v('%-x'), v('%{A:=x}')]) {
    t.match(substitute(text, find), { kind: 'malformed' }, text);
  }
  t.match(
    substitute(v('%{A:-').repeat(40) + '}'.repeat(40), () => undefined),
    { kind: 'malformed' },
  );
});

t.test('a file of variables keeps its values verbatim', async t => {
  t.same(
    parseEnvFile('\ufeff# comment\nA=1\n\n  B="x y" # z\r\nPASSED\nMISSING\nC=\n', name =>
      name === 'PASSED' ? 'p' : undefined,
    ),
    {
      kind: 'ok',
      value: [
        ['A', '1'],
        ['B', '"x y" # z'],
        ['PASSED', 'p'],
        ['C', ''],
      ],
    },
  );
  t.match(parseEnvFile('A=1\nA B=2\n', find), { kind: 'bad', valid: /line 2/ });
  t.match(parseEnvFile('=2\n', find), { kind: 'bad', valid: /line 1/ });
});

t.test('a .env file knows quotes, escapes, comments and variables', async t => {
  const text = [
    '# comment',
    'export A=1',
    v("B='x %A # y'"),
    v('C="line\\nbreak %{A} \\%A"'),
    'D=plain # comment',
    'E=a#b',
    'F=',
    'G="two',
    'lines"',
    v('H=%HOST-%{A}-%{NONE}'),
    '  I = spaced  ',
  ].join('\n');
  const parsed = parseDotEnv(text, name => (name === 'HOST' ? 'h' : undefined));
  t.equal(parsed.kind, 'ok');
  t.same(Object.fromEntries(parsed.kind === 'ok' ? parsed.value : []), {
    A: '1',
    B: v('x %A # y'),
    C: v('line\nbreak 1 %A'),
    D: 'plain',
    E: 'a#b',
    F: '',
    G: 'two\nlines',
    H: 'h-1-',
    I: 'spaced',
  });
  t.match(parseDotEnv('A=1\nnot a line\n', find), { kind: 'bad', valid: /line 2/ });
  t.match(parseDotEnv('A="open', find), { kind: 'bad', valid: /quote/ });
});
