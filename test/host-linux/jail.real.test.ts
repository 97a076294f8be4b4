/** The jail in which layers are unpacked, seen from inside by a process that tries to get out. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';

const skip = process.getuid?.() === 0 ? false : 'needs root';

/** Runs in a process of its own: what it enters it cannot leave. Prints one line of JSON. */
const prisoner = `
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { linuxJail } from ${JSON.stringify(new URL('../../src/host-linux/jail.js', import.meta.url))};
import { startTar } from ${JSON.stringify(new URL('../../src/tasks/image/unpack-tar.js', import.meta.url))};
const [work, outside, mounted, readable] = process.argv.slice(1);
linuxJail.enterJail(work, [readable]);
const attempt = action => { try { return String(action() ?? 'done'); } catch (error) { return error.code; } };
const run = (...argv) => { const ended = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8' }); return ended.status === 0 ? ended.stdout.trim() : 'failed'; };
fs.mkdirSync(work + '/tree');
spawnSync('mknod', [work + '/null', 'c', '1', '3']);
fs.copyFileSync('/bin/true', work + '/true');
fs.chmodSync(work + '/true', 0o4755);
const tar = startTar(work + '/tree', { offline: false, makePipe: linuxJail.makePipe });
const pid = fs.readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8').trim().split(' ').at(-1);
const status = () => fs.readFileSync('/proc/' + pid + '/status', 'utf8');
for (const until = Date.now() + 5_000; Date.now() < until && !/^Name:\\s+tar$/m.test(status()); );
const found = {
  writeInside: attempt(() => fs.writeFileSync(work + '/x', 'x')),
  writeOutside: attempt(() => fs.writeFileSync(outside + '/x', 'x')),
  childWritesInside: run('touch', work + '/y'),
  childWritesOutside: run('touch', outside + '/y'),
  childWritesRoot: run('touch', '/covey-jail-escaped'),
  childRemounts: run('setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin', '--', 'mount', '-o', 'remount,rw,bind', '/'),
  openDevice: attempt(() => fs.closeSync(fs.openSync(work + '/null', 'r'))),
  runProgram: run(work + '/true'),
  network: run('cat', '/proc/self/net/dev').split('\\n').slice(2).map(line => line.trim().split(':')[0]).join(),
  seesMount: fs.readFileSync('/proc/thread-self/mountinfo', 'utf8').includes(mounted),
  seesReadable: fs.readFileSync(readable + '/file', 'utf8'),
  tarCapabilities: /^CapEff:\\s+(\\w+)$/m.exec(status())?.[1],
  tarNoNewPrivileges: /^NoNewPrivs:\\s+(\\d)$/m.exec(status())?.[1],
};
tar.kill();
process.stdout.write(JSON.stringify(found) + '\\n', () => process.exit(0));
`;

t.test('in the jail only the work folder can be written, and there is no network', { skip }, async t => {
  const scratch = fs.mkdtempSync('/tmp/covey-image-jail-');
  const [work, outside, mounted, readable] = ['work', 'outside', 'mounted', 'readable'].map(name =>
    join(scratch, name),
  );
  if (work === undefined || outside === undefined || mounted === undefined || readable === undefined)
    throw new Error('no paths');
  for (const path of [work, outside, mounted, readable]) fs.mkdirSync(path);
  for (const target of [mounted, readable])
    linuxHost.kernel.mount({ source: 'tmpfs', target, type: 'tmpfs', flags: 0, data: 'size=1m' });
  fs.writeFileSync(join(readable, 'file'), 'still here');
  try {
    const text = execFileSync(
      process.execPath,
      ['--input-type=module', '--eval', prisoner, work, outside, mounted, readable],
      { encoding: 'utf8' },
    );
    const { tarCapabilities, ...found } = JSON.parse(text);
    t.same(found, {
      writeInside: 'done',
      writeOutside: 'EROFS',
      childWritesInside: '',
      childWritesOutside: 'failed',
      childWritesRoot: 'failed',
      childRemounts: 'failed',
      openDevice: 'EACCES',
      runProgram: 'failed',
      network: 'lo',
      seesMount: false,
      seesReadable: 'still here',
      tarNoNewPrivileges: '1',
    });
    // chown, dac_override, fowner, fsetid, mknod, setfcap.
    t.equal(
      BigInt(`0x${tarCapabilities}`),
      [0n, 1n, 3n, 4n, 27n, 31n].reduce((all, bit) => all | (1n << bit), 0n),
      tarCapabilities,
    );
    t.ok(fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(mounted), 'the host keeps its mounts');
    t.doesNotThrow(() => fs.writeFileSync(join(outside, 'z'), 'x'), 'and may write');
  } finally {
    for (const target of [mounted, readable]) linuxHost.kernel.unmount(target);
    fs.rmSync(scratch, { recursive: true });
  }
});
