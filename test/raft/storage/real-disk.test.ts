/** The disk of this machine. */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import t from 'tap';
import { createRealDisk } from '../../../src/raft/storage/real-disk.js';

t.test(
  'a file that is mostly zeros is read as it is, whole and in part, and takes memory for what is in it',
  async t => {
    const folder = t.testdir({});
    const mebi = 2 ** 20;
    const content = Buffer.alloc(16 * mebi);
    for (const [at, size] of [
      [0, 100],
      [mebi - 1, 2],
      [5 * mebi + 65_535, 1],
      [16 * mebi - 1, 1],
    ] as const)
      randomBytes(size).fill(7, 0, 1).copy(content, at);
    fs.writeFileSync(`${folder}/segment`, content);
    const file = createRealDisk().open(`${folder}/segment`, 'read');
    t.ok(Buffer.compare(file.read(0, file.sizeBytes()), content) === 0, 'whole');
    t.same(file.read(mebi - 3, 10), content.subarray(mebi - 3, mebi + 7));
    t.equal(file.read(16 * mebi - 10, 100).length, 10, 'shorter at the end of the file');
    t.equal(file.read(17 * mebi, 100).length, 0);
    const resident = (): number => process.memoryUsage.rss();
    const before = resident();
    const kept = Array.from({ length: 16 }, () => file.read(0, 16 * mebi));
    const grown = (resident() - before) / mebi;
    t.ok(grown < 128, `${kept.length} times 16 MiB of zeros take ${grown} MiB`);
    file.close();
  },
);
