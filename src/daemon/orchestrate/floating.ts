/**
 * Who has the floating addresses: one node each, that is on the address's network, heard of and not to be emptied; nodes that run a
 * task of the service come first, and who has an address keeps it while it fits.
 *
 * Keeps true: nobody else is given an address before the lease of the node that had it is over. A node may have one only for so
 * long after it last heard of a manager, and its kernel sees to that when the daemon is dead (netns/floating.ts).
 *
 * `planFloating` is the rule, `openFloating` the leader's loop. Not here: adding and removing (control/addresses.ts), what nodes
 * do (netns/floating.ts).
 */
import type { Cluster, FloatingAddress, Node, Service } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { asId, type NodeId } from '../../ids.js';
import type { Lifetime } from '../../lifetime.js';
import { openLoop } from '../../loop.js';
import type { Store, View } from '../../raft/store.js';
import { isServing } from '../../serving.js';
import type { Logger } from '../../telemetry.js';
import { parseAddress, sizeOf } from '../allocate/prefix.js';
import { patienceOf } from '../dispatcher/patience.js';

/** Clocks may differ by some per mille, and an answer may be on its way for a while. */
const marginMs = 1_000;
/** Heartbeats from one answer of the manager to the next, and one more. */
const beatsUnanswered = 6;
const never = Number.POSITIVE_INFINITY;

export interface FloatingPlan {
  /** undefined: as they are. */
  readonly floating: readonly FloatingAddress[] | undefined;
  /** When the lease of a lost node is over; by the clock of the leader. */
  readonly wakeAtMs: number | undefined;
}

export function floatingOf(cluster: Pick<Cluster, 'floating'>): readonly FloatingAddress[] {
  return cluster.floating?.list ?? [];
}

export function withFloating(cluster: Cluster, list: readonly FloatingAddress[]): Cluster {
  return { ...cluster, floating: { list } };
}

/** So long after it heard of a manager the node may have an address. */
export function leaseOf(view: View, cluster: Cluster, node: Node): number {
  const { heartbeatMs, lostMs } = patienceOf(view, cluster.spec)(node);
  return Math.max(lostMs - marginMs, heartbeatMs * beatsUnanswered + marginMs);
}

export function planFloating(view: View, nowMs: number): FloatingPlan {
  const [cluster] = view.list('cluster');
  if (cluster === undefined || floatingOf(cluster).length === 0) return { floating: undefined, wakeAtMs: undefined };
  const loads = new Map<string, number>();
  let wakeAtMs: number | undefined;
  let isChanged = false;
  const floating: FloatingAddress[] = [];
  for (const one of floatingOf(cluster)) {
    const service = view.find('service', one.serviceId);
    if (service === undefined) {
      isChanged = true;
      continue;
    }
    const freeAtMs = freeAtOf(view, cluster, one);
    if (freeAtMs > nowMs) {
      if (freeAtMs !== never) wakeAtMs = Math.min(wakeAtMs ?? freeAtMs, freeAtMs);
      floating.push(one);
      continue;
    }
    const chosen = chooseHolder(view, one, { service, loads });
    if (chosen !== undefined) loads.set(chosen.id, (loads.get(chosen.id) ?? 0) + 1);
    const nodeId = chosen?.id ?? asId<NodeId>('');
    const message = chosen === undefined ? problemOf(view, one.address) : '';
    const isSame = nodeId === one.nodeId && message === one.message;
    isChanged ||= !isSame;
    floating.push(isSame ? one : { ...one, nodeId, message, sinceMs: nodeId === one.nodeId ? one.sinceMs : nowMs });
  }
  return { floating: isChanged ? floating : undefined, wakeAtMs };
}

/** When another node may be given it: 0 while its holder is heard of, which gives it back when told. */
function freeAtOf(view: View, cluster: Cluster, { nodeId }: FloatingAddress): number {
  const node = view.find('node', nodeId);
  if (node === undefined || node.status.state === 'left') return 0;
  // Another manager leads since a moment ago: the node will be heard of, or lost.
  if (node.status.state === 'unknown') return never;
  const { silentSinceMs } = node.status;
  if (silentSinceMs === undefined) return 0;
  return silentSinceMs + leaseOf(view, cluster, node) + marginMs;
}

