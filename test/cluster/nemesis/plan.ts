/**
 * What goes wrong in a round, by seed: a list of faults with their times. Pure: the same seed and round give the same list.
 *
 * Keeps true: a node has at most one fault of its own at a time, so that each can be undone by itself; cuts of the network go
 * beside them. Each round has one kind of fault that is certain, in turn, so that ten rounds show all kinds.
 *
 * Not here: doing it (faults.ts), what has to hold all the same (invariants.ts).
 */
import { createRandom, type Random } from '../../raft/sim/random.js';

export type Fault =
  /** kill -9 of the daemon; it is started again at the end. */
  | { readonly kind: 'kill'; readonly node: number }
  /** SIGSTOP, SIGCONT. */
  | { readonly kind: 'pause'; readonly node: number }
  /** All of one node is lost but its disk, as far as it was synced; it boots at the end. */
  | { readonly kind: 'power'; readonly node: number }
  /** Its file system stands still: every write and sync of the node waits. */
  | { readonly kind: 'freeze'; readonly node: number }
  /** Its file system stands still again and again. */
  | { readonly kind: 'slow'; readonly node: number }
  /** No byte is left on its file system. */
  | { readonly kind: 'full'; readonly node: number }
  /** What a node sends to another is dropped, for each pair. */
  | { readonly kind: 'cut'; readonly shape: CutShape; readonly links: readonly Link[] };

type CutShape = 'one-way' | 'full' | 'bridge';

/** From, to. */
export type Link = readonly [number, number];

export interface PlannedFault {
  readonly atMs: number;
  readonly forMs: number;
  readonly fault: Fault;
}

export interface Pace {
  readonly kinds: readonly Fault['kind'][];
  /** Longest fault of each kind. */
  readonly maxMs: Readonly<Record<Fault['kind'], number>>;
  readonly minMs: number;
  /** The first ones begin within so long. */
  readonly spreadMs: number;
  /** Beside the certain one. */
  readonly othersMax: number;
}

/** Ten rounds in about a minute. */
export const quickPace: Pace = {
  kinds: ['kill', 'cut', 'pause', 'power', 'cut'],
  maxMs: { kill: 1_000, pause: 2_500, power: 500, freeze: 1_000, slow: 1_000, full: 1_000, cut: 2_500 },
  minMs: 100,
  spreadMs: 800,
  othersMax: 1,
};

export const longPace: Pace = {
  kinds: ['kill', 'cut', 'pause', 'power', 'freeze', 'cut', 'slow', 'full', 'pause'],
  maxMs: {
    kill: 15_000,
    pause: 30_000,
    power: 15_000,
    freeze: 8_000,
    slow: 15_000,
    full: 12_000,
    cut: 30_000,
  },
  minMs: 100,
  spreadMs: 3_000,
  othersMax: 3,
};

export interface PlanOptions {
  readonly seed: number;
  readonly round: number;
  /** Indexes; managers first. */
  readonly nodes: readonly number[];
  readonly managers: number;
  readonly pace: Pace;
}

export function planRound(options: PlanOptions): readonly PlannedFault[] {
  const { seed, round, nodes, pace } = options;
  const random = createRandom(seed, `round ${round}`);
  const kinds = [pace.kinds[(round - 1) % pace.kinds.length] ?? 'kill'];
  // Now and then all nodes lose power, and boot in any order.
  const all = kinds[0] === 'power' && random.chance(0.3);
  if (all) kinds.push(...nodes.slice(1).map(() => 'power' as const));
  else for (let more = random.between(0, pace.othersMax); more > 0; more -= 1) kinds.push(random.pick(pace.kinds));
  const free = random.shuffle(nodes);
  let hasCut = false;
  return kinds
    .flatMap((kind): PlannedFault[] => {
      const times = {
        atMs: random.below(all ? 1 : pace.spreadMs),
        // As many short ones as long ones, by magnitude.
        forMs: Math.round(pace.minMs * (pace.maxMs[kind] / pace.minMs) ** (random.below(1_001) / 1_000)),
      };
      if (kind === 'cut') {
        if (hasCut) return [];
        hasCut = true;
        return [{ ...times, fault: planCut(options, random) }];
      }
      const node = free.pop();
      return node === undefined ? [] : [{ ...times, fault: { kind, node } }];
    })
    .sort((a, b) => a.atMs - b.atMs);
}

function planCut({ nodes, managers }: PlanOptions, random: Random): Fault {
  const shuffled = random.shuffle(nodes);
  const shape = random.pick(['one-way', 'full', 'bridge'] as const);
  // Two managers apart count more than two workers: the cut goes through them. A bridge leaves one on either side.
  const apart = random.between(1, shape === 'bridge' ? managers - 2 : managers - 1);
  const mixed = random.shuffle(nodes.slice(0, managers));
  const workers = shuffled.filter(node => node > managers);
  const half = random.between(0, workers.length);
  const left = [...mixed.slice(0, apart), ...workers.slice(0, half)];
  const right = [...mixed.slice(apart), ...workers.slice(half)];
  const forth = left.flatMap(from => right.map((to): Link => [from, to]));
  const back = forth.map(([from, to]): Link => [to, from]);
  if (shape === 'one-way') return { kind: 'cut', shape, links: random.chance(0.5) ? forth : back };
  if (shape === 'full') return { kind: 'cut', shape, links: [...forth, ...back] };
  // One manager is heard by both sides, which do not hear each other.
  const bridge = mixed[apart] ?? 1;
  const links = [...forth, ...back].filter(link => !link.includes(bridge));
  return { kind: 'cut', shape, links };
}

export function describeFault({ fault, atMs, forMs }: PlannedFault): string {
  const when = `+${(atMs / 1000).toFixed(1)} s for ${(forMs / 1000).toFixed(1)} s`;
  if (fault.kind !== 'cut') return `${fault.kind} ${fault.node} ${when}`;
  return `${fault.shape} cut ${fault.links.map(([from, to]) => `${from}>${to}`).join(' ')} ${when}`;
}
