/**
 * How the product runs the core: what is a choice of the operator comes from the limits, what is not is set here.
 *
 * Called by: ../node.ts. Not here: what the settings mean (core/types.ts).
 */
import type { LogStorage, RaftConfig } from '../core/types.js';
import type { NodeOptions } from './types.js';

export function coreConfig(
  { id, limits, random, trace }: NodeOptions,
  storage: LogStorage,
  applied: number,
): RaftConfig {
  return {
    id,
    storage,
    applied,
    electionTicks: limits.electionTicks,
    heartbeatTicks: limits.heartbeatTicks,
    random,
    asyncStorage: true,
    messageBytesMax: limits.messageBytesMax,
    applyingBytesMax: limits.applyingBytesMax,
    uncommittedBytesMax: limits.uncommittedBytesMax,
    proposalBytesMax: limits.proposalBytesMax,
    inflightMessagesMax: limits.inflightMessagesMax,
    inflightBytesMax: limits.inflightBytesMax,
    transferLagMax: limits.transferLagMax,
    preVote: true,
    checkQuorum: true,
    stepDownOnRemoval: true,
    // Whoever proposes has to learn the outcome, so it goes to the leader itself.
    forwardProposals: false,
    commitByVote: true,
    leaseReads: false,
    checkConfChanges: true,
    trace,
  };
}
