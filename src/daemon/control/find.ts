/**
 * Objects by what people call them: the id, the name, or a beginning of the id that fits one object only.
 *
 * Called by all of control/. Not here: names within a service's spec (resolve.ts).
 */
import { CoveyError, type ErrorCode } from '../../errors.js';
import type { Node, Task } from '../../gen/types.js';
import { isEnded, type Tables, type View } from '../../raft/store.js';
import { byAge, isWanted } from '../orchestrate/slot.js';

export type NamedTable = 'node' | 'service' | 'network' | 'secret' | 'config';

const notFoundCodes: Readonly<Record<NamedTable, ErrorCode>> = {
  node: 'not-found',
  service: 'not-found',
  network: 'network-not-found',
  secret: 'secret-not-found',
  config: 'config-not-found',
};

export function getObject<Name extends NamedTable>(view: View, table: Name, text: string): Tables[Name] {
  const exact = view.find(table, text) ?? view.findByName(table, text);
  if (exact !== undefined && isShown(exact)) return exact;
  const fitting = text === '' ? [] : [...view.list(table)].filter(one => one.id.startsWith(text) && isShown(one));
  const [only] = fitting;
  if (only !== undefined && fitting.length === 1) return only;
  if (fitting.length > 1) {
    const state = `${fitting.length} ids begin like that`;
    throw new CoveyError('ambiguous', `Cannot find ${table} "${text}": it is not the only one`, { state });
  }
  throw new CoveyError(notFoundCodes[table], `Cannot find ${table} "${text}"`, {
    state: `${[...view.list(table)].filter(isShown).length} of that kind exist, none has that name or id`,
    hint: table === 'secret' || table === 'config' ? 'covey stack deploy makes them' : `covey ${table} ls`,
  });
}

/** Credentials for pulls are nobody's to look at, to use, or to remove. */
function isShown(object: object): boolean {
  return !('pullFor' in object) || object.pullFor === undefined;
}

/** Those that were asked for, or all, by name. */
export function selectObjects<Name extends NamedTable>(
  view: View,
  table: Name,
  { objects, stack }: { readonly objects: readonly string[]; readonly stack: string },
): Tables[Name][] {
  const chosen =
    objects.length === 0 ? [...view.list(table)].filter(isShown) : objects.map(text => getObject(view, table, text));
  const inStack = (object: Tables[Name]): boolean => !('stack' in object.spec) || object.spec.stack === stack;
  return [...new Set(stack === '' ? chosen : chosen.filter(inStack))].sort((a, b) =>
    a.spec.name < b.spec.name ? -1 : 1,
  );
}

/** Tasks by id, beginning of an id, or "web.1" and "web.<node>": all tasks of that place, the present one first. */
export function getTasks(view: View, text: string): readonly Task[] {
  const exact = view.find('task', text);
  if (exact !== undefined) return [exact];
  const named = [...view.list('task')].filter(task => taskName(view, task) === text);
  if (named.length > 0) return named.sort(presentFirst);
  const fitting = text === '' ? [] : [...view.list('task')].filter(task => task.id.startsWith(text));
  if (fitting.length === 1) return fitting;
  if (fitting.length > 1) {
    const state = `${fitting.length} ids begin like that`;
    throw new CoveyError('ambiguous', `Cannot find task "${text}": it is not the only one`, { state });
  }
  throw new CoveyError('not-found', `Cannot find task "${text}"`, { hint: 'covey service ps' });
}

/** "web.1"; "web.rack1" for tasks of global services. */
function taskName(view: View, task: Task): string {
  if (task.slot > 0) return `${task.serviceName}.${task.slot}`;
  const node: Node | undefined = view.find('node', task.nodeId);
  return `${task.serviceName}.${node?.spec.name ?? task.nodeId}`;
}

function presentFirst(a: Task, b: Task): number {
  const weight = (task: Task): number => (isEnded(task.status.state) ? 2 : isWanted(task.desired) ? 0 : 1);
  return weight(a) - weight(b) || byAge(b, a);
}
