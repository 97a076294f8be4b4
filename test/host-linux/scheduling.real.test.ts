import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';

const root = process.getuid?.() === 0 ? false : 'needs root';
/** 1: before all ordinary ones; 0: an ordinary one. */
const policyOf = (pid: number): string | undefined =>
  fs
    .readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ')[38];

t.test(
  'a process is let before others, its children are not, and it is an ordinary one again',
  { skip: root },
  async t => {
    const child = spawn('sh', ['-c', 'read go; sleep 1000 & echo $!; read end; kill $!'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const pid = child.pid ?? 0;
    if (!linuxHost.kernel.setUrgent(pid, true)) return t.pass('this machine does not let us');
    t.equal(policyOf(pid), '1');
    child.stdin.write('go\n');
    const grandchild = await new Promise<number>(resolve => child.stdout.once('data', data => resolve(Number(data))));
    t.equal(policyOf(grandchild), '0');
    t.equal(linuxHost.kernel.setUrgent(pid, false), true);
    t.equal(policyOf(pid), '0');
    const gone = new Promise(resolve => child.once('exit', resolve));
    child.stdin.end('end\n');
    await gone;
    t.equal(linuxHost.kernel.setUrgent(pid, true), false, 'who is gone is not');
    return undefined;
  },
);
