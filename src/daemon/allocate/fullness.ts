/**
 * What is wrong with the addresses of networks, told before it hurts: those that are nearly full, and those that lie over what a
 * node has of its own, which came later than they did. Standing conditions of the leader, which doctor and info show.
 *
 * `planFullness` and `planClashes` decide, `openFullness` is the shell that looks a while after changes. Not here: giving addresses
 * (ipam.ts), refusing prefixes of new networks (clashes.ts).
 */
import type { ErrorCode } from '../../errors.js';
import type { Network } from '../../gen/types.js';
import type { Clock, Timer } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import { isEnded, type Store, type StoreEvent, type View } from '../../raft/store.js';
import type { Telemetry, Warning } from '../../telemetry.js';
import { findClash, renderClash } from './clashes.js';
import { addressCount } from './ipam.js';

export interface Fullness {
  readonly network: Network;
  readonly used: number;
  readonly total: number;
}

const nearlyFull = 0.8;
const lookAfterMs = 2_000;
const shownMax = 5;

/** Networks of which that share of addresses is in use, the fullest first. */
export function planFullness(view: Pick<View, 'list'>): readonly Fullness[] {
  const used = new Map<string, number>();
  const add = (networkId: string, count: number): void => void used.set(networkId, (used.get(networkId) ?? 0) + count);
  for (const task of view.list('task')) {
    if (isEnded(task.status.state)) continue;
    for (const { networkId, addresses } of task.endpoints) add(networkId, addresses.length);
  }
  for (const { vips } of view.list('service')) for (const vip of vips) add(vip.networkId, vip.addresses.length);
  return [...view.list('network')]
    .map(network => ({ network, used: used.get(network.id) ?? 0, total: addressCount(network.subnets) }))
    .filter(one => one.total > 0 && one.used >= one.total * nearlyFull)
    .sort((a, b) => b.used / b.total - a.used / a.total);
}

export function openFullness(options: {
  readonly store: Pick<Store, 'view' | 'watch'>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly lifetime: Lifetime;
}): void {
  const { store, clock, telemetry, lifetime } = options;
  let timer: Timer | undefined;
  const told = new Map<ErrorCode, string>();
  const tell = (warning: Warning): void => {
    const { code, message } = warning;
    if (message === (told.get(code) ?? '')) return;
    told.set(code, message);
    telemetry.lower(code);
    if (message !== '') telemetry.raise(warning);
  };
  const look = (): void => {
    timer = undefined;
    const view = store.view();
    const full = planFullness(view);
    const name = full[0]?.network.spec.name ?? '';
    const more = `covey network update --subnet-add SUBNET ${name}`;
    tell({ code: 'network-nearly-full', message: render(full), hint: more });
    const other = 'covey network create --subnet SUBNET, and another pool for a new cluster (covey init --pool)';
    tell({ code: 'subnet-conflict', message: planClashes(view).slice(0, shownMax).join('; '), hint: other });
  };
  const soon = (): void => {
    timer ??= clock.after(lookAfterMs, look);
  };
  const watch = store.watch(events => {
    if (events.some(concernsAddresses)) soon();
  });
  lifetime.defer('fullness', () => {
    watch[Symbol.dispose]();
    timer?.cancel();
    for (const code of told.keys()) telemetry.lower(code);
  });
  soon();
}

/** Networks whose tasks on some node cannot reach what its host has there. */
function planClashes(view: Pick<View, 'list'>): readonly string[] {
  const nodes = [...view.list('node')];
  return [...view.list('network')].flatMap(({ spec, subnets }) => {
    const clash = findClash(subnets, nodes);
    if (clash === undefined) return [];
    return [`network "${spec.name}" (${subnets.join(', ')}) hides ${renderClash(clash)} from its containers there`];
  });
}

function concernsAddresses(event: StoreEvent): boolean {
  if (event.table !== 'node') return event.table === 'task' || event.table === 'service' || event.table === 'network';
  if (event.kind === 'delete' || event.old === undefined) return true;
  return JSON.stringify(event.object.description.routes) !== JSON.stringify(event.old.description.routes);
}

/** By whole tens of percent, so that not every task is news. */
function render(full: readonly Fullness[]): string {
  const names = full.slice(0, shownMax).map(({ network, used, total }) => {
    const tens = Math.floor((used / total) * 10) * 10;
    return `"${network.spec.name}" (${network.subnets.join(', ')}: ${tens} % of ${total} addresses in use)`;
  });
  const more = full.length > shownMax ? ` and ${full.length - shownMax} more` : '';
  return full.length === 0 ? '' : `networks that are nearly full: ${names.join(', ')}${more}`;
}
