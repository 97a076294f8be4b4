/**
 * Networks that are nearly full, told before tasks have to wait for an address: a standing condition of the leader, which doctor
 * and info show.
 *
 * `planFullness` counts, `openFullness` is the shell that looks a while after changes. Not here: giving addresses (ipam.ts).
 */
import type { Network } from '../../gen/types.js';
import type { Clock, Timer } from '../../host.js';
import type { Lifetime } from '../../lifetime.js';
import { isEnded, type Store, type StoreEvent, type View } from '../../raft/store.js';
import type { Telemetry } from '../../telemetry.js';
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
  let told = '';
  const look = (): void => {
    timer = undefined;
    const full = planFullness(store.view());
    const message = render(full);
    if (message === told) return;
    told = message;
    telemetry.lower('network-nearly-full');
    const [first] = full;
    if (first === undefined) return;
    const hint = `covey network update --subnet-add SUBNET ${first.network.spec.name}`;
    telemetry.raise({ code: 'network-nearly-full', message, hint });
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
    telemetry.lower('network-nearly-full');
  });
  soon();
}

function concernsAddresses({ table }: StoreEvent): boolean {
  return table === 'task' || table === 'service' || table === 'network';
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
