/** An import does not hold up the daemon: its event loop turns, and its memory is as before. How late it is by the clock is for the bench. */
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { ociArchive, ociLayout, tarOf } from './archives.js';
import { bytesOf, importInto, isRoot, openTestStore } from './test-store.js';

const skip = isRoot ? false : 'needs root';
const mib = 2 ** 20;

/** What the main thread computed from turn to turn, ms of its own CPU: a machine that is busy with others does not count. */
function watchTurns(): { readonly stop: () => number[] } {
  const spent: number[] = [];
  const nowMs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1_000;
  };
  let lastMs = nowMs();
  const timer = setInterval(() => {
    const now = nowMs();
    spent.push(now - lastMs);
    lastMs = now;
  }, 1);
  return {
    stop: () => {
      clearInterval(timer);
      return spent;
    },
  };
}

t.test(
  'while 160 MiB are imported no turn of the event loop computes for more than 20 ms but for a few',
  { skip, timeout: 600_000 },
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
    const turns = watchTurns();
    await importInto(made.store, bytesOf(archive, mib));
    const sorted = turns.stop().toSorted((a, b) => a - b);
    const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
    t.ok(p99 <= 20, `99 of ${sorted.length} turns computed for at most ${p99.toFixed(1)} ms`);
    t.equal(made.store.list()[0]?.sizeBytes, 160_000_000);
  },
);
