/**
 * What no container sees of /proc and /sys unless it asks for all. Pure.
 *
 * A runtime hides a folder under a file system of its own, made for it. Each costs the kernel 4 KiB, and 16 bytes in every memory
 * group of the machine (the kernel keeps a list of all file systems for each): another 16 KiB where a thousand containers run. So
 * where it can be, one empty folder for all is bound over them instead, read-only.
 *
 * Called by bundle.ts and mounts.ts. Not here: looking at the machine (../isolation.ts).
 */
import type { OciMount } from './oci.js';

export interface Masks {
  /** Bound over folders. */
  readonly emptyFolder: string;
  /** Of the paths to hide, those that are folders on this machine. */
  readonly folders: readonly string[];
}

export const maskedPaths: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

/** What is left to the runtime. */
export function pathsToMask(masks: Masks | undefined): readonly string[] {
  return maskedPaths.filter(path => masks?.folders.includes(path) !== true);
}

export function planMaskMounts({ emptyFolder, folders }: Masks): readonly OciMount[] {
  const options = ['bind', 'ro', 'rprivate', 'nosuid', 'nodev', 'noexec'];
  return folders.map(destination => ({ destination, type: 'bind', source: emptyFolder, options }));
}
