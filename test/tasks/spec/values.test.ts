import t from 'tap';
import { parseMountKeys, parseShortMount, parseTmpfs, plainMount, splitKeys } from '../../../src/tasks/spec/mounts.js';
import { parsePort, parsePortKeys } from '../../../src/tasks/spec/ports.js';
import { resolvePlain, scalarText } from '../../../src/tasks/spec/scalar.js';
import {
  type Parsed,
  parseBytes,
  parseCpuNanos,
  parseDurationMs,
  parseFileMode,
  parseUlimit,
  parseWords,
} from '../../../src/tasks/spec/values.js';

function read<Value>(parsed: Parsed<Value>): Value | 'refused' {
  return parsed.kind === 'ok' ? parsed.value : 'refused';
}

t.test('durations are read as Go reads them, and days too', async t => {
  const cases: readonly (readonly [string, number | 'refused'])[] = [
    ['0', 0],
    ['30s', 30_000],
    ['1m30s', 90_000],
    ['1.5h', 5_400_000],
    ['.5s', 500],
    ['500ms', 500],
    ['10us', 1],
    ['1ns', 1],
    ['0s', 0],
    ['2d', 172_800_000],
    ['50d', 'refused'],
    ['30', 'refused'],
    ['-1s', 'refused'],
    ['1 s', 'refused'],
    ['s', 'refused'],
    ['', 'refused'],
  ];
  for (const [text, expected] of cases) t.equal(read(parseDurationMs(text)), expected, text);
});

t.test('sizes are binary whatever their unit is called', async t => {
  const cases: readonly (readonly [string, number | 'refused'])[] = [
    ['1024', 1024],
    ['50M', 52_428_800],
    ['50mb', 52_428_800],
    ['1.5g', 1_610_612_736],
    ['512 KiB', 524_288],
    ['1b', 1],
    ['0', 0],
    ['1x', 'refused'],
    ['-1', 'refused'],
    ['9999999P', 'refused'],
    ['', 'refused'],
  ];
  for (const [text, expected] of cases) t.equal(read(parseBytes(text)), expected, text);
});

t.test('cores have nine decimals at most', async t => {
  const cases: readonly (readonly [string, number | 'refused'])[] = [
    ['0.5', 500_000_000],
    ['2', 2_000_000_000],
    ['.25', 250_000_000],
    ['0.000000001', 1],
    ['0.0000000001', 'refused'],
    ['.', 'refused'],
    ['1e3', 'refused'],
    ['-1', 'refused'],
  ];
  for (const [text, expected] of cases) t.equal(read(parseCpuNanos(text)), expected, text);
});

t.test('file modes are octal, with or without a zero in front', async t => {
  t.equal(read(parseFileMode('0440')), 0o440);
  t.equal(read(parseFileMode('440')), 0o440);
  t.equal(read(parseFileMode('0o1777')), 0o1777);
  t.equal(read(parseFileMode('888')), 'refused');
});

t.test('limits of resources have a known name and a soft limit no higher than the hard one', async t => {
  t.same(read(parseUlimit('nofile=1024:2048')), { name: 'nofile', soft: 1024, hard: 2048 });
  t.same(read(parseUlimit('core=-1')), { name: 'core', soft: -1, hard: -1 });
  for (const text of ['nofile=2:1', 'nofile=-1:5', 'nofiles=1', 'nofile', 'nofile=-2']) {
    t.equal(read(parseUlimit(text)), 'refused', text);
  }
});

t.test('words are split as a shell splits them', async t => {
  const cases: readonly (readonly [string, readonly string[] | 'refused'])[] = [
    ['echo a b', ['echo', 'a', 'b']],
    ['  a   b ', ['a', 'b']],
    [`sh -c 'echo "x y"; exit 1'`, ['sh', '-c', 'echo "x y"; exit 1']],
    ['say "a \\"b\\" $HOME"', ['say', 'a "b" $HOME']],
    ['a\\ b', ['a b']],
    [`''`, ['']],
    [`a'b'"c"`, ['abc']],
    ['', []],
    [`'open`, 'refused'],
    ['"open', 'refused'],
    ['end\\', 'refused'],
  ];
  for (const [text, expected] of cases) t.same(read(parseWords(text)), expected, text);
});

const port = (published: number, target: number, protocol = 'tcp', mode = 'ingress'): object => ({
  published,
  target,
  protocol,
  mode,
});

t.test('ports have a short form with ranges, and a form with keys', async t => {
  const cases: readonly (readonly [string, readonly object[] | 'refused'])[] = [
    ['80', [port(0, 80)]],
    ['8080:80', [port(8080, 80)]],
    ['53:53/udp', [port(53, 53, 'udp')]],
    ['3001-3002', [port(0, 3001), port(0, 3002)]],
    ['9090-9091:8080-8081', [port(9090, 8080), port(9091, 8081)]],
    ['8000-8001:80', [port(8000, 80), port(8001, 80)]],
    ['127.0.0.1:80:80', 'refused'],
    ['8000-8002:80-81', 'refused'],
    ['80/sctp', 'refused'],
    ['70000', 'refused'],
    ['0:80', 'refused'],
    ['81-80', 'refused'],
    ['a', 'refused'],
    ['', 'refused'],
  ];
  for (const [text, expected] of cases) t.same(read(parsePort(text)), expected, text);
  t.same(read(parsePortKeys('published=8080,target=80,protocol=udp,mode=host')), [port(8080, 80, 'udp', 'host')]);
  t.same(read(parsePortKeys('target=80')), [port(0, 80)]);
  for (const text of ['published=80', 'target=80,mode=all', 'target=80,ip=1.2.3.4', 'target=x']) {
    t.equal(read(parsePortKeys(text)), 'refused', text);
  }
});

