/**
 * Keeps the tables that this node has to show, whatever sessions come and go, and brings them into effect: one application
 * at a time, always of the latest set; changes that arrive meanwhile are taken together.
 *
 * Keeps true: a version is acknowledged only after kernel and resolver show it, and only to the session that sent it; without
 * managers the last tables stay; at a start without managers the remembered ones are shown.
 *
 * Not here: what is done with them (netns/), the stream (session.ts).
 */
import type { TableItem, Tables } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { isCancellation, type Lifetime } from '../../lifetime.js';
import type { Logger } from '../../telemetry.js';
import type { SessionMemory } from './memory.js';
import type { SessionTables } from './types.js';

export interface TableKeeper {
  /** Takes a message of a session; `shown` is called when its version, or a later one of that session, is in effect. */
  readonly take: (tables: Tables, shown: (version: number) => void) => void;
  /** As they were told, or remembered. */
  readonly wanted: () => ReadonlyMap<string, TableItem>;
}

const retryFirstMs = 200;
const retryMaxMs = 5_000;

export function openTableKeeper(options: {
  readonly tables: SessionTables;
  readonly memory: SessionMemory;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lifetime: Lifetime;
}): TableKeeper {
  const { lifetime, memory } = options;
  let wanted: Map<string, TableItem> = new Map(memory.tables);
  let shown: (() => void) | undefined;
  let generation = 0;
  let applied = memory.tables.size === 0 ? 0 : -1;
  let wake: (() => void) | undefined;

  const applyOnce = async (signal: AbortSignal): Promise<void> => {
    const target = generation;
    const tell = shown;
    await options.tables.applyTables(new Map(wanted), signal);
    applied = target;
    tell?.();
    if (target > 0) memory.rememberTables(new Map(wanted));
  };
  const keepApplied = async (signal: AbortSignal): Promise<void> => {
    let retryMs = retryFirstMs;
    signal.addEventListener('abort', () => wake?.(), { once: true });
    while (!signal.aborted) {
      if (applied === generation) {
        await new Promise<void>(resolve => {
          wake = resolve;
        });
        continue;
      }
      try {
        await applyOnce(signal);
        retryMs = retryFirstMs;
      } catch (error) {
        if (signal.aborted && isCancellation(error)) return;
        options.log.error('network tables not applied', { error, items: wanted.size, retryInMs: retryMs });
        await options.clock.sleep(retryMs, signal);
        retryMs = Math.min(retryMs * 2, retryMaxMs);
      }
    }
  };
  lifetime.run('apply tables', keepApplied);
  return {
    wanted: () => wanted,
    take: (tables, onShown) => {
      if (tables.full) wanted = new Map();
      for (const item of tables.items) wanted.set(item.key, item);
      for (const key of tables.removed) wanted.delete(key);
      generation += 1;
      shown = () => onShown(tables.version);
      wake?.();
    },
  };
}
