import t from 'tap';
import { asId, type TaskId } from '../../../src/ids.js';
import type { GroupUsage } from '../../../src/tasks/cgroup/usage.js';
import { figuresOf, parseTraffic } from '../../../src/tasks/usage/stats.js';

const id = asId<TaskId>('a'.repeat(25));
const usage = (over: Partial<GroupUsage>): GroupUsage => ({
  ...{ memoryBytes: 0, fileBytes: 0, inactiveFileBytes: 0, cpuNanos: 0, periods: 0, throttledPeriods: 0 },
  ...{ pids: 1, pidsRefused: 0, readBytes: 0, writeBytes: 0 },
  ...over,
});
const around = { before: undefined, limitBytes: 100, network: { receivedBytes: 1, sentBytes: 2 }, wallMs: 9 };

t.test('the share of CPU is what was spent between two looks, of one processor', async t => {
  const before = { atMs: 1_000, usage: usage({ cpuNanos: 5e9 }) };
  const now = { atMs: 3_000, usage: usage({ cpuNanos: 8e9 }) };
  t.equal(figuresOf(id, now, { ...around, before }).cpuPercent, 150);
  t.equal(figuresOf(id, now, around).cpuPercent, 0, 'one look says nothing');
  t.equal(figuresOf(id, now, { ...around, before: now }).cpuPercent, 0, 'nor do two at one moment');
});

t.test('memory is told without pages of files that nobody uses', async t => {
  const look = { atMs: 0, usage: usage({ memoryBytes: 50, inactiveFileBytes: 20 }) };
  t.match(figuresOf(id, look, around), { memoryBytes: 30, memoryLimitBytes: 100, receivedBytes: 1, sentBytes: 2 });
});

t.test('traffic is that of all interfaces but the loopback', async t => {
  const text = [
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '    lo:  500       5    0    0    0     0          0         0      500       5    0    0    0     0       0          0',
    '  eth0: 1000      10    0    0    0     0          0         0     2000      10    0    0    0     0       0          0',
    '  eth1:    1       1    0    0    0     0          0         0        2       1    0    0    0     0       0          0',
  ].join('\n');
  t.strictSame(parseTraffic(text), { receivedBytes: 1001, sentBytes: 2002 });
  t.strictSame(parseTraffic(''), { receivedBytes: 0, sentBytes: 0 });
});
