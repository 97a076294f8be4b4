/**
 * Root file systems that resist their removal when a task ends: files made immutable inside, something mounted below, a disk
 * that answers with errors. They are moved out of the task's name at once, so that the task is gone and its name is free, and
 * removed as soon as they let themselves be.
 *
 *   <data dir>/trash/<task id>.<index>.<random>
 *
 * A mount that is only busy (a shell in it, a copy in another mount namespace) does not resist: it is taken out of sight, and
 * the kernel ends it when nobody holds it any more.
 *
 * Called by prepare.ts and sweep.ts. Not here: mounting and unmounting (image/mount.ts).
 */
import { messageOf } from '../errors.js';
import type { Host } from '../host.js';
import { newId } from '../ids.js';
import type { Logger } from '../telemetry.js';
import type { TaskImages } from './images.js';

export interface Trash {
  /** Unmounts and removes the root file system in the directory of a container. */
  readonly discard: (directory: string) => Promise<void>;
  /** Tries again to remove what lies here. */
  readonly empty: () => Promise<void>;
}

export interface TrashOptions {
  readonly host: Pick<Host, 'files' | 'random'>;
  readonly images: Pick<TaskImages, 'unmountRoot'>;
  readonly directory: string;
  readonly log: Logger;
}

export function openTrash({ host, images, directory, log }: TrashOptions): Trash {
  const { files } = host;
  const remove = async (path: string): Promise<void> => {
    await images.unmountRoot(path);
    await files.removeTree(path);
  };
  return {
    discard: async root => {
      try {
        await images.unmountRoot(root).catch(() => images.unmountRoot(root)); // what resists once need not resist twice
      } catch (error) {
        const [task = '', index = ''] = root.split('/').slice(-2);
        const away = `${directory}/${task}.${index}.${newId(host.random.bytes).slice(0, 8)}`;
        await files.makeDirectory(directory, { mode: 0o700 });
        await files.rename(root, away);
        log.warn('a root file system resists its removal: moved away, tried again later', { away, error });
      }
    },
    empty: async () => {
      for (const name of await files.list(directory)) {
        try {
          await remove(`${directory}/${name}`);
          log.info('removed from the trash', { name });
        } catch (error) {
          log.debug('cannot remove from the trash yet', { name, error: messageOf(error) });
        }
      }
    },
  };
}
