/** Dockerfile instructions as `--change`: forms, and the errors that name them. */
import t from 'tap';
import { applyChanges, type RunDocument } from '../../../src/tasks/image/changes.js';

const table: readonly (readonly [changes: readonly string[], wanted: RunDocument])[] = [
  [[], {}],
  [['CMD ["httpd", "-f"]'], { Cmd: ['httpd', '-f'] }],
  [['CMD httpd -f'], { Cmd: ['/bin/sh', '-c', 'httpd -f'] }],
  [['cmd  []'], { Cmd: [] }],
  [['CMD ["not json'], { Cmd: ['/bin/sh', '-c', '["not json'] }],
  [['CMD [1, 2]'], { Cmd: ['/bin/sh', '-c', '[1, 2]'] }],
  [['CMD echo $HOME'], { Cmd: ['/bin/sh', '-c', 'echo $HOME'] }],
  [['ENTRYPOINT ["/init"]', 'CMD ["a"]'], { Entrypoint: ['/init'], Cmd: ['a'] }],
  [['ENTRYPOINT exec top'], { Entrypoint: ['/bin/sh', '-c', 'exec top'] }],
  [['ENV A=1 B="2 3" C=4\\ 5 D=\'$A\''], { Env: ['A=1', 'B=2 3', 'C=4 5', 'D=$A'] }],
  [['ENV A one two  three'], { Env: ['A=one two  three'] }],
  [['ENV A=1', 'ENV A=2 B=$A', `ENV PATH=/x:$\{A}`], { Env: ['A=2', 'B=1', 'PATH=/x:2'] }],
  [['ENV A="say \\"hi\\" \\$5"'], { Env: ['A=say "hi" $5'] }],
  [['ENV EMPTY='], { Env: ['EMPTY='] }],
  [['EXPOSE 80'], { ExposedPorts: { '80/tcp': {} } }],
  [['EXPOSE 80/UDP 8000-8001'], { ExposedPorts: { '80/udp': {}, '8000/tcp': {}, '8001/tcp': {} } }],
  [['LABEL a=b "c d"="e f"'], { Labels: { a: 'b', 'c d': 'e f' } }],
  [['USER www:www'], { User: 'www:www' }],
  [['WORKDIR /a', 'WORKDIR b/../c'], { WorkingDir: '/a/c' }],
  [['VOLUME /data /more'], { Volumes: { '/data': {}, '/more': {} } }],
  [['VOLUME ["/with blank"]'], { Volumes: { '/with blank': {} } }],
  [['STOPSIGNAL SIGQUIT'], { StopSignal: 'SIGQUIT' }],
  [['STOPSIGNAL 9'], { StopSignal: '9' }],
  [['STOPSIGNAL SIGRTMIN+3'], { StopSignal: 'SIGRTMIN+3' }],
  [['HEALTHCHECK NONE'], { Healthcheck: { Test: ['NONE'] } }],
  [['HEALTHCHECK CMD wget -q x'], { Healthcheck: { Test: ['CMD-SHELL', 'wget -q x'] } }],
  [
    ['HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=1.5s --start-interval=1s --retries=4 CMD ["a", "b"]'],
    {
      Healthcheck: {
        Test: ['CMD', 'a', 'b'],
        Interval: 90e9,
        Timeout: 5e8,
        StartPeriod: 15e8,
        StartInterval: 1e9,
        Retries: 4,
      },
    },
  ],
];

t.test('instructions give the config that Docker makes of them', async t => {
  for (const [changes, wanted] of table) t.same(applyChanges(changes), wanted, changes.join(' · '));
});

const bad: readonly string[] = [
  '',
  'CMD',
  'FROM scratch',
  'RUN x',
  'constructor x',
  'ENV A',
  'ENV =x',
  'ENV A="open',
  "ENV A='open",
  `ENV A=$\{A:-x}`,
  'EXPOSE x',
  'EXPOSE 0',
  'EXPOSE 70000',
  'EXPOSE 9-8',
  'EXPOSE 80/icmp',
  'LABEL novalue',
  'STOPSIGNAL SIG TERM',
  'STOPSIGNAL 0',
  'VOLUME [""]',
  'HEALTHCHECK',
  'HEALTHCHECK CMD',
  'HEALTHCHECK wget x',
  'HEALTHCHECK --interval=5 CMD x',
  'HEALTHCHECK --often=5s CMD x',
  'HEALTHCHECK --retries=x CMD y',
];

t.test('what is no instruction is refused, with the instruction in the message', async t => {
  for (const change of bad)
    t.throws(
      () => applyChanges(['USER ok', change]),
      { code: 'bad-argument', message: `Cannot apply the change "${change}"` },
      change,
    );
});
