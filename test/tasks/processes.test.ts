import t from 'tap';
import { parseProcess } from '../../src/tasks/processes.js';

const stat = (name: string): string =>
  `4711 (${name}) S 4700 4711 4711 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 12345 1000000 256 18446744073709551615`;
const status = 'Name:\tx\nUid:\t1000\t33\t33\t33\n';

t.test('a process is read as proc(5) says, whatever its name', async t => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['nginx', 'nginx: worker\0-g\0', 'nginx: worker -g'],
    ['a) S 1 (b', '/bin/x\0', '/bin/x'],
    ['kworker/0:1', '', '[kworker/0:1]'],
  ];
  for (const [name, commandLine, command] of rows) {
    t.same(
      parseProcess({ stat: stat(name), status, commandLine }, { bootMs: 1_000 }),
      {
        pid: 4711,
        parentPid: 4700,
        uid: 33,
        state: 'S',
        cpuMs: 2_000,
        residentBytes: 256 * 4_096,
        startedAtMs: 1_000 + 123_450,
        command,
      },
      name,
    );
  }
});

t.test('a process that ended while it was read is left out', async t => {
  t.equal(parseProcess({ stat: '', status: '', commandLine: '' }, { bootMs: 0 }), undefined);
  t.equal(parseProcess({ stat: stat('x'), status: '', commandLine: '' }, { bootMs: 0 }), undefined);
});
