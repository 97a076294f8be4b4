import t from 'tap';
import { parseHostPort, parseSettings, settingFlags } from '../../src/daemon/config.js';
import { parseConfigFile } from '../../src/daemon/config-file.js';

const none = { flags: {}, environment: {}, file: new Map() };

t.test('without anything said, the defaults are those of the documentation', async t => {
  t.match(parseSettings(none), {
    dataDir: '/var/lib/covey',
    runDir: '/run/covey',
    socket: '/run/covey/covey.sock',
    name: undefined,
    prefix: 'covey',
    listen: { host: '0.0.0.0', port: 7377 },
    dataPathPort: 7378,
    runtime: 'auto',
    userns: 'host',
    usernsRange: { firstId: 1_879_048_192, count: 65_536 },
    allowPrivileged: false,
    bench: false,
    logLevel: 'info',
    logFormat: 'text',
  });
});

t.test('a flag wins over the environment, that over the file', async t => {
  const file = parseConfigFile('data_dir: /file\nrun_dir: /file\nprefix: file\n', 'c.yaml');
  const settings = parseSettings({
    flags: { 'data-dir': '/flag' },
    environment: { COVEY_DATA_DIR: '/env', COVEY_RUN_DIR: '/env' },
    file,
  });
  t.equal(settings.dataDir, '/flag');
  t.equal(settings.runDir, '/env');
  t.equal(settings.socket, '/env/covey.sock');
  t.equal(settings.prefix, 'file');
});

t.test('every bad value is refused with its place', async t => {
  const rows: [string, Parameters<typeof parseSettings>[0], RegExp][] = [
    ['relative path', { ...none, flags: { 'data-dir': 'x' } }, /"x".*--data-dir/],
    ['prefix too long', { ...none, flags: { prefix: 'abcdefghi' } }, /prefix/],
    ['prefix of capitals', { ...none, flags: { prefix: 'Covey' } }, /prefix/],
    ['port out of range', { ...none, environment: { COVEY_LISTEN: '0.0.0.0:70000' } }, /COVEY_LISTEN/],
    ['level', { ...none, environment: { COVEY_LOG_LEVEL: 'loud' } }, /loud/],
    ['unknown variable', { ...none, environment: { COVEY_DATADIR: '/x' } }, /COVEY_DATADIR/],
    ['unknown key', { ...none, file: parseConfigFile('\n datadir: /x', 'c.yaml') }, /datadir.*c\.yaml:2:2/],
    ['list for a text', { ...none, file: parseConfigFile('data_dir: [a]', 'c.yaml') }, /c\.yaml:1:1/],
    ['name', { ...none, flags: { name: 'a b' } }, /a b/],
  ];
  for (const [title, sources, message] of rows)
    t.throws(() => parseSettings(sources), { code: 'bad-config', message }, title);
  t.throws(() => parseConfigFile('a: [', 'c.yaml'), { code: 'bad-config', message: /c\.yaml:1:/ });
  t.throws(() => parseConfigFile('- a', 'c.yaml'), { code: 'bad-config' });
});

t.test('addresses of both families are read', async t => {
  t.same(parseHostPort('10.0.0.1', 5), { host: '10.0.0.1', port: 5 });
  t.same(parseHostPort('[fd00::1]:7', 5), { host: 'fd00::1', port: 7 });
  t.same(parseHostPort('rack1.site:9', 5), { host: 'rack1.site', port: 9 });
  for (const text of ['', 'fd00::1', 'a:b', 'a:0', '[x', ':1'])
    t.throws(() => parseHostPort(text, 5), { code: 'bad-argument' }, text);
});

t.test('a setting is a flag, a variable and a key', async t => {
  t.ok(settingFlags().includes('data-path-port'));
  t.equal(new Set(settingFlags()).size, settingFlags().length);
});

t.test('the ids of user namespaces are a range above those of the host', async t => {
  const range = (text: string) => parseSettings({ ...none, flags: { 'userns-range': text } }).usernsRange;
  t.strictSame(range('100000:65536'), { firstId: 100_000, count: 65_536 });
  for (const text of ['0:65536', '100000:10', '4294967290:65536', '100000', 'a:b']) {
    t.throws(() => range(text), { code: 'bad-config' }, text);
  }
});
