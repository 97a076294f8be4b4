/**
 * Names for the changes that this manager asks for on behalf of people, so that one whose outcome was not known can be asked for
 * again and happens once (raft/store/clients.ts). The client is this process; `settled` lets the store forget what was answered.
 *
 * Also how a call travels from one manager to the one that leads: who asked, and under which name.
 *
 * Called by control-route.ts. Not here: remembering what was done (raft/store/clients.ts).
 */
import { createHash } from 'node:crypto';
import type { Services } from '../gen/services.js';
import { type CallContext, type Caller, type Handlers, mapHandlers } from '../grpc.js';
import type { Random } from '../host.js';
import { newId } from '../ids.js';
import type { Once } from '../raft/store.js';
import type { Wire } from '../wire.js';
import { principalOf } from './rpc/roles.js';

export interface Numbering {
  /** A new name; `done` when its answer has reached whoever asked. */
  readonly begin: () => { readonly once: Once; readonly done: () => void };
}

export function makeNumbering(random: Pick<Random, 'bytes'>): Numbering {
  const client = newId<string>(random.bytes);
  const open = new Set<number>();
  let last = 0;
  return {
    begin: () => {
      last += 1;
      const sequence = last;
      open.add(sequence);
      const [oldest = sequence] = open;
      return { once: { client, sequence, settled: oldest - 1 }, done: () => void open.delete(sequence) };
    },
  };
}

/** The id of an object that a change makes: the same each time that the change is asked for. */
export function newIdFor<Id extends string>(context: CallContext, random: Pick<Random, 'bytes'>): Id {
  const { once } = context;
  if (once === undefined) return newId<Id>(random.bytes);
  const digest = createHash('sha256').update(`${once.client}/${once.sequence}`).digest();
  return newId<Id>(sizeBytes => digest.subarray(0, sizeBytes));
}

const principalKey = 'covey-principal';
const onceKey = 'covey-once';

/** What goes with a call to the leader. */
export function travelling(context: CallContext): Readonly<Record<string, string>> {
  const { once } = context;
  return {
    [principalKey]: principalOf(context.caller),
    ...(once === undefined ? {} : { [onceKey]: `${once.client}/${once.sequence}/${once.settled}` }),
  };
}

type ControlHandlers = Handlers<Services['Control']>;

/** The handlers for calls that come from another manager: they act for whoever asked there. */
export function onBehalf(wire: Wire, handlers: ControlHandlers): ControlHandlers {
  return mapHandlers(
    { name: 'Control', wire, handlers },
    ({ handler }) =>
      (request, context) =>
        handler(request, { ...context, caller: callerOf(context), once: onceOf(context) }),
  );
}

function callerOf(context: CallContext): Caller {
  const [, uid] = /^uid:(\d+)$/.exec(String(context.metadata.get(principalKey)[0] ?? '')) ?? [];
  return uid === undefined ? context.caller : { kind: 'uid', uid: Number(uid) };
}

function onceOf(context: CallContext): Once | undefined {
  const text = String(context.metadata.get(onceKey)[0] ?? '');
  const [, client, sequence, settled] = /^([0-9a-z]+)\/(\d+)\/(\d+)$/.exec(text) ?? [];
  return client === undefined ? undefined : { client, sequence: Number(sequence), settled: Number(settled) };
}
