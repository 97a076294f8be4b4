/**
 * What a machine has that covey could leave behind: namespaces, links, mounts, cgroups, rules, routes, switches, processes.
 * Two pictures are compared before and after; what other programs change meanwhile is left out by name.
 */
import * as fs from 'node:fs';
import { run } from './dev-cluster.js';

export type MachineState = Readonly<Record<string, readonly string[]>>;

/** Only things whose names show that they are of a cluster with one of these names, or that have no name of their own. */
export function readMachineState(): MachineState {
  const lines = (text: string): string[] => text.split('\n').filter(line => line.trim() !== '');
  const mountPoints = lines(fs.readFileSync('/proc/self/mountinfo', 'utf8')).map(line => line.split(' ')[4] ?? '');
  const processes = fs
    .readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(pid => read(`/proc/${pid}/cmdline`).replaceAll('\0', ' '))
    .filter(command => /conmon|coveyd|covey-sockets|crun |runc /.test(command));
  return {
    namespaces: lines(run(['ip', 'netns', 'list']).stdout).map(line => line.split(' ')[0] ?? ''),
    links: lines(run(['ip', '-br', 'link']).stdout).map(line => line.split(/[ @]/)[0] ?? ''),
    addresses: lines(run(['ip', '-br', 'address']).stdout).map(line => line.replace(/\s+/g, ' ')),
    routes: lines(run(['ip', 'route', 'show', 'table', 'all']).stdout),
    policies: lines(run(['ip', 'rule']).stdout),
    nftables: lines(run(['nft', 'list', 'ruleset']).stdout),
    mounts: mountPoints,
    cgroups: fs.globSync(['/sys/fs/cgroup/*/*/', '/sys/fs/cgroup/*/']),
    switches: lines(
      run([
        'sysctl',
        '-a',
        '--pattern',
        String.raw`net\.(ipv4|ipv6|bridge|core)\.(ip_forward|conf\.(all|default|lo|eth0)\.(forwarding|rp_filter|route_localnet|accept_local|arp_).*)`,
      ]).stdout,
    ),
    processes,
  };
}

function read(path: string): string {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error) return ''; // the process has ended meanwhile
    throw error;
  }
}

/** Lines that are there now and were not before, or the reverse; concerned with names that match only. */
export function compareStates(before: MachineState, after: MachineState, concerns: RegExp): readonly string[] {
  return Object.keys(before).flatMap(kind => {
    const old = new Set(before[kind]);
    const now = new Set(after[kind]);
    const always = kind === 'switches';
    const counts = (line: string): boolean => always || concerns.test(line);
    return [
      ...[...now].filter(line => !old.has(line) && counts(line)).map(line => `${kind}: + ${line}`),
      ...[...old].filter(line => !now.has(line) && counts(line)).map(line => `${kind}: - ${line}`),
    ];
  });
}