const paths = { resolvePath: (path: string) => (path.startsWith('/') ? path : `/site${path.slice(1)}`) };
const mount = (fields: object): object => ({ ...plainMount('volume', ''), ...fields });

t.test('a mount whose source is a path is a bind, any other a volume', async t => {
  const cases: readonly (readonly [string, object | 'refused'])[] = [
    ['/var/lib', mount({ kind: 'volume', target: '/var/lib' })],
    ['data:/d', mount({ kind: 'volume', source: 'data', target: '/d' })],
    ['data:/d:ro,nocopy', mount({ kind: 'volume', source: 'data', target: '/d', readOnly: true, noCopy: true })],
    ['/a:/b:rshared', mount({ kind: 'bind', source: '/a', target: '/b', propagation: 'rshared' })],
    ['./a:/b:ro,cached', mount({ kind: 'bind', source: '/site/a', target: '/b', readOnly: true })],
    ['/a:/b:z', mount({ kind: 'bind', source: '/a', target: '/b', relabel: 'shared' })],
    ['data:/d:ro,Z', mount({ kind: 'volume', source: 'data', target: '/d', readOnly: true, relabel: 'private' })],
    ['data:d', 'refused'],
    ['data', 'refused'],
    ['data:/d:nocopy:x', 'refused'],
    ['/a:/b:nocopy', 'refused'],
    ['data:/d:rshared', 'refused'],
    [':/d', 'refused'],
  ];
  for (const [text, expected] of cases) t.same(read(parseShortMount(text, paths)), expected, text);
});

t.test('mounts of the command line have keys, some of one kind only', async t => {
  t.same(
    read(parseMountKeys('type=bind,src=/a,dst=/b,readonly,bind-propagation=slave', paths)),
    mount({ kind: 'bind', source: '/a', target: '/b', readOnly: true, propagation: 'slave' }),
  );
  t.same(
    read(parseMountKeys('type=tmpfs,target=/run,tmpfs-size=64m,tmpfs-mode=1770', paths)),
    mount({ kind: 'tmpfs', target: '/run', tmpfsBytes: 67_108_864, tmpfsMode: 0o1770 }),
  );
  t.same(
    read(parseMountKeys('type=bind,src=/a,dst=/b,relabel=private', paths)),
    mount({ kind: 'bind', source: '/a', target: '/b', relabel: 'private' }),
  );
  const refused = [
    'type=bind,src=/a,dst=/b,relabel=Z',
    'type=tmpfs,dst=/b,relabel=private',
    'type=nfs,target=/a',
    'type=bind,target=/b',
    'type=tmpfs,source=x,target=/a',
    'type=volume,source=x,target=a',
    'type=volume,target=/a,tmpfs-size=1m',
    'type=bind,source=/a,target=/b,volume-nocopy',
    'target=/a,colour=red',
    'target=/a,readonly=perhaps',
  ];
  for (const text of refused) t.equal(read(parseMountKeys(text, paths)), 'refused', text);
  t.same(splitKeys('a=1,"b=2,3",c'), [
    { key: 'a', value: '1' },
    { key: 'b', value: '2,3' },
    { key: 'c', value: undefined },
  ]);
  t.same(
    read(parseTmpfs('/run:size=1k,mode=700,ro')),
    mount({ kind: 'tmpfs', target: '/run', tmpfsBytes: 1024, tmpfsMode: 0o700, readOnly: true }),
  );
  t.equal(read(parseTmpfs('run')), 'refused');
});

t.test('unquoted scalars mean what they mean to Docker', async t => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['on', 'on'],
    ['yes', 'yes'],
    ['012', '10'],
    ['0o17', '15'],
    ['0x1F', '31'],
    ['0b101', '5'],
    ['1e3', '1000'],
    ['1_000', '1000'],
    ['3.10', '3.1'],
    ['08', '8'],
    ['+5', '5'],
    ['-0x10', '-16'],
    ['18446744073709551615', '18446744073709551615'],
    ['1e21', '1e+21'],
    ['0.00001', '1e-05'],
    ['60:30', '60:30'],
    ['.5', '0.5'],
    ['1.2.3', '1.2.3'],
    ['2026-01-02', '2026-01-02 00:00:00 +0000 UTC'],
    ['2026-01-02T03:04:05Z', '2026-01-02 03:04:05 +0000 UTC'],
    ['2026-02-30', '2026-02-30'],
    ['-', '-'],
    ['~', undefined],
    ['true', undefined],
    ['', undefined],
  ];
  for (const [source, expected] of cases) t.equal(scalarText(resolvePlain(source)), expected, source);
});
