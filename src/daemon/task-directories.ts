/**
 * Where the directories of tasks lie on the disk.
 *
 * Called by node.ts. Not here: what is in them (tasks/paths.ts).
 */
import type { Host } from '../host.js';
import type { Logger } from '../telemetry.js';

/**
 * Tells ext4 (EXT4_TOPDIR_FL) that the directories of tasks have nothing to do with one another, so that it spreads them over
 * its block groups. In one group, making a file looks at every inode deleted there lately: 14 for each task that ended.
 * Elsewhere the flag means nothing, and nothing depends on it.
 */
export async function spreadTaskDirectories(
  host: Pick<Host, 'files' | 'processes'>,
  { dataDir, log, signal }: { readonly dataDir: string; readonly log: Logger; readonly signal: AbortSignal },
): Promise<void> {
  const directory = `${dataDir}/tasks`;
  await host.files.makeDirectory(directory, { mode: 0o711 });
  try {
    await host.processes.run(['chattr', '+T', directory], { signal, timeoutMs: 2_000 });
  } catch (error) {
    log.debug('directories of tasks are not spread', { error });
  }
}
