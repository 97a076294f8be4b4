/**
 * Rules for devices in the kernel: device nodes that a container makes itself open only where a rule says so. Runs on
 * whatever cgroup version this machine has; scripts/vm-test runs it a second time where version 2 is alone.
 */
import t from 'tap';
import { isEmulated, makeTask, openRig, whyNotReal } from './fixtures.js';

const why = whyNotReal();

/** Kinds and numbers that nobody may use by default. None has a driver: a rule is looked at before that is noticed. */
const nodes = ['c 241 11', 'c 240 5', 'b 240 7', 'b 240 8'];
const lookAtNodes = [
  'n=0',
  'look() { case $1 in *"not permitted") echo refused;; *) echo open;; esac; }',
  `for node in ${nodes.map(node => `"${node}"`).join(' ')}`,
  'do n=$((n+1)); mknod /dev/n$n $node',
  'echo "$node: read $(look "$( (true </dev/n$n) 2>&1 )"), write $(look "$( (true >>/dev/n$n) 2>&1 )")"; done',
].join('; ');

for (const [wanted, prefix] of [
  ['crun', 'cvdc'],
  ['runc', 'cvdr'],
] as const) {
  const skip = why || (isEmulated && wanted === 'runc' ? 'too slow here; crun shows it' : false);
  t.test(`device nodes that a container of ${wanted} makes open as its rules say`, { skip }, async t => {
    await using rig = await openRig(t, { prefix, wanted });
    const outcome = async (deviceCgroupRules: readonly string[]): Promise<readonly string[]> => {
      const task = makeTask({
        container: { command: ['sh', '-c', lookAtNodes], deviceCgroupRules },
      });
      await rig.run(task, 'complete');
      return (await rig.logs(task.id)).trim().split('\n');
    };
    const told = (answers: readonly string[]): readonly string[] =>
      nodes.map((node, at) => `${node}: read ${answers[at]?.split(' ')[0]}, write ${answers[at]?.split(' ')[1]}`);
    const [no, yes] = ['refused refused', 'open open'];
    t.strictSame(await outcome([]), told([no, no, no, no]));
    const some = ['c 241:11 r', 'c 240:* w', 'b 240:7 rw'];
    t.strictSame(await outcome(some), told(['open refused', 'refused open', yes, no]));
    if (wanted === 'crun') t.strictSame(await outcome(['a *:* rwm']), told([yes, yes, yes, yes]));
  });
}
