/**
 * The network between simulated members: each directed link drops, delays, reorders and repeats on its own, and can be
 * cut. Snapshots travel chunk by chunk over the same links.
 *
 * Keeps true: what arrives was sent; nothing is invented. Not here: when links are cut (faults.ts).
 */
import type { Message, PeerId, SnapshotRequest } from '../../../src/raft/core/types.js';
import { type Arrivals, pumpSnapshot, type Transport } from '../../../src/raft/transport.js';
import { createRandom, type Random } from './random.js';
import type { World } from './world.js';

interface LinkQuality {
  drop: number;
  repeat: number;
  delayMax: number;
  /** Now and then a message comes very late. */
  veryLate: number;
}

export interface Network {
  readonly quality: LinkQuality;
  cut(from: PeerId, to: PeerId): void;
  healAll(): void;
  isCut(from: PeerId, to: PeerId): boolean;
  transportOf(id: PeerId): Transport;
}

export interface NetworkOptions {
  readonly world: World;
  readonly random: Random;
  /** Runs `call` with the member's process when it is up, else nothing. */
  readonly deliver: (to: PeerId, call: (arrivals: Arrivals) => void) => void;
  readonly onSend: (message: Message) => void;
}

export function createNetwork({ world, random, deliver, onSend }: NetworkOptions): Network {
  const cuts = new Set<string>();
  const quality: LinkQuality = { drop: 0, repeat: 0, delayMax: 3, veryLate: 0 };
  const isCut = (from: PeerId, to: PeerId) => cuts.has(`${from}>${to}`);
  const delay = () => {
    if (random.chance(quality.veryLate)) return random.between(100, 3000);
    return random.between(1, quality.delayMax);
  };
  const carry = (from: PeerId, to: PeerId, label: string, call: (arrivals: Arrivals) => void) => {
    if (isCut(from, to) || random.chance(quality.drop)) return false;
    world.after(delay(), label, () => {
      if (!isCut(from, to)) deliver(to, call);
    });
    return true;
  };
  /** The far end of a snapshot's way: each call and each answer is a message of its own. */
  const farEnd = (from: PeerId, to: PeerId): Arrivals => {
    const ask = <Answer>(
      what: string,
      call: (arrivals: Arrivals, answer: (value: Answer | undefined) => void) => void,
      answered: (value: Answer | undefined) => void,
    ) => {
      let open = true;
      const finish = (value: Answer | undefined) => {
        if (open) answered(value);
        open = false;
      };
      world.after(400, '', () => finish(undefined));
      carry(from, to, `${from}>${to} ${what}`, arrivals =>
        call(arrivals, value => {
          carry(to, from, `${to}>${from} ${what}-answer`, () => finish(value));
        }),
      );
    };
    return {
      receive: () => undefined,
      unreachable: () => undefined,
      ended: () => undefined,
      beginSnapshot: (message, answer) =>
        ask<number>('snapshot-begin', (arrivals, back) => arrivals.beginSnapshot(message, back), answer),
      snapshotChunk: (message, chunk, answer) =>
        ask<number>('snapshot-chunk', (arrivals, back) => arrivals.snapshotChunk(message, chunk, back), answer),
      finishSnapshot: (message, totalBytes, answer) =>
        ask<boolean>(
          'snapshot-finish',
          (arrivals, back) => arrivals.finishSnapshot(message, totalBytes, back),
          value => answer(value === true),
        ),
    };
  };
  return {
    quality,
    isCut,
    cut: (from, to) => cuts.add(`${from}>${to}`),
    healAll: () => cuts.clear(),
    transportOf: id => ({
      send(message) {
        onSend(message);
        carry(id, message.to, describe(message), arrivals => arrivals.receive(message));
        if (random.chance(quality.repeat))
          carry(id, message.to, `${describe(message)} again`, arrivals => arrivals.receive(message));
      },
      sendSnapshot(message: SnapshotRequest, source, done) {
        onSend(message);
        pumpSnapshot(message, source, { to: farEnd(id, message.to), done });
      },
    }),
  };
}

function describe(message: Message): string {
  const head = `${message.from}>${message.to} ${message.kind} t${message.term}`;
  switch (message.kind) {
    case 'append':
      return `${head} ${message.prevIndex}.${message.prevTerm}+${message.entries.length} c${message.commit}`;
    case 'append-reply':
      return `${head} ${message.index}${message.reject ? ` no ${message.hintIndex}.${message.hintTerm}` : ''}`;
    case 'vote-reply':
    case 'pre-vote-reply':
      return `${head} ${message.reject ? 'no' : 'yes'}`;
    case 'heartbeat':
      return `${head} c${message.commit} r${message.readCount}`;
    default:
      return head;
  }
}

/** Cuts links in one of the shapes that networks break in; who is on which side depends on `pick`. */
export function cutLinks(
  network: Network,
  members: readonly PeerId[],
  { shape, pick }: { readonly shape: 'split' | 'one-way' | 'isolate' | 'bridge'; readonly pick: number },
): void {
  const ids = createRandom(pick, 'cut').shuffle(members);
  const half = ids.slice(0, Math.max(1, ids.length >> 1));
  const [bridge] = ids.slice(half.length);
  for (const a of ids) {
    for (const b of ids) {
      if (a === b) continue;
      const across = half.includes(a) !== half.includes(b);
      if (shape === 'split' && across) network.cut(a, b);
      if (shape === 'one-way' && half.includes(a) && !half.includes(b)) network.cut(a, b);
      if (shape === 'isolate' && (a === ids[0] || b === ids[0])) network.cut(a, b);
      if (shape === 'bridge' && across && a !== bridge && b !== bridge) network.cut(a, b);
    }
  }
}
