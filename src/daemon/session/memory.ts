/**
 * What a node remembers of its managers, so that it starts without them: where they are, the last tables it showed, and the term
 * of the last one that it obeyed, so that an old leader is not obeyed after a restart either.
 *
 * A cache under `<data dir>/session`: whatever is missing or damaged there is forgotten and comes again with the next session.
 *
 * Not here: the tasks (the agent keeps them), the identity (membership/files.ts).
 */
import type { ManagerAddress, TableItem } from '../../gen/types.js';
import type { Clock, Files, Timer } from '../../host.js';
import { asId, type NodeId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import type { Logger } from '../../telemetry.js';
import type { Wire } from '../../wire.js';

export interface SessionMemory {
  readonly managers: () => readonly ManagerAddress[];
  readonly rememberManagers: (managers: readonly ManagerAddress[]) => void;
  /** The highest term that was obeyed. */
  readonly term: () => number;
  /** Durable on return. */
  readonly rememberTerm: (term: number) => Promise<void>;
  /** When what was remembered at the start was written; 0: never. */
  readonly writtenMs: number;
  /** The last remembered tables; empty when there are none. */
  readonly tables: ReadonlyMap<string, TableItem>;
  /** Written within saveAfterMs; the latest counts. */
  readonly rememberTables: (items: ReadonlyMap<string, TableItem>) => void;
}

export interface MemoryOptions {
  readonly files: Files;
  readonly clock: Clock;
  readonly log: Logger;
  readonly wire: Wire;
  readonly dataDir: string;
  readonly lifetime: Lifetime;
}

const saveAfterMs = 1_000;
const privateMode = { mode: 0o600 };

export async function openSessionMemory(options: MemoryOptions): Promise<SessionMemory> {
  const folder = `${options.dataDir}/session`;
  await options.files.makeDirectory(folder, { mode: 0o700 });
  const managersCodec = options.wire.type('Managers');
  const tablesCodec = options.wire.type('Tables');
  let managers = (await findBytes(options, `${folder}/managers`, managersCodec.decode))?.managers ?? [];
  const remembered = (await findBytes(options, `${folder}/tables`, tablesCodec.decode))?.items ?? [];
  let term = await findTerm(options, `${folder}/term`);
  const stats = await Promise.all(['managers', 'tables'].map(name => options.files.findStat(`${folder}/${name}`)));
  const saveTables = saver(options, `${folder}/tables`);
  const saveManagers = saver(options, `${folder}/managers`);
  return {
    managers: () => managers,
    rememberManagers: next => {
      if (JSON.stringify(next) === JSON.stringify(managers)) return;
      managers = next;
      saveManagers(() => managersCodec.encode({ managers: next }));
    },
    writtenMs: Math.round(Math.max(0, ...stats.map(stat => stat?.modifiedMs ?? 0))),
    term: () => term,
    rememberTerm: async next => {
      if (next <= term) return;
      await options.files.replace(`${folder}/term`, new TextEncoder().encode(`${next}\n`), privateMode);
      term = next;
    },
    tables: new Map(remembered.map(item => [item.key, item])),
    rememberTables: items =>
      saveTables(() =>
        tablesCodec.encode({ term: 0, version: 0, full: true, items: [...items.values()], removed: [] }),
      ),
  };
}

async function findTerm({ files }: MemoryOptions, path: string): Promise<number> {
  const term = Number(await files.findText(path));
  return Number.isSafeInteger(term) && term > 0 ? term : 0;
}

/** What join learnt: written before the first session. */
export async function saveFirstManagers(
  options: Pick<MemoryOptions, 'files' | 'wire' | 'dataDir'>,
  managers: readonly ManagerAddress[],
): Promise<void> {
  const folder = `${options.dataDir}/session`;
  await options.files.makeDirectory(folder, { mode: 0o700 });
  await options.files.replace(`${folder}/managers`, options.wire.type('Managers').encode({ managers }), privateMode);
}

/** Where a manager was reached, as seen from this node. */
export interface Reached {
  readonly nodeId: string;
  readonly address: string;
}

/** What managers say of themselves, with the address that is known to work from here first. */
export function withReached(said: readonly ManagerAddress[], reached: Reached): readonly ManagerAddress[] {
  const same = said.find(manager => manager.nodeId === reached.nodeId);
  const known = same ?? { nodeId: asId<NodeId>(reached.nodeId), addresses: [], leader: false, raftId: 0 };
  const addresses = [reached.address, ...known.addresses.filter(address => address !== reached.address)];
  return [{ ...known, addresses }, ...said.filter(manager => manager !== same)];
}

async function findBytes<Message>(
  options: MemoryOptions,
  path: string,
  decode: (bytes: Uint8Array) => Message,
): Promise<Message | undefined> {
  if ((await options.files.findStat(path)) === undefined) return undefined;
  try {
    return decode(await options.files.read(path));
  } catch (error) {
    options.log.warn('what was remembered of the managers is not readable and forgotten', { error, path });
    return undefined;
  }
}

/** Writes the latest after a while, and what is left when the scope ends. */
function saver(options: MemoryOptions, path: string): (encode: () => Uint8Array) => void {
  let timer: Timer | undefined;
  let latest: (() => Uint8Array) | undefined;
  let writing = Promise.resolve();
  const save = async (): Promise<void> => {
    const encode = latest;
    latest = undefined;
    if (encode === undefined) return;
    try {
      await options.files.replace(path, encode(), privateMode);
    } catch (error) {
      options.log.warn('session memory not written', { error, path });
    }
  };
  const flush = (): Promise<void> => {
    timer?.cancel();
    timer = undefined;
    writing = writing.then(save);
    return writing;
  };
  options.lifetime.defer(`save ${path}`, flush);
  return encode => {
    latest = encode;
    timer ??= options.clock.after(saveAfterMs, () => void flush());
  };
}
