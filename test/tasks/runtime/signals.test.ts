import t from 'tap';
import { isDeafTo, parseSignal } from '../../../src/tasks/runtime/signals.js';

t.test('signals by name and number', async t => {
  const rows = {
    SIGTERM: 15,
    term: 15,
    TERM: 15,
    SIGKILL: 9,
    '15': 15,
    SIGUSR1: 10,
    SIGWINCH: 28,
    SIGPOLL: 29,
    'SIGRTMIN+3': 37,
    SIGRTMAX: 64,
    'SIGRTMAX-1': 63,
  };
  for (const [text, number] of Object.entries(rows)) t.equal(parseSignal(text), number, text);
  for (const text of ['', 'SIGFUN', '0', '65', '-1', 'SIGRTMIN-1', 'RTMAX+1'])
    t.throws(() => parseSignal(text), { code: 'bad-bundle' }, text);
});

const TERM = 15;
const bit = (1n << 14n).toString(16).padStart(16, '0');
const none = '0'.repeat(16);
const status = (masks: { readonly blk?: string; readonly ign?: string; readonly cgt?: string } = {}): string =>
  `Name:\tx\nSigPnd:\t${none}\nSigBlk:\t${masks.blk ?? none}\nSigIgn:\t${masks.ign ?? none}\nSigCgt:\t${masks.cgt ?? none}\n`;
const thread = (text: string, syscall = '35 0x7ffc 0x0 0x0 0x0 0x0 0x0 0x7ffc 0x7f', after = syscall) => ({
  status: text,
  syscallBefore: syscall,
  syscallAfter: after,
});

t.test('only who surely does not hear a signal is called deaf', async t => {
  const rows: readonly (readonly [string, Parameters<typeof isDeafTo>[1], boolean])[] = [
    ['sleep', [thread(status())], true],
    ['a shell with a trap', [thread(status({ cgt: bit }))], false],
    ['who blocks it may read it from a signalfd', [thread(status({ blk: bit }))], false],
    ['who ignores it does so on purpose', [thread(status({ ign: bit }))], false],
    ['tini sits in rt_sigtimedwait', [thread(status(), '128 0x1 0x2 0x0 0x8 0x0 0x0 0x7f 0x7f')], false],
    ['a thread of it blocks it', [thread(status()), thread(status({ blk: bit }))], false],
    ['a thread of it sits in rt_sigtimedwait', [thread(status()), thread(status(), '128 0x1 0x2 0x0 0x8')], false],
    ['it ran while it was looked at', [thread(status(), 'running')], false],
    ['it moved on while it was looked at', [thread(status(), '35 0x1', '128 0x1')], false],
    ['nothing can be read', [thread('', '')], false],
    ['it is gone', [], false],
  ];
  for (const [name, threads, deaf] of rows) t.equal(isDeafTo(TERM, threads, 'x64'), deaf, name);
  t.equal(isDeafTo(TERM, [thread(status())], 'riscv64'), false, 'whose calls have other numbers is never called deaf');
  t.equal(isDeafTo(TERM, [thread(status(), '137 0x1')], 'arm64'), false);
});
