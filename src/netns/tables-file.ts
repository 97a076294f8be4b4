/**
 * The last tables on disk, so that after a boot without any manager routes and names are there again. Written a while after a
 * change, since a lost one costs nothing: the managers send all of it with every new session.
 *
 * Not here: what the tables mean (wanted.ts, dns/records.ts).
 */
import type { TableItem } from '../gen/types.js';
import type { Clock, Files, Timer } from '../host.js';
import type { Tables } from './wanted.js';

export interface TablesFile {
  readonly load: () => Promise<Tables | undefined>;
  /** Soon. */
  readonly save: (tables: Tables) => void;
  /** What waits to be written is. */
  readonly flush: () => Promise<void>;
  readonly remove: () => Promise<void>;
}

const formatVersion = 1;
const saveAfterMs = 2_000;

export function openTablesFile(options: {
  readonly clock: Clock;
  readonly files: Files;
  readonly directory: string;
  readonly onFailure: (error: unknown) => void;
}): TablesFile {
  const { clock, files, directory } = options;
  const path = `${directory}/tables.json`;
  let waiting: { readonly tables: Tables; readonly timer: Timer } | undefined;
  const write = async (): Promise<void> => {
    if (waiting === undefined) return;
    const { tables, timer } = waiting;
    timer.cancel();
    waiting = undefined;
    try {
      await files.makeDirectory(directory);
      await files.replace(path, JSON.stringify({ version: formatVersion, items: [...tables.values()] }));
    } catch (error) {
      options.onFailure(error);
    }
  };
  return {
    load: async () => {
      const text = await files.findText(path);
      return text === undefined ? undefined : parseTables(text);
    },
    save: tables => {
      const timer = waiting?.timer ?? clock.after(saveAfterMs, () => void write());
      waiting = { tables, timer };
    },
    flush: write,
    remove: async () => {
      waiting?.timer.cancel();
      waiting = undefined;
      await files.remove(path);
    },
  };
}

/** undefined for what another version wrote, or for a file cut short: as good as absent. */
export function parseTables(text: string): Tables | undefined {
  try {
    const parsed = JSON.parse(text) as { readonly version?: number; readonly items?: readonly TableItem[] };
    if (parsed.version !== formatVersion || !Array.isArray(parsed.items)) return undefined;
    return new Map(parsed.items.map(item => [item.key, item]));
  } catch {
    // Not JSON.
    return undefined;
  }
}
