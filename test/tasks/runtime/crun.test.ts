import t from 'tap';
import { isHybridRefusal, runtimeError } from '../../../src/tasks/runtime/crun.js';

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
