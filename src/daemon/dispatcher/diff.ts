/**
 * The difference between what a session was sent and what it should have: table items and tasks.
 *
 * Pure. Called by sessions.ts. Not here: what should be there (tables.ts, assignments.ts).
 */
import type { TableItem } from '../../gen/types.js';

export interface TableChanges {
  readonly items: readonly TableItem[];
  readonly removed: readonly string[];
}

export function diffTables(sent: ReadonlyMap<string, TableItem>, wanted: ReadonlyMap<string, TableItem>): TableChanges {
  const items: TableItem[] = [];
  for (const [key, item] of wanted) {
    const before = sent.get(key);
    if (before === undefined || !(before === item || sameContent(before, item))) items.push(item);
  }
  const removed: string[] = [];
  for (const key of sent.keys()) if (!wanted.has(key)) removed.push(key);
  return { items, removed };
}

/** Deep equality of plain data: what proto messages are made of. */
export function sameContent(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (!(left instanceof Object && right instanceof Object) || Array.isArray(left) !== Array.isArray(right))
    return false;
  const keys = Object.keys(left);
  if (keys.length !== Object.keys(right).length) return false;
  return keys.every(key => Object.hasOwn(right, key) && sameContent(Reflect.get(left, key), Reflect.get(right, key)));
}
