/**
 * Which version of the store's schema a change needs, and who can read it. A change is written with the lowest version that
 * holds it, so that managers of different versions of covey run together as long as nothing new is used; what an older
 * manager would not know is refused by the leader, because that manager would have to stop at it.
 *
 * Called by transaction.ts, snapshot.ts and open.ts, and by daemon/ before a manager is taken in. Not here: the versions
 * themselves (src/version.ts), what becomes of an unknown one (machine.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Node } from '../../gen/types.js';
import { schemaSince } from '../../version.js';
import type { TableName, View } from '../store.js';
import { tableNames } from './tables.js';

/** The lowest version that holds objects of these tables. */
export function schemaOf(tables: readonly TableName[]): number {
  return Math.max(1, ...tables.map(table => schemaSince[table] ?? 1));
}

/** The lowest version that holds all that is stored. */
export function schemaOfState(view: Pick<View, 'count'>): number {
  return schemaOf(tableNames.filter(table => view.count(table) > 0));
}

/** The newest version that the covey on that node knows; those that do not say know the first only. */
function schemaKnownOn({ description }: Pick<Node, 'description'>): number {
  return Math.max(1, description?.schemaVersion ?? 1);
}

/** Throws where a manager could not read a change of that version. */
export function refuseForOlder(view: Pick<View, 'list'>, needed: number): void {
  if (needed <= 1) return;
  const older = [...view.list('node')].filter(node => node.role === 'manager' && schemaKnownOn(node) < needed);
  if (older.length === 0) return;
  const names = older.map(({ spec, description }) => `${spec.name} runs covey ${description?.version ?? '?'}`);
  throw new CoveyError('older-managers', 'Cannot store that yet: managers of an older covey would not know it', {
    state: `${names.join(', ')}; it takes store version ${needed}`,
    hint: 'update them first, or let go of those that are gone for good: covey node rm',
  });
}

/** Throws where this node could not read what is stored. */
export function refuseOlderManager(view: Pick<View, 'count'>, node: Pick<Node, 'description'>, what: string): void {
  const needed = schemaOfState(view);
  const known = schemaKnownOn(node);
  if (known >= needed) return;
  throw new CoveyError('newer-schema', `${what}: its covey is too old for what the managers store`, {
    state: `covey ${node.description?.version ?? '?'} knows store version ${known}, and ${needed} is stored`,
    hint: 'update covey on that node first',
  });
}
