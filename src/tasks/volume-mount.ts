/**
 * Volumes that are file systems of their own: the driver "local" with the options type, device and o, as mount(8) takes them
 * (nfs, ext4 on a block device or a file, tmpfs, bind). Mounted at the volume's place while a task uses it.
 *
 * Not here: who uses it (volumes.ts).
 */
import { CoveyError } from '../errors.js';
import type { Host } from '../host.js';

export type LocalOptions = Readonly<Record<string, string>>;

const mountTimeoutMs = 30_000;

/** Nothing when it is mounted already. */
export async function mountLocal(
  host: Pick<Host, 'files' | 'processes'>,
  volume: { readonly name: string; readonly path: string; readonly options: LocalOptions },
): Promise<void> {
  const { name, path, options } = volume;
  if (Object.keys(options).length === 0 || isMounted(host, path)) return;
  const { type = '', device = '', o = '' } = options;
  const flags = o.split(',').filter(option => option !== '');
  const isBind = flags.some(flag => flag === 'bind' || flag === 'rbind');
  // A file system that somebody else wrote brings no programs with rights and no devices, unless that is asked for.
  const safe = ['nosuid', 'nodev'].filter(flag => !flags.includes(flag.slice(2)));
  const argv = [
    'mount',
    ...(type === '' || (isBind && type === 'none') ? [] : ['-t', type]),
    ...['-o', [...flags, ...safe].join(','), '--source', device === '' ? type || 'none' : device, '--target', path],
  ];
  const signal = new AbortController().signal; // bounded by the timeout
  const result = await host.processes.run(argv, { signal, timeoutMs: mountTimeoutMs });
  if (result.exitCode === 0) return;
  throw new CoveyError('mount-failed', `Cannot mount volume "${name}"`, {
    state: result.timedOut ? `mount took more than ${mountTimeoutMs / 1_000} s` : result.stderr.trim().slice(0, 400),
    hint: `mount ${argv.slice(1).join(' ')}`,
  });
}

export function isMounted(host: Pick<Host, 'files'>, path: string): boolean {
  const escaped = path.replace(/[ \t\n\\]/g, char => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
  return (host.files.findTextSync('/proc/self/mountinfo') ?? '').includes(` ${escaped} `);
}
