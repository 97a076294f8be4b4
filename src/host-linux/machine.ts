/**
 * Facts of this machine: names, size, addresses. systeminformation is loaded on first use, since it costs memory; its
 * osInfo() is not used, since it runs `hostname --fqdn` synchronously, which blocks for as long as a resolver is away.
 */
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import type { Machine } from '../host.js';

const ociArchitectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

export const linuxMachine: Machine = {
  facts: async () => {
    const { default: systeminformation } = await import('systeminformation');
    const [release, memory] = await Promise.all([readOsRelease(), systeminformation.mem()]);
    return {
      hostname: os.hostname(),
      os: release,
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

/** PRETTY_NAME of os-release(5); the bare "Linux" where there is no such file. */
async function readOsRelease(): Promise<string> {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    const text = await fs.readFile(path, 'utf8').catch(() => '');
    const name = /^PRETTY_NAME=["']?(.*?)["']?$/m.exec(text)?.[1];
    if (name !== undefined) return name;
  }
  return 'Linux';
}

function isLinkLocal(address: string): boolean {
  return address.startsWith('169.254.') || /^fe[89ab]/i.test(address);
}
