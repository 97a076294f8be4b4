import t from 'tap';
import { renderFindings, withPort } from '../../../src/cli/commands/cluster.js';
import { execExitCode } from '../../../src/cli/commands/exec.js';
import { logsRequest, openLinePrinter, parseMoment } from '../../../src/cli/commands/service/logs.js';
import { renderPlan } from '../../../src/cli/commands/stack.js';
import { readFlags } from '../../../src/cli/flags.js';
import { CoveyError } from '../../../src/errors.js';
import type { LogsLine } from '../../../src/gen/types.js';
import { asId, type TaskId } from '../../../src/ids.js';

t.test('an address without a port gets that of the cluster', async t => {
  const rows = [
    ['10.0.0.11', '10.0.0.11:7377'],
    ['10.0.0.11:99', '10.0.0.11:99'],
    ['rack1', 'rack1:7377'],
    ['fd00::1', '[fd00::1]:7377'],
    ['[fd00::1]', '[fd00::1]:7377'],
    ['[fd00::1]:99', '[fd00::1]:99'],
  ] as const;
  for (const [address, expected] of rows) t.equal(withPort(address), expected, address);
  t.throws(() => withPort('rack1:port'), { code: 'bad-argument' });
});

t.test('findings stand one a line, their remedy below them where the screen is narrow', async t => {
  const findings = [
    { level: 'ok', code: 'no-crun', message: 'crun 1.8.1 starts a container in 21 ms', hint: '' },
    {
      level: 'warn',
      code: 'no-wireguard',
      message: 'WireGuard missing: encrypted networks can’t use this node',
      hint: '',
    },
    { level: 'fail', code: 'no-conmon', message: 'no conmon', hint: 'apt-get install conmon' },
  ] as const;
  t.same(renderFindings(findings, { colours: false, columns: undefined }), [
    'ok      crun 1.8.1 starts a container in 21 ms',
    'warn    WireGuard missing: encrypted networks can’t use this node  (covey explain no-wireguard)',
    'fail    no conmon  (apt-get install conmon)',
  ]);
  t.same(renderFindings(findings, { colours: false, columns: 50 }), [
    'ok      crun 1.8.1 starts a container in 21 ms',
    'warn    WireGuard missing: encrypted networks',
    '        can’t use this node',
    '        (covey explain no-wireguard)',
    'fail    no conmon  (apt-get install conmon)',
  ]);
});

t.test('a plan counts by kind, then names each change', async t => {
  const change = (
    kind: 'create' | 'update' | 'remove' | 'unchanged',
    object: string,
    name: string,
    ...details: string[]
  ) => ({ kind, object, name, details });
  t.same(
    renderPlan('shop', {
      changes: [
        change('create', 'service', 'mailer', '2 replicas of mailer:4'),
        change('update', 'service', 'web', 'image web:1 -> web:2', 'update 1 at a time'),
        change('unchanged', 'service', 'db'),
        change('unchanged', 'network', 'default'),
        change('update', 'secret', 'db-password', 'new version, rolls: web'),
      ],
    }),
    [
      'shop: 1 service new, 1 changed, 1 unchanged, 1 secret changed',
      '  + service  mailer       2 replicas of mailer:4',
      '  ~ service  web          image web:1 -> web:2 · update 1 at a time',
      '  ~ secret   db-password  new version, rolls: web',
    ],
  );
  t.same(renderPlan('shop', { changes: [] }), ['shop: nothing to do']);
});

t.test('logs are asked for of a service, or of tasks', async t => {
  const flags = (values: Readonly<Record<string, unknown>> = {}): ReturnType<typeof readFlags> =>
    readFlags(new Map(Object.entries(values)));
  t.match(logsRequest(['web'], flags(), 0), { service: 'web', tasks: [], follow: false, tail: -1, sinceMs: 0 });
  t.match(logsRequest(['web.2'], flags({ tail: '5', follow: true }), 0), {
    service: '',
    tasks: ['web.2'],
    follow: true,
    tail: 5,
  });
  t.equal(parseMoment('--since', '10m', 1_000_000_000), 999_400_000);
  t.equal(parseMoment('--since', '2026-11-20T12:00:00Z', 0), Date.UTC(2026, 10, 20, 12));
  t.throws(() => parseMoment('--since', 'yesterday', 0), { code: 'bad-argument' });
});

t.test('lines of a log begin with their task; parts of a line are put together', async t => {
  const line = (text: string, fields: Partial<LogsLine> = {}): LogsLine => ({
    taskId: asId<TaskId>('t1'),
    taskName: 'web.1',
    nodeName: 'rack1',
    data: { stream: 'stdout', data: new TextEncoder().encode(text), eof: false, atMs: 1_800_000_000_000 },
    ...fields,
  });
  const print = (values: Readonly<Record<string, unknown>>, lines: readonly LogsLine[]): string => {
    const printer = openLinePrinter(readFlags(new Map(Object.entries(values))));
    return lines.map(one => new TextDecoder().decode(printer.print(one))).join('');
  };
  t.equal(
    print({}, [line('a\n'), line('b\n', { taskName: 'web.10' }), line('c\n')]),
    'web.1@rack1 | a\nweb.10@rack1 | b\nweb.1@rack1  | c\n',
  );
  t.equal(print({}, [line('long '), line('line\n'), line('next\n')]), 'web.1@rack1 | long line\nweb.1@rack1 | next\n');
  t.equal(print({ 'no-task-ids': true, timestamps: true }, [line('a\n')]), '2027-01-15T08:00:00.000Z a\n');
  t.equal(print({ raw: true }, [line('a\n')]), 'a\n');
});

t.test('exec ends as Docker’s does', async t => {
  t.equal(execExitCode(new CoveyError('command-not-found', 'x')), 127);
  t.equal(execExitCode(new CoveyError('exec-failed', 'x')), 126);
  t.equal(execExitCode(new CoveyError('internal', 'x')), 125);
  t.equal(execExitCode(new CoveyError('no-daemon', 'x')), 6);
  t.equal(execExitCode(new CoveyError('not-found', 'x')), 4);
});
