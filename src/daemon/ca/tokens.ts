/**
 * Join tokens as administrators see them: made, listed, removed. The secret is in the answer of create and nowhere else.
 *
 * Called by Control (daemon/control.ts).
 *
 * Not here: using a token (issue.ts), its text (token.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type { JoinToken, Node, NodeRole } from '../../gen/types.js';
import type { Handlers } from '../../grpc.js';
import type { Clock, Random } from '../../host.js';
import { type NodeId, newId } from '../../ids.js';
import type { Store, View } from '../../raft/store.js';
import { getObject } from '../control/find.js';
import { newIdFor } from '../control-once.js';
import { principalOf } from '../rpc/roles.js';
import { getCluster } from './issue.js';
import { digestOf, hashSecret, renderToken } from './token.js';

export type TokenHandlers = Pick<
  Handlers<Services['Control']>,
  'createJoinToken' | 'listJoinTokens' | 'removeJoinToken'
>;

const tokensMax = 1_000;

export function tokenHandlers(options: {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  /** "host:port" to join at. */
  readonly address: () => string;
}): TokenHandlers {
  const { store, clock, random } = options;
  return {
    createJoinToken: async (request, context) => {
      const nowMs = clock.wallMs();
      const wanted =
        request.node === undefined ? request : forNode(getObject(store.view(), 'node', request.node), request);
      const made = makeJoinToken({ ...wanted, nowMs, randomBytes: random.bytes });
      // Asked for again it takes the place of the one whose secret nobody was told.
      const object = { ...made.object, id: newIdFor<JoinToken['id']>(context, random) };
      await store.update(
        view => {
          const count = view.count('joinToken');
          if (count >= tokensMax)
            throw new CoveyError('too-many', 'Cannot make a join token', { state: `there are ${count}` });
          return [{ kind: 'put', table: 'joinToken', object }];
        },
        { principal: principalOf(context.caller), signal: context.signal },
      );
      const view = store.view();
      const stored = view.find('joinToken', object.id);
      if (stored === undefined) throw new CoveyError('unknown-outcome', 'Cannot read the token that was just made');
      const rootDigest = digestOf(getCluster(view).rootCertificate);
      return {
        joinToken: withoutHash(stored),
        token: renderToken({ rootDigest, secret: made.secret, returns: made.object.nodeId !== undefined }),
        address: options.address(),
      };
    },
    listJoinTokens: async () => ({ tokens: [...store.view().list('joinToken')].map(withoutHash) }),
    removeJoinToken: async (request, context) => {
      let id = request.object;
      await store.update(
        view => {
          id = tokenIdOf(view, request.object);
          return [{ kind: 'delete', table: 'joinToken', id }];
        },
        { principal: principalOf(context.caller), signal: context.signal, once: context.once },
      );
      return { id };
    },
  };
}

const returnWithinMs = 86_400_000;

/** One use, by that node. */
function forNode<Wanted extends { readonly expiresMs: number }>(node: Node, wanted: Wanted) {
  const expiresMs = wanted.expiresMs === 0 ? returnWithinMs : wanted.expiresMs;
  return { ...wanted, role: node.role, nodeId: node.id, usesMax: 1, expiresMs };
}

/** A token for the store, and its secret. */
export function makeJoinToken(options: {
  readonly role: NodeRole;
  readonly expiresMs: number;
  readonly usesMax: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly nowMs: number;
  readonly randomBytes: Random['bytes'];
  readonly nodeId?: NodeId | undefined;
}): { readonly object: Omit<JoinToken, 'meta'>; readonly secret: string } {
  const secret = newId<string>(options.randomBytes);
  const object: Omit<JoinToken, 'meta'> = {
    id: newId(options.randomBytes),
    role: options.role,
    secretHash: hashSecret(secret),
    expiresAtMs: options.expiresMs === 0 ? 0 : options.nowMs + options.expiresMs,
    usesMax: options.usesMax,
    uses: 0,
    labels: options.labels,
    nodeId: options.nodeId,
  };
  return { object, secret };
}

function tokenIdOf(view: View, text: string): string {
  const ids = [...view.list('joinToken')].map(token => token.id).filter(id => text !== '' && id.startsWith(text));
  const [first, second] = ids;
  if (first === undefined) throw new CoveyError('not-found', `Cannot find join token "${text}"`);
  if (second !== undefined) {
    throw new CoveyError('ambiguous', `Cannot tell which join token "${text}" is`, { state: `${ids.length} begin so` });
  }
  return first;
}

function withoutHash(token: JoinToken): JoinToken {
  return { ...token, secretHash: new Uint8Array(0) };
}
