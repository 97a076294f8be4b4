/** Settings of the cluster: what is valid, and what an update leaves alone. */
import t from 'tap';
import { specAfter } from '../../../src/daemon/control/cluster.js';

const spec = {
  pool: '10.201.0.0/16',
  poolPieceBits: 20,
  taskHistoryMax: 5,
  certificateDays: 90,
  heartbeatMs: 1_000,
  lostAfterMs: 10_000,
  dataPort: 7378,
};

t.test('an update changes what it names and nothing else', t => {
  t.same(specAfter(spec, { certificateGraceDays: 0 }), { ...spec, certificateGraceDays: 0 });
  t.same(specAfter({ ...spec, certificateGraceDays: 7 }, { certificateDays: 365, lostAfterMs: undefined }), {
    ...spec,
    certificateDays: 365,
    certificateGraceDays: 7,
  });
  t.same(specAfter(spec, { heartbeatMs: 30_000, lostAfterMs: 120_000 }), {
    ...spec,
    heartbeatMs: 30_000,
    lostAfterMs: 120_000,
  });
  t.end();
});

t.test('what makes no sense is refused with what would', t => {
  const rows = [
    [{}, /none is named/],
    [{ certificateDays: 0 }, /certificateDays is 0; 1 to 3650 days/],
    [{ certificateGraceDays: 4_000 }, /0 to 3650 days/],
    [{ heartbeatMs: 5 }, /100 to 600000 ms/],
    [{ lostAfterMs: 2_000 }, /lost after 2000 ms, and heard of every 1000 ms/],
    [{ heartbeatMs: 5_000 }, /lost after 10000 ms, and heard of every 5000 ms/],
  ] as const;
  for (const [change, state] of rows) t.throws(() => specAfter(spec, change), { code: 'bad-argument', state });
  t.end();
});
