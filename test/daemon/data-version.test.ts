/** A data directory that a newer covey wrote is refused with both versions named. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { refusalOf, stampDataDir } from '../../src/daemon/data-version.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { dataFormat, version } from '../../src/version.js';

t.test('a downgrade is refused, an update is not, and what says nothing is told', async t => {
  const own = { format: 3, version: '1.2.0' };
  t.equal(refusalOf('{"format":3,"version":"1.9.0"}', own), undefined, 'the same format of a later version');
  t.equal(refusalOf('{"format":1,"version":"0.1.0"}', own), undefined);
  t.match(refusalOf('{"format":4,"version":"2.0.0"}', own), {
    code: 'newer-schema',
    state: /covey 2\.0\.0 wrote it in format 4; this is covey 1\.2\.0, which reads up to format 3/,
  });
  for (const text of ['', '{', '[]', '{"format":"x"}', 'null'])
    t.equal(refusalOf(text, own)?.code, 'state-damaged', text);
});

t.test('the directory is stamped once, and left alone when it is refused', async t => {
  const dir = t.testdir();
  const path = join(dir, 'version.json');
  await stampDataDir(linuxHost.files, dir);
  t.same(JSON.parse(readFileSync(path, 'utf8')), { format: dataFormat, version });
  await stampDataDir(linuxHost.files, dir);
  const newer = `{"format":${dataFormat + 1},"version":"9.0.0"}\n`;
  writeFileSync(path, newer);
  mkdirSync(join(dir, 'raft'));
  await t.rejects(stampDataDir(linuxHost.files, dir), { code: 'newer-schema' });
  t.equal(readFileSync(path, 'utf8'), newer);
});
