/** What registries put into WWW-Authenticate, as it is met, and as nobody should write it. */
import t from 'tap';
import { parseChallenges } from '../../../../src/tasks/image/registry/challenge.js';

const read = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

t.test('challenges are read with their parameters, whatever the case, the blanks and the quotes', async t => {
  const rows: readonly (readonly [header: string, expected: readonly unknown[]])[] = [
    ['Basic realm="x"', [['basic', { realm: 'x' }]]],
    ['Basic', [['basic', {}]]],
    [
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull"',
      [
        [
          'bearer',
          {
            realm: 'https://auth.docker.io/token',
            service: 'registry.docker.io',
            scope: 'repository:library/x:pull',
          },
        ],
      ],
    ],
    ['bearer REALM=x , service = "a b"', [['bearer', { realm: 'x', service: 'a b' }]]],
    ['Bearer realm="a \\"quoted\\" one, with a comma"', [['bearer', { realm: 'a "quoted" one, with a comma' }]]],
    [
      'Basic realm="one", Bearer realm="two",scope="repository:a:pull,push"',
      [
        ['basic', { realm: 'one' }],
        ['bearer', { realm: 'two', scope: 'repository:a:pull,push' }],
      ],
    ],
    [
      'Negotiate, Basic realm=x',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    ['Bearer realm="first",realm="second"', [['bearer', { realm: 'first' }]]],
  ];
  for (const [header, expected] of rows) t.strictSame(read(header), expected, header);
});

t.test('nonsense offers nothing, and what stands before it still counts', async t => {
  t.strictSame(read(''), []);
  t.strictSame(read('"'), []);
  t.strictSame(read('realm="x"'), []);
  t.strictSame(read('Bearer realm="never ends'), [['bearer', {}]]);
  t.strictSame(read('Basic realm="x", =, Bearer'), [['basic', { realm: 'x' }]]);
  const long = read(`Bearer ${'a=b,'.repeat(10_000)}`);
  t.ok(long.length <= 2, 'a long one is cut, in the middle of a word perhaps');
});
