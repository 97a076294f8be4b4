/**
 * What goes wrong, as data: a list of (time, fault) made from the seed before the run begins, so that a failing run can
 * be made smaller by taking faults away.
 *
 * Not here: carrying them out (run.ts).
 */
import type { Random } from './random.js';

export type Fault =
  /** Links between the two sides are cut; `one-way` only from the first to the second. `members` are places in the list of members. */
  | { readonly kind: 'cut'; readonly shape: 'split' | 'one-way' | 'isolate' | 'bridge'; readonly pick: number }
  | { readonly kind: 'heal' }
  | { readonly kind: 'crash' | 'kill'; readonly member: number; readonly downFor: number }
  | { readonly kind: 'crash-all'; readonly downFor: number }
  | { readonly kind: 'crash-at-write'; readonly member: number; readonly writes: number; readonly downFor: number }
  | { readonly kind: 'pause'; readonly member: number; readonly units: number }
  | { readonly kind: 'stall-disk'; readonly member: number; readonly units: number }
  | { readonly kind: 'fail-sync' | 'fail-write'; readonly member: number }
  | { readonly kind: 'full-disk'; readonly member: number; readonly freeBytes: number; readonly units: number }
  | { readonly kind: 'flip'; readonly member: number; readonly place: number; readonly bit: number }
  | { readonly kind: 'clock'; readonly member: number; readonly rate: number }
  | { readonly kind: 'burst'; readonly member: number; readonly ticks: number }
  | { readonly kind: 'slow-apply'; readonly member: number; readonly units: number }
  | {
      readonly kind: 'quality';
      readonly drop: number;
      readonly repeat: number;
      readonly delayMax: number;
      readonly veryLate: number;
    }
  | { readonly kind: 'members'; readonly draw: number; readonly times: number }
  | { readonly kind: 'transfer'; readonly member: number };

export interface TimedFault {
  readonly at: number;
  readonly fault: Fault;
}

export function makeFaults(random: Random, length: number): TimedFault[] {
  const faults: TimedFault[] = [];
  const gap = random.pick([60, 120, 250]);
  const makers = random.shuffle(allMakers).slice(0, random.between(4, allMakers.length));
  for (let at = random.between(50, 250); at < length; at += random.between(1, gap))
    faults.push({ at, fault: random.pick(makers)(random) });
  return faults;
}

const downFor = (random: Random) => random.between(10, 600);
const member = (random: Random) => random.below(16);

const allMakers: readonly ((random: Random) => Fault)[] = [
  random => ({
    kind: 'cut',
    shape: random.pick(['split', 'one-way', 'isolate', 'bridge'] as const),
    pick: random.below(2 ** 30),
  }),
  random => ({ kind: 'cut', shape: random.pick(['split', 'isolate'] as const), pick: random.below(2 ** 30) }),
  () => ({ kind: 'heal' }),
  () => ({ kind: 'heal' }),
  random => ({ kind: 'crash', member: member(random), downFor: downFor(random) }),
  random => ({ kind: 'kill', member: member(random), downFor: downFor(random) }),
  random => ({ kind: 'crash-all', downFor: random.between(10, 100) }),
  random => ({ kind: 'crash-at-write', member: member(random), writes: random.below(12), downFor: downFor(random) }),
  random => ({ kind: 'pause', member: member(random), units: random.between(20, 1500) }),
  random => ({ kind: 'stall-disk', member: member(random), units: random.between(20, 800) }),
  random => ({ kind: random.pick(['fail-sync', 'fail-write'] as const), member: member(random) }),
  random => ({
    kind: 'full-disk',
    member: member(random),
    freeBytes: random.below(6000),
    units: random.between(100, 800),
  }),
  random => ({ kind: 'flip', member: member(random), place: random.below(2 ** 30), bit: random.below(8) }),
  random => ({ kind: 'clock', member: member(random), rate: random.pick([0.25, 0.5, 1, 2, 4]) }),
  random => ({ kind: 'burst', member: member(random), ticks: random.between(2, 30) }),
  random => ({ kind: 'slow-apply', member: member(random), units: random.pick([0, 10, 40]) }),
  random => ({
    kind: 'quality',
    drop: random.pick([0, 0, 0.05, 0.3]),
    repeat: random.pick([0, 0.1, 0.3]),
    delayMax: random.pick([2, 5, 30, 80]),
    veryLate: random.pick([0, 0, 0.02, 0.1]),
  }),
  random => ({ kind: 'members', draw: random.below(2 ** 30), times: random.between(1, 2) }),
  random => ({ kind: 'members', draw: random.below(2 ** 30), times: random.between(1, 2) }),
  random => ({ kind: 'transfer', member: member(random) }),
];
