/**
 * The last identity and tables on disk, so that after a restart or a boot without any manager routes, rules and names are there
 * again. Written a while after a change, since a lost one costs nothing: the managers send all of it with every new session.
 *
 * Not here: what the tables mean (wanted.ts, dns/records.ts).
 */
import type { TableItem } from '../gen/types.js';
import type { Clock, Files, Timer } from '../host.js';
import type { NetworkIdentity } from './types.js';
import type { Tables } from './wanted.js';

export interface Remembered {
  readonly identity: NetworkIdentity | undefined;
  readonly tables: Tables;
}

export interface TablesFile {
  readonly load: () => Promise<Remembered | undefined>;
  /** Soon. */
  readonly save: (now: Remembered) => void;
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
  let waiting: { readonly now: Remembered; readonly timer: Timer } | undefined;
  const write = async (): Promise<void> => {
    if (waiting === undefined) return;
    const { now, timer } = waiting;
    timer.cancel();
    waiting = undefined;
    try {
      await files.makeDirectory(directory);
      await files.replace(path, renderTables(now));
    } catch (error) {
      options.onFailure(error);
    }
  };
  return {
    load: async () => {
      const text = await files.findText(path);
      return text === undefined ? undefined : parseTables(text);
    },
    save: now => {
      const timer = waiting?.timer ?? clock.after(saveAfterMs, () => void write());
      waiting = { now, timer };
    },
    flush: write,
    remove: async () => {
      waiting?.timer.cancel();
      waiting = undefined;
      await files.remove(path);
    },
  };
}

export function renderTables({ identity, tables }: Remembered): string {
  return JSON.stringify({ version: formatVersion, identity, items: [...tables.values()] });
}

interface FileContent {
  readonly version?: number;
  readonly identity?: NetworkIdentity;
  readonly items?: readonly TableItem[];
}

/** undefined for what another version wrote, or for a file cut short: as good as absent. */
export function parseTables(text: string): Remembered | undefined {
  try {
    const { version, identity, items } = JSON.parse(text) as FileContent;
    if (version !== formatVersion || !Array.isArray(items)) return undefined;
    return { identity, tables: new Map(items.map(item => [item.key, item])) };
  } catch {
    // Not JSON.
    return undefined;
  }
}
