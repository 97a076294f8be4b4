/**
 * A node that lost its key, or was away for longer than the grace, comes back as the node that it was: with a token that names it
 * and is good for one use. It keeps its id, its name, its labels and its tasks.
 *
 * Pure. Called by issue.ts. Not here: the joiner's half (membership/reintroduce.ts), making the token (tokens.ts).
 */
import { CoveyError } from '../../errors.js';
import type { JoinToken, Node } from '../../gen/types.js';
import type { View, Write } from '../../raft/store.js';
import { removedError } from './removal.js';
import { findToken, tokenRefusal } from './token.js';

export interface Returning {
  /** Of the request: the same one may be repeated. */
  readonly requestId: string;
  /** The node that the machine is by its disk; undefined: its disk says nothing. */
  readonly nodeId?: string | undefined;
}

/** The node that the token brings back, or why it does not. */
export function judgeReturn(view: View, token: JoinToken, returning: Returning): Node {
  const node = view.find('node', token.nodeId ?? '');
  if (node === undefined) throw removedError(token.nodeId ?? '');
  const what = `Cannot come back as node "${node.spec.name}"`;
  if (returning.nodeId !== undefined && returning.nodeId !== node.id) {
    throw new CoveyError('token-other-node', what, {
      state: `the token is for node ${node.id}, this machine is node ${returning.nodeId}`,
      hint: 'covey token node NAME   (on a manager)',
    });
  }
  if (returning.nodeId !== undefined) return node;
  if (node.role === 'manager') {
    throw new CoveyError('manager-state-lost', what, {
      state: 'it is a manager, and its part of the log is not on this machine',
      hint: `covey node demote ${node.spec.name}   (on another manager), then again`,
    });
  }
  if (node.status.state === 'ready' && token.usedBy !== returning.requestId) {
    throw new CoveyError('node-alive', what, {
      state: 'a machine is connected as that node',
      hint: 'covey join with a token for workers makes this machine another node',
    });
  }
  return node;
}

export function planReturn(
  view: View,
  comer: Returning & { readonly secret: string; readonly validUntilMs: number; readonly nowMs: number },
): readonly Write[] {
  const token = findToken(view.list('joinToken'), comer.secret);
  if (token?.usedBy === comer.requestId) return [];
  const refusal = tokenRefusal(token, comer.nowMs);
  if (refusal !== undefined) throw refusal;
  if (token === undefined) return [];
  const node = judgeReturn(view, token, comer);
  return [
    { kind: 'put', table: 'joinToken', object: { ...token, uses: token.uses + 1, usedBy: comer.requestId } },
    { kind: 'put', table: 'node', object: { ...node, certificateExpiresAtMs: comer.validUntilMs } },
  ];
}
