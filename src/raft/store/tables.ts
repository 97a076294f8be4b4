/**
 * The tables in memory with their indexes, and the view that everybody reads them through.
 *
 * Changes are made in place and can be taken back to a mark, so that a transaction that fails half-way, and decisions that
 * are only tried out, leave no trace. Nobody sees what is between, because no await lies between.
 *
 * Called by transaction.ts, machine.ts and open.ts. Not here: what may be changed (transaction.ts, edges.ts).
 */
import type { Task } from '../../gen/types.js';
import type { TableName, Tables, View } from '../store.js';

/** Tables whose objects have a name that is unique within the table. */
export const namedTables = ['node', 'service', 'network', 'secret', 'config'] as const;
type NamedTable = (typeof namedTables)[number];

export const tableNames: readonly TableName[] = [
  'cluster',
  'joinToken',
  'task',
  'revision',
  'removedNode',
  ...namedTables,
];

export function isTableName(text: string): text is TableName {
  return tableNames.some(name => name === text);
}

export interface State {
  readonly view: View;
  readonly put: <Name extends TableName>(table: Name, object: Tables[Name]) => void;
  readonly remove: (table: TableName, id: string) => void;
  /** Index of the last entry that was applied. */
  readonly setVersion: (version: number) => void;
  /** A point to go back to. Until `forget`, every change is remembered. */
  readonly mark: () => number;
  readonly rollBack: (mark: number) => void;
  /** Keeps what was changed since; marks from before are void. */
  readonly forget: () => void;
  /** What it holds, for a state that takes its place. */
  readonly content: () => Content;
  /** In one step, whatever it took to build the other; nothing may be tried out meanwhile. */
  readonly replaceBy: (other: State) => void;
}

type Maps = { readonly [Name in TableName]: Map<string, Tables[Name]> };
type Indexers = {
  readonly [Name in TableName]: (old: Tables[Name] | undefined, object: Tables[Name] | undefined) => void;
};
type Groups = Map<string, Map<string, Task>>;

const none: ReadonlyMap<string, Task> = new Map();

/** Tables and their indexes. */
interface Content {
  readonly maps: Maps;
  readonly names: Names;
  readonly byService: Groups;
  readonly byNode: Groups;
  readonly indexers: Indexers;
}

export function openState(): State {
  let content = emptyContent();
  let version = 0;
  let marks = 0;
  let undo: (() => void)[] = [];

  const set = <Name extends TableName>(table: Name, id: string, object: Tables[Name] | undefined): void => {
    const { maps, indexers } = content;
    const map = maps[table];
    const old = map.get(id);
    if (object === undefined) map.delete(id);
    else map.set(id, object);
    indexers[table](old, object);
    if (marks > 0) undo.push(() => setBack(table, id, old));
  };
  const setBack = <Name extends TableName>(table: Name, id: string, old: Tables[Name] | undefined): void => {
    const { maps, indexers } = content;
    const map = maps[table];
    const present = map.get(id);
    if (old === undefined) map.delete(id);
    else map.set(id, old);
    indexers[table](present, old);
  };
  const view: View = {
    get version() {
      return version;
    },
    find: (table, id) => content.maps[table].get(id),
    list: table => content.maps[table].values(),
    count: table => content.maps[table].size,
    findByName: (table, name) => {
      const id = content.names[table].get(name);
      return id === undefined ? undefined : content.maps[table].get(id);
    },
    tasksOfService: serviceId => (content.byService.get(serviceId) ?? none).values(),
    tasksOfNode: nodeId => (content.byNode.get(nodeId) ?? none).values(),
  };
  return {
    view,
    put: (table, object) => set(table, object.id, object),
    remove: (table, id) => set(table, id, undefined),
    setVersion: to => {
      version = to;
    },
    mark: () => {
      marks += 1;
      return undo.length;
    },
    rollBack: mark => {
      for (const step of undo.splice(mark).reverse()) step();
    },
    forget: () => {
      marks = 0;
      undo = [];
    },
    content: () => content,
    replaceBy: other => {
      content = other.content();
      version = other.view.version;
      marks = 0;
      undo = [];
    },
  };
}

function emptyContent(): Content {
  const names = emptyNames();
  const byService: Groups = new Map();
  const byNode: Groups = new Map();
  return { maps: emptyMaps(), names, byService, byNode, indexers: indexersOf(names, { byService, byNode }) };
}

function emptyMaps(): Maps {
  return {
    cluster: new Map(),
    joinToken: new Map(),
    node: new Map(),
    service: new Map(),
    task: new Map(),
    network: new Map(),
    secret: new Map(),
    config: new Map(),
    revision: new Map(),
    removedNode: new Map(),
  };
}

/** Id by name. */
type Names = { readonly [Name in NamedTable]: Map<string, string> };

function emptyNames(): Names {
  return { node: new Map(), service: new Map(), network: new Map(), secret: new Map(), config: new Map() };
}

type Named = { readonly id: string; readonly spec: { readonly name: string } };

function indexersOf(names: Names, groups: { readonly byService: Groups; readonly byNode: Groups }): Indexers {
  const byName = (table: NamedTable) => (old: Named | undefined, object: Named | undefined) => {
    const index = names[table];
    if (old !== undefined && index.get(old.spec.name) === old.id) index.delete(old.spec.name);
    if (object !== undefined) index.set(object.spec.name, object.id);
  };
  return {
    cluster: unindexed,
    joinToken: unindexed,
    revision: unindexed,
    removedNode: unindexed,
    node: byName('node'),
    service: byName('service'),
    network: byName('network'),
    secret: byName('secret'),
    config: byName('config'),
    task: (old, object) => {
      regroup(groups.byService, old?.serviceId, object?.serviceId, { old, object });
      regroup(groups.byNode, old?.nodeId, object?.nodeId, { old, object });
    },
  };
}

function unindexed(): undefined {
  return undefined;
}

function regroup(
  groups: Groups,
  from: string | undefined,
  to: string | undefined,
  { old, object }: { readonly old: Task | undefined; readonly object: Task | undefined },
): void {
  if (old !== undefined && from !== undefined && from !== to) {
    const group = groups.get(from);
    group?.delete(old.id);
    if (group?.size === 0) groups.delete(from);
  }
  if (object === undefined || to === undefined || to === '') return;
  const group = groups.get(to);
  if (group === undefined) groups.set(to, new Map([[object.id, object]]));
  else group.set(object.id, object);
}
