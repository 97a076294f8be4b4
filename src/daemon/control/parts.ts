/**
 * What all handlers of control/ are made with, and how they change the store.
 *
 * Not here: the handlers.
 */
import type { Services } from '../../gen/services.js';
import type { CallContext, Handlers } from '../../grpc.js';
import type { Clock, Random } from '../../host.js';
import type { NodeId } from '../../ids.js';
import type { Store, TableName, Tables, View, Write } from '../../raft/store.js';
import type { Roles } from '../group/roles.js';
import { principalOf } from '../rpc/roles.js';

export type ControlHandlers = Handlers<Services['Control']>;

export interface Parts {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly leaderId: () => NodeId | undefined;
  /** Managers that answer here, this one included. */
  readonly reachable: () => readonly NodeId[];
  /** Since a node was last heard here; undefined: this manager cannot say. */
  readonly silentMs: (nodeId: NodeId) => number | undefined;
  /** Managers that become workers, and the other way round. */
  readonly roles: Roles;
}

/** An object to be written; the store fills in its meta. */
export type Change<Name extends TableName> = Omit<Tables[Name], 'meta'>;

/** One transaction in the name of the caller. */
export async function change(
  { store }: Pick<Parts, 'store'>,
  context: CallContext,
  decide: (view: View) => readonly Write[],
): Promise<number> {
  return await store.update(decide, { principal: principalOf(context.caller), signal: context.signal });
}

/**
 * The same for a command that is this one transaction: when it is asked for again under its name, because the outcome was not
 * known, it has happened once.
 */
export async function changeOnce(
  { store }: Pick<Parts, 'store'>,
  context: CallContext,
  decide: (view: View) => readonly Write[],
): Promise<number> {
  const { caller, signal, once } = context;
  return await store.update(decide, { principal: principalOf(caller), signal, once });
}

/**
 * A removal under its name: asked for again it has happened once, finds nothing left, and does not touch what has the same name
 * now. `plan` finds the object in the state that is changed.
 */
export async function removeOnce(
  parts: Pick<Parts, 'store'>,
  context: CallContext,
  plan: (view: View) => { readonly id: string; readonly writes: readonly Write[] },
): Promise<{ readonly id: string | undefined }> {
  let id: string | undefined;
  await changeOnce(parts, context, view => {
    const planned = plan(view);
    id = planned.id;
    return planned.writes;
  });
  return { id };
}
