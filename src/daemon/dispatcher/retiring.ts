/**
 * Which addresses some node may still lead to: those that left the tables with a change that not every node has acknowledged.
 * None of them is given to anybody else meanwhile, so no packet, name or translated connection of its last owner finds the next.
 *
 * A node that is ready and has no session just now still leads by what it was told before: it is waited for, until it is back,
 * lost or gone. A manager that begins to lead does not know what was acknowledged to the one before it: until every node has
 * shown it the tables as they were then, no address is given a second time.
 *
 * Called by dispatcher.ts, asked by allocate/. Not here: how long an address rests in any case (allocate/ipam.ts).
 */
import type { Clock } from '../../host.js';
import type { NodeId } from '../../ids.js';
import type { StoreEvent, View } from '../../raft/store.js';
import { type Sessions, shows } from './node-session.js';
import { isPlaced } from './tables.js';

export interface Retiring {
  /** The tables change; what leaves them with it is retiring. */
  readonly changed: (events: readonly StoreEvent[], epoch: number) => void;
  /** A node may have acknowledged something, or have gone. */
  readonly look: () => void;
  /** Whether no node leads to what had the address before; undefined: yes. Else the nodes that are waited for. */
  readonly waitsFor: (address: string) => readonly NodeId[] | undefined;
  readonly times: () => AcknowledgedTimes;
}

export interface AcknowledgedTimes {
  readonly count: number;
  /** From a change to the acknowledgement of the last node; the latest ones. */
  readonly milliseconds: readonly number[];
}

interface Pending {
  readonly epoch: number;
  readonly sinceMs: number;
}

const samplesMax = 1_000;
const pendingMax = 10_000;

export function openRetiring(options: {
  readonly sessions: Sessions;
  readonly view: () => View;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Of the tables as this manager found them. */
  readonly firstEpoch: number;
}): Retiring {
  const { sessions, view, clock, firstEpoch } = options;
  /** Changes that some node has not shown yet, oldest first. */
  const pending: Pending[] = [{ epoch: firstEpoch, sinceMs: clock.monotonicMs() }];
  const addresses = new Map<string, number>();
  const samples: number[] = [];
  let count = 0;
  /** Known to be behind when last looked at: as long as it is, nobody else has to be asked. */
  let laggard: NodeId | undefined;
  const isBehind = (nodeId: NodeId, epoch: number): boolean => {
    const session = sessions.get(nodeId);
    if (session !== undefined && session.ended === undefined) return !shows(session, epoch);
    return view().find('node', nodeId)?.status.state === 'ready';
  };
  /** Nodes by change, until something may have become other: a pass asks for many addresses. */
  const late = new Map<number, readonly NodeId[]>();
  const lateAt = (epoch: number): readonly NodeId[] => {
    const known = late.get(epoch) ?? [...behind({ sessions, view: view() }, epoch)];
    late.set(epoch, known);
    return known;
  };
  const look = (): void => {
    late.clear();
    for (;;) {
      const [oldest] = pending;
      if (oldest === undefined) return;
      if (laggard !== undefined && isBehind(laggard, oldest.epoch)) return;
      [laggard] = behind({ sessions, view: view() }, oldest.epoch);
      if (laggard !== undefined) return;
      pending.shift();
      count += 1;
      samples.push(clock.monotonicMs() - oldest.sinceMs);
      if (samples.length > samplesMax) samples.shift();
      for (const [address, epoch] of addresses) if (epoch <= oldest.epoch) addresses.delete(address);
    }
  };
  return {
    changed: (events, epoch) => {
      late.clear();
      for (const address of events.flatMap(leaving)) addresses.set(address, epoch);
      // One node that is stuck must not cost memory: from here on changes are waited for together.
      if (pending.length >= pendingMax) pending.pop();
      pending.push({ epoch, sinceMs: clock.monotonicMs() });
    },
    look,
    waitsFor: address => {
      const isFirst = pending[0]?.epoch === firstEpoch;
      const epoch = isFirst ? firstEpoch : addresses.get(address);
      return epoch === undefined ? undefined : lateAt(epoch);
    },
    times: () => ({ count, milliseconds: samples }),
  };
}

/** Nodes that do not show the change, or of which that is not known. */
function* behind(
  { sessions, view }: { readonly sessions: Sessions; readonly view: View },
  epoch: number,
): Generator<NodeId> {
  for (const [nodeId, session] of sessions) if (session.ended === undefined && !shows(session, epoch)) yield nodeId;
  for (const { id, status } of view.list('node')) {
    const session = status.state === 'ready' ? sessions.get(id) : undefined;
    if (status.state === 'ready' && (session === undefined || session.ended !== undefined)) yield id;
  }
}

/** Addresses that are in the tables before the change and not after it. */
export function leaving(event: StoreEvent): readonly string[] {
  if (event.old === undefined) return [];
  if (event.table === 'task') {
    const { old } = event;
    const stays = event.kind === 'put' && isPlaced(event.object);
    return isPlaced(old) && !stays ? old.endpoints.flatMap(one => one.addresses) : [];
  }
  if (event.table === 'service') {
    const kept = event.kind === 'put' ? event.object.vips.flatMap(one => one.addresses) : [];
    return event.old.vips.flatMap(one => one.addresses).filter(address => !kept.includes(address));
  }
  return [];
}
