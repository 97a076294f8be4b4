/**
 * The receiving end of the links between managers: checks who speaks, hands messages to this member, says which frame has come.
 *
 * Keeps true: a message reaches the member only from the node and the member that its link said hello as; one that cannot be
 * decoded, or is for somebody else, is dropped alone; members and nodes that the store here knows as removed are not heard.
 *
 * Called by daemon/rpc (the Raft service). Not here: the sending end (transport.ts), whether the caller's certificate is that of
 * a manager (the role table of daemon/rpc).
 */
import { type Channel, openChannel } from '../../channel.js';
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type {
  GroupHistory,
  ManagerAddress,
  RaftFrame,
  RaftHello,
  RaftMessage,
  RaftReceipt,
  RaftSnapshotPart,
  RaftSnapshotProgress,
} from '../../gen/types.js';
import type { CallContext, Handlers } from '../../grpc.js';
import type { Clock, Timer } from '../../host.js';
import type { PeerId, SnapshotRequest } from '../../raft/core/types.js';
import type { Arrivals } from '../../raft/transport.js';
import type { Logger } from '../../telemetry.js';
import type { ProtocolRange } from '../../version.js';
import type { Wire } from '../../wire.js';
import { removedError } from '../ca/removal.js';
import type { Whereabouts } from '../group/whereabouts.js';
import { chooseProtocol } from '../session/protocol.js';
import { fromWire, snapshotRequestFrom } from './codec.js';

export interface PeerServiceOptions {
  readonly own: PeerId;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly log: Logger;
  readonly arrivals: () => Arrivals;
  /** The node that a member is known to live on; undefined: nobody knows (yet). */
  readonly findNode: (peer: PeerId) => string | undefined;
  /** Callers say where they are, and are told where the others are. */
  readonly whereabouts?: Pick<Whereabouts, 'said'>;
  readonly managers?: () => readonly ManagerAddress[];
  /** Versions of this exchange that are spoken here. */
  readonly protocols: ProtocolRange;
  /** As the store here knows it. */
  readonly history: () => GroupHistory;
}

const receiptEveryMs = 50;
const receiptsMax = 64;

export function peerHandlers(options: PeerServiceOptions): Handlers<Services['Raft']> {
  return {
    link: (frames, context) => serveLink(options, frames, context),
    snapshot: (parts, context) => takeSnapshot(options, parts, context),
  };
}

async function* serveLink(
  options: PeerServiceOptions,
  frames: AsyncIterable<RaftFrame>,
  context: CallContext,
): AsyncGenerator<RaftReceipt> {
  const receipts = openChannel<RaftReceipt>(receiptsMax);
  let heard = 0;
  let timer: Timer | undefined;
  const say = (): void => {
    timer = undefined;
    receipts.push({ sequence: heard });
  };
  // Not waited for: it ends with the stream, and takes the receipts with it.
  void hearAll(options, { frames, context, receipts }, sequence => {
    heard = sequence;
    timer ??= options.clock.after(receiptEveryMs, say);
  });
  try {
    yield* receipts;
  } finally {
    timer?.cancel();
  }
}

async function hearAll(
  options: PeerServiceOptions,
  link: {
    readonly frames: AsyncIterable<RaftFrame>;
    readonly context: CallContext;
    readonly receipts: Channel<RaftReceipt>;
  },
  heard: (sequence: number) => void,
): Promise<void> {
  let hello: RaftHello | undefined;
  try {
    for await (const frame of link.frames) {
      hello ??= greet(options, checkHello(options, frame.hello, link.context), link);
      for (const bytes of frame.messages) hear(options, hello, bytes);
      heard(frame.sequence);
    }
    link.receipts.close();
  } catch (error) {
    link.receipts.fail(error);
  }
}

/** Addresses of managers, both ways: those that have moved find each other by whoever has not. */
function greet(
  options: PeerServiceOptions,
  hello: RaftHello,
  { context, receipts }: { readonly context: CallContext; readonly receipts: Channel<RaftReceipt> },
): RaftHello {
  const { addresses = [] } = hello.caller ?? {};
  if (context.caller.kind === 'node' && addresses.length > 0)
    options.whereabouts?.said(context.caller.nodeId, addresses);
  if (options.managers !== undefined) receipts.push({ sequence: 0, neighbours: { managers: options.managers() } });
  return hello;
}

