import t from 'tap';
import { planCopyTarget, splitCopyPath } from '../../src/cli/copy-paths.js';

t.test('a task and a path, or a path of this machine', async t => {
  const rows: readonly (readonly [string, string | undefined, string])[] = [
    ['web.1:/etc/hosts', 'web.1', '/etc/hosts'],
    ['web.1:etc', 'web.1', '/etc'],
    ['web.1:', 'web.1', '/'],
    ['./a:b', undefined, './a:b'],
    ['/a:b', undefined, '/a:b'],
    ['-', undefined, '-'],
    ['file', undefined, 'file'],
  ];
  for (const [text, task, path] of rows) t.same(splitCopyPath(text), { task, path }, text);
});

t.test('names go where Docker puts them', async t => {
  const [file, directory] = [false, true];
  const rows: readonly (readonly [string, boolean, string, 'file' | 'directory' | 'none', string])[] = [
    ['/a/b', file, '/x', 'directory', '/x|b'],
    ['/a/b', file, '/x/', 'directory', '/x|b'],
    ['/a/b', file, '/x', 'file', '/|x'],
    ['/a/b', file, '/y/x', 'none', '/y|x'],
    ['/a/b', file, '/x/', 'file', 'it is no directory'],
    ['/a/b', file, '/x/', 'none', 'there is no such directory'],
    ['/a/b', directory, '/x', 'directory', '/x|b'],
    ['/a/b/', directory, '/x', 'directory', '/x|b'],
    ['/a/b/.', directory, '/x', 'directory', '/x|'],
    ['/', directory, '/x', 'directory', '/x|'],
    ['/a/b', directory, '/y/x', 'none', '/y|x'],
    ['/a/b/.', directory, '/y/x/', 'none', '/y|x'],
    ['/a/b', directory, '/x', 'file', 'a file is there'],
    ['b', file, '/', 'directory', '/|b'],
  ];
  for (const [source, isDirectory, path, kind, expected] of rows) {
    const destination = { path, exists: kind !== 'none', directory: kind === 'directory' };
    const plan = (): string => {
      const target = planCopyTarget({ path: source, directory: isDirectory }, destination);
      return `${target.directory}|${target.name}`;
    };
    const what = `${source} to ${path} (${kind})`;
    if (expected.includes('|')) t.equal(plan(), expected, what);
    else t.throws(plan, { code: 'bad-argument', message: new RegExp(expected) }, what);
  }
});
