/**
 * What may be forgotten: tasks that are to be removed and have ended, tasks that were never given to a node, history beyond
 * its limit; networks, secrets and configs that are marked as removed and that nothing uses any more;
 * credentials for pulls of services that are gone.
 *
 * Called by pass.ts and manager.ts. Not here: marking (control/), stopping (the other plans).
 */
import type { Task } from '../../gen/types.js';
import { isEnded, type View, type Write } from '../../raft/store.js';
import { byAge, isWanted, type Step } from './slot.js';

export function planReap(tasks: readonly Task[], historyMax: number): readonly Step[] {
  const finished = tasks.filter(task => isEnded(task.status.state) && task.desired === 'shutdown');
  const slots = Map.groupBy(finished, task => (task.slot === 0 ? task.nodeId : String(task.slot)));
  const beyond = [...slots.values()].flatMap(group =>
    group.sort(byAge).slice(0, Math.max(0, group.length - historyMax)),
  );
  const forgotten = new Set([...beyond, ...tasks.filter(isForgettable)]);
  return [...forgotten].map(task => ({ kind: 'delete', task: task.id }));
}

function isForgettable(task: Task): boolean {
  const neverPlaced = task.status.state === 'new' || task.status.state === 'pending';
  if (neverPlaced) return !isWanted(task.desired);
  return task.desired === 'remove' && isEnded(task.status.state);
}

/** Objects marked as removed that nothing refers to any more. */
export function planTidy(view: View): readonly Write[] {
  const networks = marked(view.list('network'));
  const secrets = marked(view.list('secret'));
  const configs = marked(view.list('config'));
  const gone = orphanedCredentials(view);
  if (networks.length + secrets.length + configs.length === 0) return gone;
  const used = usedIds(view);
  const unused = [
    ...networks.map(({ id }) => ({ kind: 'delete', table: 'network', id }) as const),
    ...secrets.map(({ id }) => ({ kind: 'delete', table: 'secret', id }) as const),
    ...configs.map(({ id }) => ({ kind: 'delete', table: 'config', id }) as const),
  ].filter(({ id }) => !used.has(id));
  return [...gone, ...unused];
}

function orphanedCredentials(view: View): Write[] {
  const found: Write[] = [];
  for (const { id, pullFor } of view.list('secret')) {
    const isOver = pullFor !== undefined && view.find('service', pullFor) === undefined;
    if (isOver) found.push({ kind: 'delete', table: 'secret', id });
  }
  return found;
}

function marked<Item extends { readonly removing?: boolean | undefined }>(items: Iterable<Item>): Item[] {
  const found: Item[] = [];
  for (const item of items) if (item.removing === true) found.push(item);
  return found;
}

/** Ids that services and tasks which have not ended refer to. */
function usedIds(view: View): ReadonlySet<string> {
  const used = new Set<string>();
  const specs = [
    ...[...view.list('service')].map(service => service.spec.task),
    // What a rollback needs is kept as long as one may lead there.
    ...[...view.list('revision')].map(revision => revision.spec.task),
    ...[...view.list('task')].filter(task => !isEnded(task.status.state)).map(task => task.spec),
  ];
  for (const spec of new Set(specs)) {
    for (const { network } of spec.networks) used.add(network);
    for (const { secrets, configs } of spec.containers) {
      for (const { source } of [...secrets, ...configs]) used.add(source);
    }
  }
  return used;
}
