import t from 'tap';
import { isHybridRefusal, lastOutputIn, lastWords, runtimeError } from '../../../src/tasks/runtime/crun.js';

t.test('what a runtime says becomes a code that fits', async t => {
  const rows: readonly (readonly [string, string, RegExp])[] = [
    ['executable file `nope` not found in $PATH: No such file or directory', 'command-not-found', /nope/],
    ['open executable: Permission denied', 'command-not-found', /Permission denied/],
    [
      'time="2026-11-20T10:00:00Z" level=error msg="runc create failed: unable to start container process: exec: \\"nope\\": executable file not found in $PATH"',
      'command-not-found',
      /exec: "nope"/,
    ],
    [
      '{"msg":"error stat\'ing file `/nope`: No such file or directory: bind mount","level":"error"}',
      'mount-source',
      /\/nope/,
    ],
    ['mount `/nope` to `x`: No such file or directory', 'mount-source', /nope/],
    ['write file: No space left on device', 'no-space', /space/],
    ['something else altogether', 'container-create', /something else/],
    ['', 'container-create', /said nothing/],
  ];
  for (const [output, code, message] of rows) t.match(runtimeError(output, 'create'), { code, message }, output);
  t.ok(
    isHybridRefusal(runtimeError('cgroups in hybrid mode not supported, drop all controllers from cgroupv2', 'create')),
  );
  t.ok(runtimeError('x'.repeat(5_000), 'create').message.length < 1_100, 'long words are cut');
});

t.test('the marks of a runtime are taken from what it and a program said, on a terminal too', async t => {
  const time = '2026-11-30T17:31:35.435346Z: ';
  const red = (text: string): string => `\u001b[1;31m${time}${text}\u001b[0m\n`;
  t.equal(lastWords(`${time}open executable: Permission denied\n`), 'open executable: Permission denied');
  t.equal(lastWords(red('open executable: Permission denied')), 'open executable: Permission denied');
  t.equal(lastOutputIn(`${time}33 99\r\n\n`).toString(), '33 99\r\n');
  t.equal(lastOutputIn(red('33 99\r\n')).toString(), '33 99\r\n');
  t.equal(lastOutputIn(red('a \u001b[1;31mred\u001b[0m\r\nb\r\n')).toString(), 'a \u001b[1;31mred\u001b[0m\r\nb\r\n');
});
