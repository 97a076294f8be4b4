/** Facts of this very machine. */
import * as os from 'node:os';
import t from 'tap';
import { linuxMachine } from '../../src/host-linux/machine.js';

t.test('the hardware is found out, and none of it is nonsense', async t => {
  const found = await linuxMachine.hardware();
  t.not(found.cpuModel, '');
  t.ok(found.cpuSockets >= 1 && found.cpuCores >= 1 && found.cpuCores <= os.cpus().length, JSON.stringify(found));
  t.ok(
    found.disks.every(({ name, sizeBytes }) => name !== '' && sizeBytes > 0),
    JSON.stringify(found.disks),
  );
  for (const { mac, speedMbps } of found.interfaces) {
    t.match(mac, /^([0-9a-f]{2}:)+[0-9a-f]{2}$/);
    t.ok(Number.isInteger(speedMbps) && speedMbps >= 0);
  }
});

t.test('the facts that placement asks for come without any program', async t => {
  const facts = await linuxMachine.facts();
  t.match(facts, { hostname: os.hostname(), kernel: os.release() });
  t.ok(facts.cpuNanos >= 1e9 && facts.memoryBytes > 0);
});
