import t from 'tap';
import { openContext } from '../../../src/cli/context.js';
import { readFlags } from '../../../src/cli/flags.js';
import { fillTemplate, parseFormat } from '../../../src/cli/output/format.js';
import { compareNames, type ListView, printInspection, printList } from '../../../src/cli/output/list.js';
import { fakeConsole } from '../fake-console.js';

interface Thing {
  readonly id: string;
  readonly name: string;
  readonly size: number;
  readonly tags: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

const view: ListView<Thing> = {
  columns: [
    { header: 'THING', cutTo: 6 },
    { header: 'SIZE', align: 'right' },
  ],
  row: thing => [thing.name, String(thing.size)],
  record: thing => ({ ...thing }),
  id: thing => thing.id,
  name: thing => thing.name,
};

const things: readonly Thing[] = [
  { id: 'aa1', name: 'web.2', size: 10, tags: ['x', 'y'], labels: { tier: 'front' } },
  { id: 'ab2', name: 'web.10', size: 9, tags: [], labels: {} },
  { id: 'bb3', name: 'mailer', size: 100, tags: ['y'], labels: { tier: 'back' } },
];

async function show(
  values: Readonly<Record<string, unknown>>,
  items: readonly Thing[] = things,
  columns?: number,
): Promise<string> {
  const console = fakeConsole({ terminal: columns === undefined ? undefined : { rows: 24, columns } });
  const flags = readFlags(new Map(Object.entries(values)));
  const context = openContext(console, { flags, signal: new AbortController().signal });
  await printList(context, flags, { view, items });
  return console.out();
}

t.test('a list is a table, or ids, names, JSON lines, YAML or a template', async t => {
  const rows: readonly (readonly [Readonly<Record<string, unknown>>, string])[] = [
    [{}, 'THING   SIZE\nweb.2     10\nweb.10     9\nmailer   100\n'],
    [{ quiet: true }, 'aa1\nab2\nbb3\n'],
    [{ format: 'name' }, 'web.2\nweb.10\nmailer\n'],
    [{ format: '{{.Name}}\\t{{.SIZE}}' }, 'web.2\t10\nweb.10\t9\nmailer\t100\n'],
    [{ format: 'table {{.name}}:{{.size}}', filter: ['name=mailer'] }, 'NAME:SIZE\nmailer:100\n'],
    [{ format: 'json', filter: ['id=ab'] }, '{"id":"ab2","name":"web.10","size":9,"tags":[],"labels":{}}\n'],
    [
      { format: 'yaml', filter: ['id=a'] },
      'id: aa1\nname: web.2\nsize: 10\ntags:\n  - x\n  - y\nlabels:\n  tier: front\n---\nid: ab2\nname: web.10\nsize: 9\ntags: []\nlabels: {}\n',
    ],
  ];
  for (const [flags, expected] of rows) t.equal(await show(flags), expected, JSON.stringify(flags));
});

t.test('an empty list is its header; as JSON it is nothing', async t => {
  t.equal(await show({}, []), 'THING  SIZE\n');
  t.equal(await show({ format: 'json' }, []), '');
});

t.test('filters: the same field is or, different fields are and', async t => {
  const rows: readonly (readonly [readonly string[], string])[] = [
    [['name=web'], 'web.2 web.10'],
    [['name=web', 'name=mail'], 'web.2 web.10 mailer'],
    [['name=web', 'size=9'], 'web.10'],
    [['size!=9'], 'web.2 mailer'],
    [['size!=9', 'size!=10'], 'mailer'],
    [['tags=y'], 'web.2 mailer'],
    [['label=tier'], 'web.2 mailer'],
    [['label=tier=back'], 'mailer'],
    [['labels.tier=front'], 'web.2'],
  ];
  for (const [filter, expected] of rows)
    t.equal((await show({ filter, format: 'name' })).trim().split('\n').join(' '), expected, filter.join(' '));
  await t.rejects(show({ filter: ['nmae=x'] }), { code: 'bad-argument', hint: '{{.name}}' });
  await t.rejects(show({ filter: ['name'] }), { code: 'bad-argument' });
});

t.test('lists are sorted by a field or column, numbers in names by value', async t => {
  t.equal(await show({ sort: 'name', format: 'name' }), 'mailer\nweb.2\nweb.10\n');
  t.equal(await show({ sort: '-size', format: 'name' }), 'mailer\nweb.2\nweb.10\n');
  t.equal(await show({ sort: 'THING', format: 'name' }), 'mailer\nweb.2\nweb.10\n');
  await t.rejects(show({ sort: 'sise' }), { code: 'bad-argument', hint: '--sort size' });
  t.ok(compareNames('web.2', 'web.10') < 0);
  t.equal(compareNames('a', 'a'), 0);
});

t.test('a terminal cuts what is too wide, --no-trunc and a pipe do not', async t => {
  const wide = [{ id: '1', name: 'a-rather-long-name', size: 1, tags: [], labels: {} }];
  t.equal(await show({}, wide, 16), 'THING       SIZE\na-rather-…     1\n');
  t.match(await show({ 'no-trunc': true }, wide, 16), 'a-rather-long-name');
  t.match(await show({}, wide), 'a-rather-long-name');
});

t.test('inspections are YAML for people', async t => {
  const console = fakeConsole();
  const flags = readFlags(new Map());
  const context = openContext(console, { flags, signal: new AbortController().signal });
  await printInspection(context, flags, [{ record: { id: 'a', list: [1] }, name: 'x' }]);
  t.equal(console.out(), 'id: a\nlist:\n  - 1\n');
});

t.test('templates reach into objects and lists, and refuse fields that are not there', async t => {
  const record = { name: 'web', ports: [{ published: 80 }], labels: { 'a.b': 'c' }, none: null, on: true };
  const rows: readonly (readonly [string, string])[] = [
    ['{{.ports.0.published}}', '80'],
    ['{{json .ports}}', '[{"published":80}]'],
    ['{{len .ports}}', '1'],
    ['{{join .ports ";"}}', '{"published":80}'],
    ['{{.none}}|{{.on}}', '|true'],
    ['{{ .name }}', 'web'],
    ['{{.ports.5.published}}', ''],
    ['{{.labels.missing}}', ''],
    ['a\\tb {{.name}}', 'a\tb web'],
  ];
  for (const [text, expected] of rows) {
    const format = parseFormat(text);
    t.equal(format.kind === 'template' ? fillTemplate(format.parts, record) : undefined, expected, text);
  }
  const missing = parseFormat('{{.nam}}');
  t.throws(() => missing.kind === 'template' && fillTemplate(missing.parts, record), {
    code: 'bad-argument',
    hint: '{{.name}}',
  });
  for (const text of ['{{.name', 'csv', '{{range .x}}', '{{.name | upper}}'])
    t.throws(() => parseFormat(text), { code: 'bad-argument' }, text);
});
