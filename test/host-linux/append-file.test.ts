/** Files that grow at their end, on the real file system. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import t from 'tap';
import { openAppendFile } from '../../src/host-linux/append-file.js';

async function folder(test: typeof t): Promise<string> {
  const path = await mkdtemp('/tmp/covey-append-');
  test.teardown(() => rm(path, { recursive: true }));
  return path;
}

t.test('what is appended follows on what was there', async () => {
  const path = `${await folder(t)}/log`;
  const large = Buffer.alloc(200_000, 'x');
  {
    await using file = await openAppendFile(path);
    await file.append([Buffer.from('one '), Buffer.from('two ')]);
    await file.sync();
    t.equal(file.sizeBytes(), 8);
  }
  await using file = await openAppendFile(path);
  t.equal(file.sizeBytes(), 8);
  await file.append([large]);
  t.equal(file.sizeBytes(), 200_008);
  await file.truncate(4);
  await file.append([Buffer.from('three')]);
  t.equal(await readFile(path, 'utf8'), 'one three');
});

t.test('a full disk is told by its own code, with the path', async t => {
  await using file = await openAppendFile('/dev/full');
  await t.rejects(file.append([Buffer.from('x')]), {
    code: 'no-space',
    message: 'Cannot write to "/dev/full": ENOSPC',
  });
  await t.rejects(file.append([Buffer.alloc(100_000)]), { code: 'no-space' });
});

t.test('a folder that does not exist is told', async t => {
  await t.rejects(openAppendFile('/nonexistent/log'), { code: 'not-found' });
});
