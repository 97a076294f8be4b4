/**
 * Facts of this machine: names, size, addresses. systeminformation is loaded on first use, since it costs memory.
 */
import * as os from 'node:os';
import type { Machine } from '../host.js';

const ociArchitectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

export const linuxMachine: Machine = {
  facts: async () => {
    const { default: systeminformation } = await import('systeminformation');
    const [system, memory] = await Promise.all([systeminformation.osInfo(), systeminformation.mem()]);
    return {
      hostname: os.hostname(),
      os: `${system.distro} ${system.release}`.trim(),
      architecture: ociArchitectures[os.arch()] ?? os.arch(),
      kernel: os.release(),
      cpuNanos: os.availableParallelism() * 1e9,
      memoryBytes: memory.total,
    };
  },
  addresses: () =>
    Object.entries(os.networkInterfaces()).flatMap(([interfaceName, entries]) =>
      (entries ?? [])
        .filter(entry => !entry.internal && !isLinkLocal(entry.address))
        .map(entry => ({ interfaceName, address: entry.address, family: entry.family })),
    ),
};

function isLinkLocal(address: string): boolean {
  return address.startsWith('169.254.') || /^fe[89ab]/i.test(address);
}
