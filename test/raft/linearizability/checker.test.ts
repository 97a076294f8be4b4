/** The checker of histories, checked itself: by hand-made cases, and by recorded histories with known answers. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { judgeHistory } from './histories.js';
import { findHistories, listHistories } from './main.js';

const log = (...lines: readonly string[]) =>
  lines.map(line => `INFO  jepsen.util - ${line.replaceAll(' ', '\t')}`).join('\n');

const cases: readonly { readonly title: string; readonly text: string; readonly legal: boolean }[] = [
  { title: 'an empty history is linearizable', text: '', legal: true },
  {
    title: 'a read sees the write that returned before it',
    text: log('0 :invoke :write 1', '0 :ok :write 1', '1 :invoke :read nil', '1 :ok :read 1'),
    legal: true,
  },
  {
    title: 'a stale read is illegal',
    text: log('0 :invoke :write 1', '0 :ok :write 1', '1 :invoke :read nil', '1 :ok :read nil'),
    legal: false,
  },
  {
    title: 'a read during a write may see either value',
    text: log('0 :invoke :write 1', '1 :invoke :read nil', '1 :ok :read nil', '0 :ok :write 1'),
    legal: true,
  },
  {
    title: 'two reads during a write may not go back in time',
    text: log(
      '0 :invoke :write 1',
      '1 :invoke :read nil',
      '1 :ok :read 1',
      '1 :invoke :read nil',
      '1 :ok :read nil',
      '0 :ok :write 1',
    ),
    legal: false,
  },
  {
    title: 'a write whose outcome is unknown may show up much later',
    text: log(
      '0 :invoke :write 1',
      '0 :info :write :timed-out',
      '1 :invoke :read nil',
      '1 :ok :read nil',
      '1 :invoke :read nil',
      '1 :ok :read 1',
    ),
    legal: true,
  },
  {
    title: 'a write whose outcome is unknown happens once at most',
    text: log(
      '0 :invoke :write 1',
      '0 :info :write :timed-out',
      '1 :invoke :read nil',
      '1 :ok :read 1',
      '1 :invoke :write 2',
      '1 :ok :write 2',
      '1 :invoke :read nil',
      '1 :ok :read 1',
    ),
    legal: false,
  },
  {
    title: 'a write that failed never shows',
    text: log('0 :invoke :write 1', '0 :fail :write 1', '1 :invoke :read nil', '1 :ok :read 1'),
    legal: false,
  },
  {
    title: 'a cas that failed on the right value is illegal',
    text: log('0 :invoke :write 1', '0 :ok :write 1', '1 :invoke :cas [1 2]', '1 :fail :cas [1 2]'),
    legal: false,
  },
  {
    title: 'a read that timed out says nothing',
    text: log('0 :invoke :read nil', '0 :fail :read :timed-out'),
    legal: true,
  },
  {
    title: 'the nemesis is passed over',
    text: log(':nemesis :info :start nil', '0 :invoke :read nil', '0 :ok :read nil'),
    legal: true,
  },
  {
    title: 'appends of one key show in order; other keys do not matter',
    text: [
      '{:process 0, :type :invoke, :f :append, :key "a", :value "x"}',
      '{:process 0, :type :ok, :f :append, :key "a", :value "x"}',
      '{:process 1, :type :invoke, :f :append, :key "b", :value "\\"q"}',
      '{:process 1, :type :ok, :f :append, :key "b", :value "\\"q"}',
      '{:process 0, :type :invoke, :f :get, :key "a", :value nil}',
      '{:process 0, :type :ok, :f :get, :key "a", :value "x"}',
    ].join('\n'),
    legal: true,
  },
  {
    title: 'a get that misses an append is illegal',
    text: [
      '{:process 0, :type :invoke, :f :append, :key "a", :value "x"}',
      '{:process 0, :type :ok, :f :append, :key "a", :value "x"}',
      '{:process 0, :type :invoke, :f :get, :key "a", :value nil}',
      '{:process 0, :type :ok, :f :get, :key "a", :value ""}',
    ].join('\n'),
    legal: false,
  },
];

for (const { title, text, legal } of cases) {
  t.test(title, async t => t.equal(judgeHistory(text).kind, legal ? 'linearizable' : 'illegal'));
}

const folder = findHistories();
t.test(
  'every recorded history with a known answer is judged right',
  { skip: folder ? false : 'no vectors beside the project; COVEY_VECTORS names them' },
  async t => {
    const known = listHistories(folder!);
    t.ok(known.length > 0);
    for (const { name, path, linearizable } of known) {
      t.equal(judgeHistory(readFileSync(path, 'utf8')).kind, linearizable ? 'linearizable' : 'illegal', name);
    }
  },
);
