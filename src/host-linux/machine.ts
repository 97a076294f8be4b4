/**
 * Facts of this machine: names, size, addresses. systeminformation is loaded on first use, since it costs memory; its
 * osInfo() is not used, since it runs `hostname --fqdn` synchronously, which blocks for as long as a resolver is away.
 */
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import type { HardwareFacts, Machine } from '../host.js';

/** Of each kind; more says nothing to anybody. */
const entriesMax = 32;

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
  hardware: async () => {
    const { default: systeminformation } = await import('systeminformation');
    // One after the other: each starts a few programs.
    const cpu = await systeminformation.cpu();
    const devices = await systeminformation.blockDevices();
    const { controllers } = await systeminformation.graphics();
    return {
      cpuModel: [cpu.manufacturer, cpu.brand].filter(text => text !== '').join(' '),
      cpuSockets: cpu.processors || 1,
      cpuCores: cpu.physicalCores,
      disks: devices
        .filter(({ type, size, name }) => type === 'disk' && size > 0 && !/^(?:zram|ram|loop)/.test(name))
        .slice(0, entriesMax)
        .map(({ name, size, model, physical }) => ({ name, sizeBytes: size, model, rotational: physical === 'HDD' })),
      interfaces: await readInterfaces(),
      gpus: controllers
        .slice(0, entriesMax)
        .map(({ vendor, model, vram }) => ({ vendor, model, memoryBytes: (vram ?? 0) * 2 ** 20 })),
    };
  },
  addresses: () =>
    Object.entries(os.networkInterfaces()).flatMap(([interfaceName, entries]) =>
      (entries ?? [])
        .filter(entry => !entry.internal && !isLinkLocal(entry.address))
        .map(entry => ({ interfaceName, address: entry.address, family: entry.family, prefix: entry.cidr ?? '' })),
    ),
};

/** From sysfs: systeminformation asks a second's worth of programs about each, some of them synchronously. */
async function readInterfaces(): Promise<HardwareFacts['interfaces']> {
  const folder = '/sys/class/net';
  const found: { name: string; mac: string; speedMbps: number }[] = [];
  for (const name of (await fs.readdir(folder).catch(() => [])).sort()) {
    const hasDevice = await fs.stat(`${folder}/${name}/device`).then(
      () => true,
      () => false,
    );
    if (!hasDevice || found.length >= entriesMax) continue;
    const read = async (file: string): Promise<string> =>
      (await fs.readFile(`${folder}/${name}/${file}`, 'utf8').catch(() => '')).trim();
    // Without a link reading the speed fails, or gives -1.
    found.push({ name, mac: await read('address'), speedMbps: Math.max(0, Number(await read('speed'))) });
  }
  return found;
}

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
