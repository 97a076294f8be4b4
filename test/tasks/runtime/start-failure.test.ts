/** Why a program did not start inside a container, whichever runtime says so. */
import t from 'tap';
import { findStartFailure } from '../../../src/tasks/runtime/start-failure.js';

const table: readonly (readonly [words: string, program: string, expected: readonly [number, RegExp] | undefined])[] = [
  // crun 1.8
  ['executable file `/no/such` not found in $PATH: No such file or directory', '/no/such', [127, /^no such file/]],
  ['executable file `nosuch` not found in $PATH: No such file or directory', 'nosuch', [127, /not found in \$PATH$/]],
  ['open executable: Permission denied', '/noexec', [126, /^permission denied$/]],
  ['open executable: Operation not permitted', '/dir', [126, /directory/]],
  ['exec: No such file or directory', '/badsh', [127, /interpreter/]],
  ['exec: Exec format error', '/text', [126, /^exec format error$/]],
  // newer ones
  ['executable file `nosuch` not found: No such file or directory', 'nosuch', [127, /\$PATH/]],
  ['executable file `x` not found in $PATH: Permission denied', 'x', [126, /denied/]],
  ['exec `/text`: Exec format error', '/text', [126, /format/]],
  // runc
  [
    'exec failed: unable to start container process: exec: "/no/such": stat /no/such: no such file or directory',
    '/no/such',
    [127, /^no such/],
  ],
  [
    'exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH',
    'nosuch',
    [127, /\$PATH/],
  ],
  [
    'exec failed: unable to start container process: exec: "/dir": permission denied',
    '/dir',
    [126, /^permission denied$/],
  ],
  // anything else is no saying of a runtime
  ['', 'sh', undefined],
  ['sh: nosuch: not found', 'sh', undefined],
  ['exec: ', 'sh', undefined],
  ['mount `proc` to `proc`: Permission denied', 'sh', undefined],
];

t.test('what is not there is 127, what cannot be run 126, as of a shell', async t => {
  for (const [words, program, expected] of table) {
    const found = findStartFailure(words, program);
    t.equal(found?.exitCode, expected?.[0], words);
    if (expected !== undefined) t.match(found?.why, expected[1]);
  }
});
