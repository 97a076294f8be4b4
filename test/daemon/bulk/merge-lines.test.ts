import t from 'tap';
import { openLineMerge } from '../../../src/daemon/bulk/merge-lines.js';
import type { LogsLine } from '../../../src/gen/types.js';
import { asId, type TaskId } from '../../../src/ids.js';
import { makeFakeClock } from '../../fake-clock.js';

function line(atMs: number, text: string): LogsLine {
  const data = Buffer.from(text);
  return {
    taskId: asId<TaskId>('t'),
    taskName: 'web.1',
    nodeName: 'n',
    data: { stream: 'stdout', data, eof: false, atMs },
  };
}

function open() {
  const clock = makeFakeClock();
  const ending = new AbortController();
  const merge = openLineMerge(clock, ending.signal);
  const texts: string[] = [];
  const reading = (async () => {
    for await (const one of merge.take()) texts.push(Buffer.from(one.data?.data ?? []).toString());
  })();
  const settle = async (): Promise<string> => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
    return texts.splice(0).join(' ');
  };
  return { clock, ending, merge, reading, settle };
}

t.test('lines come in the order of their times, whichever source is faster', async t => {
  const { merge, reading, settle } = open();
  const [a, b] = [merge.open(), merge.open()];
  await a.push(line(1, 'a1'));
  await a.push(line(4, 'a4'));
  t.equal(await settle(), '', 'b has not shown its first line');
  await b.push(line(2, 'b2'));
  t.equal(await settle(), 'a1 b2', 'b may have one before a4');
  b.end();
  t.equal(await settle(), 'a4');
  a.end();
  merge.close();
  await reading;
});

t.test('a live source, and one that keeps the others waiting for too long, are not waited for', async t => {
  const { clock, merge, reading, settle } = open();
  const [a, b, c] = [merge.open(), merge.open(), merge.open()];
  b.live();
  await a.push(line(5, 'a5'));
  t.equal(await settle(), '');
  await clock.advance(2_100);
  t.equal(await settle(), 'a5', 'c says nothing');
  a.live();
  c.live();
  await b.push(line(9, 'b9'));
  await a.push(line(8, 'a8'));
  t.match(await settle(), /^(a8 b9|b9 a8)$/);
  for (const source of [a, b, c]) source.end();
  merge.close();
  await reading;
});

t.test('a source waits when its reader does not read, and is let go when all is over', async t => {
  const { ending, merge, reading } = open();
  const [a] = [merge.open(), merge.open()]; // the other one holds the reader up
  let pushed = 0;
  const pushing = (async () => {
    for (; pushed < 100 && !ending.signal.aborted; pushed += 1) await a?.push(line(pushed, 'x'.repeat(1_024)));
  })();
  for (let turn = 0; turn < 500; turn += 1) await Promise.resolve();
  t.ok(pushed < 20, `${pushed} lines wait`);
  ending.abort();
  await pushing;
  await t.rejects(reading);
});
