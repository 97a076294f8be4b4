/**
 * The house style, as far as a program can see it. Counts in `ratchets` may only fall: lower them when they do.
 */
import * as fs from 'node:fs';
import t from 'tap';

interface Source {
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
}

const sources = read('src').filter(source => !source.path.startsWith('src/gen/'));
const tests = read('test');

function read(folder: string): readonly Source[] {
  return fs
    .globSync(`${folder}/**/*.ts`)
    .sort()
    .map(path => {
      const text = fs.readFileSync(path, 'utf8');
      return { path, text, lines: text.split('\n') };
    });
}

/** Things that there are now and that there should be fewer of. */
const ratchets = { longFunctions: 0, longFiles: 0, casts: 63 };

t.test('there is something to look at', async t => {
  t.ok(sources.length > 30, `${sources.length} files`);
  t.ok(tests.length > 10, `${tests.length} tests`);
});

/** Folder of src -> what it may import of src besides itself and the floor. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  raft: [],
  netns: [],
  tasks: [],
  'host-linux': [],
  daemon: ['raft', 'netns', 'tasks', 'host-linux'],
  cli: ['tasks', 'host-linux'],
};

t.test('folders import only what the architecture allows', async t => {
  for (const { path, text } of sources) {
    const own = folderOf(path);
    for (const [, target] of text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)) {
      const other = folderOf(new URL(target ?? '', `file:///${path}`).pathname.slice(1));
      if (other === own || other === '' || other === 'gen') continue;
      t.ok((mayImport[own] ?? []).includes(other), `${path} imports ${target}`);
    }
  }
});

/** First folder below src, or '' for the floor. */
function folderOf(path: string): string {
  const parts = path.split('/');
  return parts.length > 2 ? (parts[1] ?? '') : '';
}

