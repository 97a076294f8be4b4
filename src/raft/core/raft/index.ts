/**
 * The rules of Raft for one member, as functions on its state.
 *
 * Keeps true: given the same state and input the same things happen; no clock, no I/O, no promise, no randomness but
 * what the configuration gives.
 *
 * How it goes: `startRaft` makes the state -> `step` and `tick` change it -> messages and entries gather in it ->
 * ../rawnode.ts hands them out. `route.ts` sends local wishes the right way.
 */
import { nobody, type RaftConfig } from '../types.js';
import { becomeFollower } from './roles.js';
import { createRaft, emitStarted, type Raft } from './state.js';

export { hup } from './elect.js';
export { handleSnapshotReport, handleUnreachable } from './lead.js';
export { applyConfChange } from './membership.js';
export { becomeFollower } from './roles.js';
export { routeProposals, routeRead, routeTransfer } from './route.js';
export { emit, type Raft } from './state.js';
export { step } from './step.js';
export { tick } from './tick.js';

export function startRaft(config: RaftConfig): Raft {
  const raft = createRaft(config);
  becomeFollower(raft, raft.term, nobody);
  emitStarted(raft);
  return raft;
}
