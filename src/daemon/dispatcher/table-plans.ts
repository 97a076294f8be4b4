/**
 * What nodes have to show, computed once for all that have to show the same: those with tasks on the same networks share one
 * set of items, and the way from one set to the next is found, and encoded, once, however many sessions go it.
 *
 * Keeps true: as long as nothing changes in what a node has to show, it is the same map, so that a session sees with one
 * comparison that it has nothing to say; with 1,000 nodes that matters, because each node that comes concerns all.
 *
 * Called by dispatcher.ts. Not here: what belongs to a node's tables (tables.ts), versions and acknowledgements (node-session.ts).
 */
import type { ManagerMessage, TableItem } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { encodedAs, type Wire } from '../../wire.js';
import { diffTables, type TableChanges } from './diff.js';
import { makeTableItemCache, planOwn, planScope, scopeOf } from './tables.js';

/** What a node has to show: what all of its scope show, and what only it does. */
export interface TableSet {
  readonly base: ReadonlyMap<string, TableItem>;
  readonly own: ReadonlyMap<string, TableItem>;
}

/** What a session has to be told. */
export interface TableNews extends TableChanges {
  readonly full: boolean;
  /** The part that others are told too, the same object for all, and the rest; both together are what is told. */
  readonly parts: readonly TableChanges[];
}

export interface TablePlans {
  /** What the node has to show. `epoch` is that of the last change that concerned tables: within one everything is kept. */
  readonly wanted: (nodeId: string, epoch: number) => TableSet;
  /** From undefined: all of it. */
  readonly news: (from: TableSet | undefined, to: TableSet) => TableNews;
  /** The message under a version of its own; what it shares with others is encoded once. */
  readonly message: (news: TableNews, order: { readonly term: number; readonly version: number }) => ManagerMessage;
}

type Items = ReadonlyMap<string, TableItem>;

interface Planned {
  readonly epoch: number;
  readonly set: TableSet;
}

/** Scopes that no node has asked for in so many epochs are forgotten. */
const epochsKept = 64;

export function openTablePlans(options: { readonly view: () => View; readonly wire?: Wire | undefined }): TablePlans {
  const cache = makeTableItemCache();
  const scopes = new Map<string, Planned>();
  const own = new Map<string, TableSet>();
  const ways = openWays();
  const encode = options.wire === undefined ? undefined : openTablesEncoder(options.wire);
  let sweptEpoch = 0;
  const sweep = (epoch: number): void => {
    if (epoch < sweptEpoch + epochsKept) return;
    sweptEpoch = epoch;
    for (const [key, planned] of scopes) if (planned.epoch < epoch - epochsKept) scopes.delete(key);
    for (const nodeId of own.keys()) if (options.view().find('node', nodeId) === undefined) own.delete(nodeId);
  };
  const setOfScope = (nodeId: string, epoch: number): TableSet => {
    const view = options.view();
    const scope = scopeOf(view, nodeId);
    const before = scopes.get(scope.key);
    if (before?.epoch === epoch) return before.set;
    const base = planScope(view, scope, cache);
    const kept = before !== undefined && isSame(ways(before.set.base, base)) ? before.set : { base, own: nothing() };
    scopes.set(scope.key, { epoch, set: kept });
    sweep(epoch);
    return kept;
  };
  return {
    wanted: (nodeId, epoch) => {
      const set = setOfScope(nodeId, epoch);
      const extra = planOwn(options.view(), { nodeId, cache, base: set.base });
      if (extra.length === 0) {
        own.delete(nodeId);
        return set;
      }
      const wanted = { base: set.base, own: new Map(extra.map(item => [item.key, item])) };
      const before = own.get(nodeId);
      if (before?.base === set.base && isSame(diffTables(before.own, wanted.own))) return before;
      own.set(nodeId, wanted);
      return wanted;
    },
    news: (from, to) => newsOf(ways(from?.base, to.base), from, to),
    message: (told, { term, version }) => ({
      body: { kind: 'tables', term, version, full: told.full, items: told.items, removed: told.removed },
      ...(encode === undefined ? {} : { [encodedAs]: () => encode(told, { term, version }) }),
    }),
  };
}

/** The way from one set of a scope to another, found once; from undefined: all of it. */
function openWays(): (from: Items | undefined, to: Items) => TableChanges {
  const ways = new WeakMap<Items, WeakMap<Items, TableChanges>>();
  const begins = new WeakMap<Items, TableChanges>();
  return (from, to) => {
    if (from === undefined) return keptIn(begins, to, () => ({ items: [...to.values()], removed: [] }));
    const known = keptIn(ways, from, () => new WeakMap<Items, TableChanges>());
    return keptIn(known, to, () => diffTables(from, to));
  };
}

function nothing(): Items {
  return new Map();
}

function newsOf(shared: TableChanges, from: TableSet | undefined, to: TableSet): TableNews {
  const full = from === undefined;
  const rest = diffTables(from?.own ?? nothing(), to.own);
  if (isSame(rest)) return { full, ...shared, parts: [shared] };
  // An item may have moved from one part to the other: then it is not gone.
  const left = shared.removed.filter(key => !to.own.has(key));
  const kept = left.length === shared.removed.length ? shared : { items: shared.items, removed: left };
  const gone = { items: rest.items, removed: rest.removed.filter(key => !to.base.has(key)) };
  const items = [...kept.items, ...gone.items];
  return { full, items, removed: [...kept.removed, ...gone.removed], parts: [kept, gone] };
}

export function isSame({ items, removed }: TableChanges): boolean {
  return items.length === 0 && removed.length === 0;
}

function keptIn<Key extends object, Value>(kept: WeakMap<Key, Value>, key: Key, make: () => Value): Value {
  const known = kept.get(key);
  if (known !== undefined) return known;
  const made = make();
  kept.set(key, made);
  return made;
}

/** Field 3 of ManagerMessage, length-delimited. */
const tablesTag = (3 << 3) | 2;

/** What is told, each part encoded once; then the fields that each session has for itself. */
function openTablesEncoder(
  wire: Wire,
): (news: TableNews, order: { readonly term: number; readonly version: number }) => Uint8Array {
  const tables = wire.type('Tables');
  const encoded = new WeakMap<TableChanges, Uint8Array>();
  return ({ full, parts }, { term, version }) => {
    // Items of all parts come together; of a field that comes twice the later one counts.
    const inner = parts.map(part =>
      keptIn(encoded, part, () => tables.encode({ term: 0, version: 0, full: false, ...part })),
    );
    inner.push(tables.encode({ term, version, full, items: [], removed: [] }));
    const length = inner.reduce((sum, bytes) => sum + bytes.length, 0);
    return Buffer.concat([Uint8Array.from([tablesTag, ...varint(length)]), ...inner]);
  };
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}
