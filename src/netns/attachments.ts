/**
 * The records of attachments in the run directory: one file a task, written before anything of the task is made and removed
 * after all of it is gone. A boot forgets both the files and what they stand for.
 *
 * Not here: what a record says (attachment.ts).
 */
import type { Kernel } from '../host.js';
import { asId, isId, type TaskId } from '../ids.js';
import { type Attachment, addressesOf, findAttachment, renderAttachment } from './attachment.js';
import { type Asker, askerOf } from './dns/records.js';
import type { NetworkHost } from './types.js';

export interface Attachments {
  readonly list: () => readonly Attachment[];
  readonly find: (taskId: TaskId) => Attachment | undefined;
  /** The task that has the address, as the resolver knows it. */
  readonly findAsker: (address: string) => Asker | undefined;
  readonly add: (attachment: Attachment) => void;
  readonly remove: (taskId: TaskId) => void;
  /** Where the task's namespace is pinned. */
  readonly pinOf: (taskId: TaskId) => string;
  /** Reads what an earlier daemon left. Pins without a record are of no use to anybody: they are named, and removed. */
  readonly recover: () => Promise<readonly string[]>;
  /** Tasks with a record. */
  readonly ids: () => readonly TaskId[];
}

export function openAttachments({
  host,
  runDir,
}: {
  readonly host: NetworkHost;
  readonly runDir: string;
}): Attachments {
  const { files, kernel } = host;
  const records = new Map<TaskId, Attachment>();
  const owners = new Map<string, { readonly taskId: TaskId; readonly asker: Asker }>();
  const keep = (attachment: Attachment): void => {
    const { taskId } = attachment;
    records.set(taskId, attachment);
    const asker = askerOf(attachment);
    for (const address of addressesOf(attachment)) owners.set(address, { taskId, asker });
  };
  const recordDir = `${runDir}/network/tasks`;
  const pinDir = `${runDir}/netns`;
  const pinOf = (taskId: string): string => `${pinDir}/${taskId}`;
  return {
    list: () => [...records.values()],
    find: taskId => records.get(taskId),
    findAsker: address => owners.get(address)?.asker,
    ids: () => [...records.keys()],
    pinOf,
    add: attachment => {
      files.makeDirectorySync(recordDir);
      files.makeDirectorySync(pinDir);
      files.writeSync(`${recordDir}/${attachment.taskId}`, renderAttachment(attachment));
      keep(attachment);
    },
    remove: taskId => {
      // First of all: a record that cannot be removed has to be known, so that it is tried again.
      files.removeFileSync(`${recordDir}/${taskId}`);
      const gone = records.get(taskId);
      records.delete(taskId);
      for (const address of gone === undefined ? [] : addressesOf(gone)) {
        if (owners.get(address)?.taskId === taskId) owners.delete(address);
      }
    },
    recover: async () => {
      for (const name of await files.list(recordDir)) {
        const text = await files.findText(`${recordDir}/${name}`);
        const attachment = text === undefined ? undefined : findAttachment(text);
        if (attachment !== undefined && isPinned(kernel, pinOf(name))) keep(attachment);
        else await files.remove(`${recordDir}/${name}`);
      }
      const strays = (await files.list(pinDir)).filter(name => isId(name) && !records.has(asId(name)));
      for (const name of strays) kernel.removeNamespace(pinOf(name));
      return strays;
    },
  };
}

/** A process that was killed between making the file and pinning the namespace leaves a plain file; a boot leaves one too. */
export function isPinned(kernel: Pick<Kernel, 'openNamespace' | 'closeNamespace'>, path: string): boolean {
  try {
    kernel.closeNamespace(kernel.openNamespace(path));
    return true;
  } catch {
    return false; // nothing, or a plain file
  }
}