function hear(options: PeerServiceOptions, hello: RaftHello, bytes: Uint8Array): void {
  let message: RaftMessage;
  try {
    message = options.wire.type('RaftMessage').decode(bytes);
  } catch (error) {
    options.log.warn('a message of another manager is not known here and dropped', { error, member: hello.from });
    return;
  }
  if (message.from === hello.from && message.to === options.own) options.arrivals().receive(fromWire(message));
}

function checkHello(options: PeerServiceOptions, hello: RaftHello | undefined, context: CallContext): RaftHello {
  const what = 'Cannot take part in the Raft group';
  if (hello === undefined) throw new CoveyError('bad-argument', `${what} without saying hello`);
  chooseProtocol({ min: hello.protocolMin, max: hello.protocolMax }, options.protocols);
  if (hello.to !== options.own) {
    // A member that knows nothing yet (0) is never newer.
    const { generation } = options.history();
    if (hello.generation < generation) {
      throw new CoveyError('group-superseded', `${what} of ${hello.to}: the managers' group was made anew without it`, {
        state: `its group is the cluster's number ${hello.generation + 1}, the present one number ${generation + 1}`,
        hint: 'nothing is to be done: this node goes on as a worker; covey node promote makes it a manager again',
      });
    }
    throw wrongMember(options, hello.to);
  }
  checkCaller(options, hello.from, context);
  return hello;
}

function wrongMember({ own }: PeerServiceOptions, meant: PeerId): CoveyError {
  return new CoveyError('wrong-member', 'Cannot take part in the Raft group of this node', {
    state: `this is member ${own}, the caller means member ${meant}`,
  });
}

/**
 * A member speaks through its own node only, and as long as it is one. That the node's role is known here as worker means
 * nothing: this store may be behind, and the one who can tell is the very member that speaks.
 */
function checkCaller(options: PeerServiceOptions, from: PeerId, { caller }: CallContext): void {
  const what = `Cannot speak for member ${from}`;
  const known = options.findNode(from);
  if (caller.kind !== 'node') throw new CoveyError('wrong-member', what, { state: 'the caller is no node' });
  if (caller.role === '') throw removedError(caller.nodeId);
  if (options.history().removed.includes(from)) {
    throw new CoveyError('wrong-member', what, {
      state: 'it has left the group of managers, and its id is never used again',
      hint: 'covey info on that node says what it is now',
    });
  }
  if (known === undefined || known === caller.nodeId) return;
  throw new CoveyError('wrong-member', what, { state: `member ${from} is node ${known}` });
}

async function* takeSnapshot(
  options: PeerServiceOptions,
  parts: AsyncIterable<RaftSnapshotPart>,
  context: CallContext,
): AsyncGenerator<RaftSnapshotProgress> {
  const arrivals = options.arrivals();
  let message: SnapshotRequest | undefined;
  for await (const { body } of parts) {
    if (body.kind === 'begin') {
      message = snapshotRequestFrom(body.message);
      if (message === undefined) throw new CoveyError('bad-argument', 'Cannot take a snapshot without its name');
      checkCaller(options, message.from, context);
      if (message.to !== options.own) throw wrongMember(options, message.to);
      yield await begun(arrivals, message);
      continue;
    }
    if (message === undefined)
      throw new CoveyError('bad-argument', 'Cannot take a part of a snapshot before its begin');
    if (body.kind === 'bytes') yield await stored(arrivals, message, { offset: body.offset, bytes: body.data });
    else yield await finished(arrivals, message, body.totalBytes);
  }
}

function begun(arrivals: Arrivals, message: SnapshotRequest): Promise<RaftSnapshotProgress> {
  return progress(answer => arrivals.beginSnapshot(message, answer));
}

function stored(
  arrivals: Arrivals,
  message: SnapshotRequest,
  chunk: { readonly offset: number; readonly bytes: Uint8Array },
): Promise<RaftSnapshotProgress> {
  return progress(answer => arrivals.snapshotChunk(message, chunk, answer));
}

function finished(arrivals: Arrivals, message: SnapshotRequest, totalBytes: number): Promise<RaftSnapshotProgress> {
  return new Promise(resolve => {
    arrivals.finishSnapshot(message, totalBytes, stored => resolve({ receivedBytes: totalBytes, stored }));
  });
}

function progress(ask: (answer: (receivedBytes: number | undefined) => void) => void): Promise<RaftSnapshotProgress> {
  return new Promise((resolve, reject) => {
    ask(receivedBytes => {
      if (receivedBytes === undefined) reject(new CoveyError('cancelled', 'Cannot take this snapshot now'));
      else resolve({ receivedBytes, stored: false });
    });
  });
}
