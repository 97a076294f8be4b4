// The hour of load.mjs on a machine with one core: this process, and with it the daemons, their containers, the clients and the
// load, may run on the last core only. Nobody is elected, nobody is taken for lost. A round is a minute.
import { execFileSync } from 'node:child_process';
import { run as runLoad } from './load.mjs';

export async function run({ rounds, say }) {
  const core = lastCore();
  execFileSync('taskset', ['--all-tasks', '--pid', '--cpu-list', String(core), String(process.pid)]);
  say(`everything runs on core ${core}`);
  return await runLoad({ rounds, say, name: 'tlc' });
}

/** Of those that this process may use. */
function lastCore() {
  const said = execFileSync('taskset', ['--pid', '--cpu-list', String(process.pid)], { encoding: 'utf8' });
  return Number(/(\d+)\s*$/.exec(said)[1]);
}
