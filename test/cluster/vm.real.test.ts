/**
 * The tests of limits, pauses and rules for devices once more, in a virtual machine where cgroup version 2 is alone: one
 * result here for each there. Skipped, with the reason, where no virtual machine can be started.
 */
import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';

const files = ['usage/limits-watch', 'usage/limits-hit', 'usage/kills', 'pause', 'device-rules'].map(
  name => `dist/test/tasks/${name}.real.test.js`,
);
const program = join('scripts', 'vm-test');
const timeoutS = 240;

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  return execFileSync(program, ['--why'], { encoding: 'utf8' }).trim() || false;
}

t.test('limits, pauses and rules for devices hold on cgroup version 2', { skip: whyNot() }, async t => {
  const machine = spawn(program, ['--timeout', String(timeoutS), ...files], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => machine.kill('SIGTERM'));
  const seen = new Set<string>();
  let file = '';
  let told: string[] = [];
  const last: string[] = [];
  for await (const line of createInterface({ input: machine.stdout })) {
    file = /^# ::vm-file (\S+)$/.exec(line)?.[1] ?? file;
    told.push(line);
    if (last.push(line) > 40) last.shift();
    const [, failed, title] = /^(?: {4})?(not )?ok \d+ - (.*?)(?: # time=.*)?$/.exec(line) ?? [];
    if (title === undefined) continue;
    seen.add(file);
    if (failed === undefined) t.pass(`${file}: ${title}`);
    else t.fail(`${file}: ${title}`, { told: told.slice(-60).join('\n') });
    told = [];
  }
  const lacking = files.filter(one => !seen.has(one));
  t.strictSame(lacking, [], `each file gave results; the machine's last words:\n${last.join('\n')}`);
});