function chooseHolder(
  view: View,
  { address, nodeId }: FloatingAddress,
  { service, loads }: { readonly service: Service; readonly loads: ReadonlyMap<string, number> },
): Node | undefined {
  const serving = new Set(
    [...view.tasksOfService(service.id)]
      .filter(task => isServing(task.status) && task.desired === 'running' && !task.superseded)
      .map(task => task.nodeId),
  );
  const fitting = [...view.list('node')].filter(node => fits(node, address));
  const holder = fitting.find(node => node.id === nodeId);
  // With a port of mode local only nodes with a task answer.
  const needsTask = service.ports.some(port => port.mode === 'local');
  const canAnswer = (node: Node): boolean => !needsTask || serving.has(node.id) || serving.size === 0;
  if (holder !== undefined && canAnswer(holder)) return holder;
  const rank = (node: Node): number => (serving.has(node.id) ? 0 : 1_000) + (loads.get(node.id) ?? 0);
  return fitting.sort((a, b) => rank(a) - rank(b) || (a.spec.name < b.spec.name ? -1 : 1))[0];
}

function fits(node: Node, address: string): boolean {
  return node.status.state === 'ready' && node.spec.availability !== 'drain' && isOnNetwork(node, address);
}

/** One of its links is on a network that has the address. */
export function isOnNetwork({ description }: Pick<Node, 'description'>, address: string): boolean {
  const wanted = parseAddress(address);
  if (wanted === undefined) return false;
  return (description.network?.prefixes ?? []).some(text => {
    const [own = '', bits = ''] = text.split('/');
    const number = parseAddress(own);
    const size = sizeOf(Number(bits));
    // Of one address alone: a floating one that the node has at present.
    return number !== undefined && size > 1 && Math.floor(number / size) === Math.floor(wanted / size);
  });
}

function problemOf(view: View, address: string): string {
  const nodes = [...view.list('node')];
  const near = nodes.filter(node => isOnNetwork(node, address));
  return `no node fits: ${nodes.length} looked at, ${near.length} are on its network, none of these is ready and not draining`;
}

export function openFloating(options: {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends with the leadership. */
  readonly lifetime: Lifetime;
}): void {
  const { store, clock, log, lifetime } = options;
  const loop = openLoop<'addresses'>({
    name: 'floating',
    clock,
    lifetime,
    onFailure: (_key, error, retryInMs) => log.warn('floating addresses not placed', { error, retryInMs }),
    reconcile: async (_key, signal) => {
      const plan = planFloating(store.view(), clock.wallMs());
      if (plan.wakeAtMs !== undefined) loop.touchAfter('addresses', Math.max(1, plan.wakeAtMs - clock.wallMs()));
      if (plan.floating === undefined) return;
      await store.update(
        view => {
          const [cluster] = view.list('cluster');
          const { floating } = planFloating(view, clock.wallMs());
          return cluster === undefined || floating === undefined
            ? []
            : [{ kind: 'put', table: 'cluster', object: withFloating(cluster, floating) }];
        },
        { principal: 'system', signal },
      );
      log.info('floating addresses placed', {
        addresses: plan.floating.map(({ address, nodeId }) => `${address} ${nodeId}`).join(', '),
      });
    },
  });
  const watch = store.watch((events, view) => {
    const [cluster] = view.list('cluster');
    if (cluster !== undefined && floatingOf(cluster).length > 0 && events.some(({ table }) => concerning.has(table)))
      loop.touch('addresses');
  });
  lifetime.defer('floating/watch', () => watch[Symbol.dispose]());
  loop.touch('addresses');
}

const concerning: ReadonlySet<string> = new Set(['cluster', 'node', 'service', 'task']);