t.test('siblings are imported through their front page or a named part of it', async t => {
  const cli = sources.filter(source => source.path.startsWith('src/cli/'));
  for (const { path, text } of cli) {
    for (const [, target] of text.matchAll(/from '((?:\.\.\/)+tasks\/[^']+)'/g))
      t.match(target, /tasks\/spec\//, `${path} imports ${target}`);
  }
});

t.test('every file begins by saying what it is for', async t => {
  for (const { path, lines } of sources) {
    const start = lines[0]?.startsWith('#!') ? 1 : 0;
    t.equal(lines[start], '/**', `${path} begins with its comment`);
    const end = lines.findIndex(line => line.trim() === '*/');
    t.ok(end > start && end <= 40, `${path}: the comment ends by line 40`);
  }
});

interface Ban {
  readonly what: RegExp;
  readonly instead: string;
  readonly except: RegExp;
}

const bans: readonly Ban[] = [
  {
    what: /from 'node:(fs|child_process|net|dgram|os|tty|worker_threads|dns)(\/promises)?'/,
    instead: 'Host',
    except:
      /^src\/(host-linux|raft\/storage\/(real-disk|folder-lock|storage-client|.*worker)|tasks\/image\/unpack|netns\/dns|daemon\/rpc|cli)\b/,
  },
  { what: /from 'koffi'/, instead: 'Kernel of host.ts', except: /^src\/(host-linux\/|raft\/storage\/folder-lock)/ },
  { what: /from 'execa'/, instead: 'Processes of host.ts', except: /^src\/host-linux\// },
  {
    what: /\bDate\.now\(\)|new Date\(\)|performance\.now\(\)/,
    instead: 'host.clock',
    except: /^src\/(host-linux\/|grpc-client\.ts|cli\/)/,
  },
  {
    what: /\bsetTimeout\(|\bsetInterval\(/,
    instead: 'host.clock',
    except: /^src\/(host-linux\/|daemon\/main\.ts|cli\/)/,
  },
  { what: /Math\.random\(/, instead: 'host.random', except: /^$/ },
  {
    what: /process\.env\b/,
    instead: 'settings (daemon/config.ts)',
    except: /^src\/(host-linux\/|daemon\/main\.ts|cli\/)/,
  },
  { what: /'-c'\s*,\s*`|\bexec\(`|shell: true/, instead: 'an argv array', except: /^$/ },
  { what: /catch\s*(\([^)]*\))?\s*\{\s*\}/, instead: 'a reason in words', except: /^$/ },
  { what: /\bconsole\.(log|error|warn|info)\(/, instead: 'Logger, or the output of cli', except: /^$/ },
  { what: /export default\b/, instead: 'a named export', except: /^$/ },
  { what: /:\s*any\b|\bas any\b|<any>/, instead: 'unknown', except: /^$/ },
  { what: /@ts-(ignore|expect-error|nocheck)|biome-ignore/, instead: 'a change of the code', except: /^$/ },
  { what: /\b(TODO|FIXME|XXX)\b/, instead: 'an issue', except: /^$/ },
  {
    what: /=== null\b|: null\b/,
    instead: 'undefined (null only at borders)',
    except:
      /^src\/(host-linux\/|wire\.ts|grpc\.ts|daemon\/(config-file|logger|rpc)|tasks\/(spec|image|runtime)\/|cli\/)/,
  },
];

t.test('nothing bypasses the rules of the house', async t => {
  for (const { path, lines } of sources) {
    lines.forEach((line, at) => {
      if (/^\s*(\/\/|\*|\/\*)/.test(line)) return;
      for (const ban of bans) {
        if (ban.what.test(line) && !ban.except.test(path))
          t.fail(`${path}:${at + 1}: ${line.trim()} (instead: ${ban.instead})`);
      }
    });
  }
  t.pass('looked at all lines');
});

t.test('importing a module does nothing', async t => {
  for (const { path, lines } of sources) {
    if (/^src\/(daemon|cli)\/main\.ts$|worker\.ts$|child\.ts$/.test(path)) continue;
    lines.forEach((line, at) => {
      if (
        /^(export )?let\b|^(export )?const \w+ = new (?!Set|Map|RegExp)|^set(Timeout|Interval|Immediate)\(|^process\./.test(
          line,
        )
      )
        t.fail(`${path}:${at + 1}: ${line}`);
    });
  }
  t.pass('looked at all lines');
});

t.test('functions stay short', async t => {
  const long = sources.flatMap(longFunctions);
  t.ok(long.length <= ratchets.longFunctions, `functions above 70 lines: ${long.join(', ')}`);
});

/** Formatted code closes a function with a brace at the indentation of its first line. */
function longFunctions({ path, lines }: Source): readonly string[] {
  const found: string[] = [];
  lines.forEach((line, at) => {
    const match = /^(\s*)(?:export )?(?:async )?(?:function\*? (\w+)|const (\w+) = (?:async )?\()/.exec(line);
    if (match === null) return;
    const end = lines.findIndex((other, below) => below > at && other.startsWith(`${match[1]}}`));
    if (end - at + 1 > 70) found.push(`${path}:${at + 1} ${match[2] ?? match[3]} (${end - at + 1})`);
  });
  return found;
}

t.test('files stay short', async t => {
  const long = [...sources, ...tests]
    .filter(source => source.lines.length > 401)
    .map(source => `${source.path} (${source.lines.length})`);
  t.ok(long.length <= ratchets.longFiles, `files above 400 lines: ${long.join(', ')}`);
});

t.test('casts do not spread', async t => {
  const isCast = (line: string): boolean => {
    const code = line.replace(/'[^']*'|"[^"]*"|`[^`]*`/g, '').replace(/\/\/.*$|^\s*\*.*$|^\s*\/\*.*$/, '');
    return (
      !/^(import|export) /.test(code) &&
      /\bas (?!const\b)([A-Z{(]|unknown|never|string|number|boolean|object|keyof|typeof|readonly)/.test(code)
    );
  };
  const casts = sources
    .filter(
      ({ path }) => !/^src\/(ids|wire|grpc|grpc-calls|grpc-client|grpc-handlers)\.ts|^src\/host-linux\//.test(path),
    )
    .flatMap(({ path, lines }) => lines.flatMap((line, at) => (isCast(line) ? [`${path}:${at + 1}`] : [])));
  t.ok(casts.length <= ratchets.casts, `${casts.length} casts: ${casts.join(' ')}`);
  t.ok(casts.length > ratchets.casts - 10, `${casts.length} casts: the ratchet can go down`);
});

t.test('tests lie where their subject lies', async t => {
  const known = new Set(
    sources.flatMap(({ path }) => [
      path.replace(/\.ts$/, ''),
      ...path
        .split('/')
        .slice(1, -1)
        .map((_, at, parts) => ['src', ...parts.slice(0, at + 1)].join('/')),
    ]),
  );
  const free = /^test\/(tidy|cluster|raft\/(sim|linearizability|vectors|mutants|paper|bugs|properties))/;
  for (const { path } of tests.filter(test => test.path.endsWith('.test.ts'))) {
    if (free.test(path)) continue;
    const subject = path.replace(/^test/, 'src').replace(/(\.(real|sim))?\.test\.ts$/, '');
    const folder = subject.slice(0, subject.lastIndexOf('/'));
    t.ok(known.has(subject) || known.has(folder) || folder === 'src', `${path} has no subject ${subject}.ts`);
  }
});

t.test('the version is said in one way', async t => {
  const { version } = JSON.parse(fs.readFileSync('package.json', 'utf8')) as { version: string };
  t.match(fs.readFileSync('src/version.ts', 'utf8'), `'${version}'`);
});

t.test('both platforms get the same Node', async t => {
  const { optionalDependencies } = JSON.parse(fs.readFileSync('package.json', 'utf8')) as {
    optionalDependencies: Record<string, string>;
  };
  t.equal(new Set(Object.values(optionalDependencies)).size, 1);
});

t.test('every message, call and oneof of the protos says what it is for', async t => {
  for (const path of fs.globSync('proto/**/*.proto')) {
    const lines = fs.readFileSync(path, 'utf8').split('\n');
    lines.forEach((line, at) => {
      if (!/^(service \w+ \{| {2}rpc \w+)/.test(line)) return;
      const above = lines.slice(0, at).findLast(other => other.trim() !== '');
      const grouped = /^ {2}rpc/.test(line) && /^ {2}(rpc|\/\/)/.test(above ?? '');
      t.ok(
        above?.trim().startsWith('//') || grouped || /^service/.test(above ?? ''),
        `${path}:${at + 1} ${line.trim()}`,
      );
    });
  }
});
