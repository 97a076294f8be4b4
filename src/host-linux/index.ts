/**
 * This machine as Host: the only implementation that touches files, processes and the kernel.
 *
 * Keeps true: a call acts at once, leaves the daemon's thread where it was (namespace), and fails with a CoveyError that
 * names the object. How it goes: one file a topic of the kernel; `libc.ts` is the way in for what Node has no call for.
 *
 * Not here: what to do with the machine (netns, tasks, daemon).
 */
import type { Host } from '../host.js';
import { linuxClock, linuxRandom } from './clock.js';
import { linuxConnections } from './connect.js';
import { linuxFiles } from './files.js';
import { linuxKeptSockets } from './kept-sockets.js';
import { linuxMachine } from './machine.js';
import { linuxMounts } from './mounts.js';
import { linuxNamespaces } from './namespaces.js';
import { linuxNetlink } from './netlink.js';
import { linuxNftables } from './nftables.js';
import { linuxPackets } from './packets.js';
import { linuxProcesses } from './processes.js';
import { linuxScheduling } from './scheduling.js';
import { linuxSeccomp } from './seccomp.js';
import { linuxTerminal } from './terminal.js';
import { linuxUnixSockets } from './unix-sockets.js';
import { linuxUserNamespaces } from './user-namespaces.js';

export const linuxHost: Host = {
  clock: linuxClock,
  random: linuxRandom,
  files: linuxFiles,
  processes: linuxProcesses,
  machine: linuxMachine,
  kernel: {
    ...linuxConnections,
    ...linuxKeptSockets,
    ...linuxMounts,
    ...linuxNamespaces,
    ...linuxNetlink,
    ...linuxNftables,
    ...linuxPackets,
    ...linuxScheduling,
    ...linuxSeccomp,
    ...linuxTerminal,
    ...linuxUnixSockets,
    ...linuxUserNamespaces,
  },
};
