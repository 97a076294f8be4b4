// What encryption costs: one TCP stream through a tunnel inside WireGuard of the kernel over the same in the clear, between two network
// namespaces of a virtual machine (scripts/vm-test), where WireGuard is whatever this machine's own kernel has. The machine is
// emulated in software, ciphers too, so that the ratio is far below that of hardware: it is reported, and no target.
import { execFile, execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { metric } from './stats.mjs';

const program = fileURLToPath(new URL('../vm-test', import.meta.url));
const rounds = 3;
const timeoutS = 240;

export async function* metrics({ signal, say }) {
  const obstacle = execFileSync(program, ['--why'], { encoding: 'utf8' }).trim();
  if (obstacle !== '') throw new Error(`Cannot measure WireGuard: ${obstacle}`);
  say('a virtual machine comes up');
  const command = `rounds=${rounds} bash scripts/bench/wireguard-vm.sh`;
  const argv = ['--network', '--timeout', String(timeoutS), '--', command];
  const { stdout } = await promisify(execFile)(program, argv, { signal });
  const found = [...stdout.matchAll(/^::round ([\d.]+) ([\d.]+)$/gm)].map(([, plain, secure]) =>
    [plain, secure].map(Number),
  );
  if (found.length !== rounds) throw new Error(`Cannot measure WireGuard: ${stdout.trim().split('\n').at(-1)}`);
  const [plain, secure] = [0, 1].map(at => found.map(pair => pair[at]));
  yield metric('wireguard_mbit', 'Mbit/s', secure, plain);
  yield metric(
    'wireguard_ratio',
    'ratio',
    found.map(([clear, encrypted]) => encrypted / clear),
  );
}
