/** An import does not hold up the daemon: its event loop turns, and its memory is as before. */
import { randomBytes } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { ociArchive, ociLayout, tarOf } from './archives.js';
import { bytesOf, importInto, isRoot, openTestStore } from './test-store.js';

const skip = isRoot ? false : 'needs root';
const mib = 2 ** 20;

t.test(
  'while 160 MiB are imported the event loop is not late by more than 20 ms but for a few times',
  { skip, timeout: 120_000 },
  async t => {
    await using made = await openTestStore();
    const noise = randomBytes(mib);
    const files = Array.from({ length: 1_600 }, (_none, at) => ({
      path: `usr/lib/${at}`,
      data: at % 2 === 0 ? noise.subarray(0, 100_000) : Buffer.alloc(100_000, at),
    }));
    const layer = tarOf(files);
    const archive = ociArchive(
      ociLayout([{ layers: [layer], names: ['large:1'], compress: bytes => gzipSync(bytes, { level: 1 }) }]),
    );
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await importInto(made.store, bytesOf(archive, mib));
    delay.disable();
    const p99 = delay.percentile(99) / 1e6;
    t.ok(p99 <= 20, `99 of 100 turns took at most ${p99.toFixed(1)} ms`);
    t.equal(made.store.list()[0]?.sizeBytes, 160_000_000);
  },
);
