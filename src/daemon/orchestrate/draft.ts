/**
 * What one pass wants to change, readable as if it were stored already: later steps of the pass build on earlier ones, and
 * each object is written once.
 *
 * Called by pass.ts and allocate/. Not here: the decisions.
 */
import type { Meta, Task } from '../../gen/types.js';
import type { TableName, Tables, View, Write } from '../../raft/store.js';

export interface Draft {
  /** The state with the changes of this draft. */
  readonly view: View;
  readonly put: <Name extends DraftTable>(table: Name, object: Tables[Name]) => void;
  readonly remove: (table: DraftTable, id: string) => void;
  /** How many objects it changes. */
  readonly changes: () => number;
  /** Other objects first, then new tasks, changed tasks, deletions: cut at any place, the rest can be decided anew. */
  readonly writes: () => readonly Write[];
}

type DraftTable = 'service' | 'task' | 'network' | 'revision';
/** New content by id; undefined: deleted. */
type Changed = { readonly [Name in DraftTable]: Map<string, Tables[Name] | undefined> };

/** Of an object that is not stored yet. */
export function freshMeta(nowMs: number): Meta {
  return { version: 0, createdAtMs: nowMs, updatedAtMs: nowMs, owner: 'system' };
}

export function openDraft(base: View): Draft {
  const changed: Changed = {
    service: new Map(),
    task: new Map(),
    network: new Map(),
    revision: new Map(),
  };
  const overlay = <Name extends TableName>(table: Name): ReadonlyMap<string, Tables[Name] | undefined> => {
    const all: Partial<Record<TableName, ReadonlyMap<string, unknown>>> = changed;
    return (all[table] ?? nothing) as ReadonlyMap<string, Tables[Name] | undefined>;
  };
  function* list<Name extends TableName>(table: Name): Iterable<Tables[Name]> {
    const over = overlay(table);
    for (const object of base.list(table)) if (!over.has(object.id)) yield object;
    for (const object of over.values()) if (object !== undefined) yield object;
  }
  function* tasksWhere(stored: Iterable<Task>, matches: (task: Task) => boolean): Iterable<Task> {
    for (const task of stored) if (!changed.task.has(task.id)) yield task;
    for (const task of changed.task.values()) if (task !== undefined && matches(task)) yield task;
  }
  const view: View = {
    version: base.version,
    find: (table, id) => {
      const over = overlay(table);
      return over.has(id) ? over.get(id) : base.find(table, id);
    },
    list,
    count: table => [...list(table)].length,
    findByName: (table, name) => {
      for (const object of list(table)) if (object.spec.name === name) return object;
      return undefined;
    },
    tasksOfService: id => tasksWhere(base.tasksOfService(id), task => task.serviceId === id),
    tasksOfNode: id => tasksWhere(base.tasksOfNode(id), task => task.nodeId === id),
  };
  return {
    view,
    put: (table, object) => {
      changed[table].set(object.id, object);
    },
    remove: (table, id) => {
      changed[table].set(id, undefined);
    },
    changes: () => changed.task.size + changed.service.size + changed.network.size + changed.revision.size,
    writes: () => writesOf(base, changed),
  };
}

const nothing: ReadonlyMap<string, undefined> = new Map();

function writesOf(base: View, changed: Changed): readonly Write[] {
  const puts: Write[] = [];
  const created: Write[] = [];
  const updated: Write[] = [];
  const deleted: Write[] = [];
  for (const object of changed.network.values())
    if (object !== undefined) puts.push({ kind: 'put', table: 'network', object });
  for (const [id, object] of changed.revision) {
    if (object !== undefined) puts.push({ kind: 'put', table: 'revision', object });
    else deleted.push({ kind: 'delete', table: 'revision', id });
  }
  for (const [id, object] of changed.service) {
    if (object !== undefined) puts.push({ kind: 'put', table: 'service', object });
    else deleted.push({ kind: 'delete', table: 'service', id });
  }
  for (const [id, object] of changed.task) {
    const isNew = base.find('task', id) === undefined;
    if (object === undefined) {
      if (!isNew) deleted.unshift({ kind: 'delete', table: 'task', id });
    } else (isNew ? created : updated).push({ kind: 'put', table: 'task', object });
  }
  return [...puts, ...created, ...updated, ...deleted];
}
