/**
 * Messages on their way out: all but snapshots as they are; snapshots with their content, unless the stored one is from
 * before its receiver joined: that one would be refused, so a newer one is asked for.
 *
 * Called by: ../node.ts. Not here: the wire (../transport.ts).
 */
import { configOf, membersOf } from '../core/confchange.js';
import type { Message, PeerId } from '../core/types.js';
import type { Transport } from '../transport.js';
import type { SnapshotKeeper } from './snapshot-keeper.js';

export interface Sender {
  readonly send: (message: Message) => void;
}

export interface SenderOptions {
  readonly transport: Transport;
  readonly keeper: SnapshotKeeper;
  readonly onTooOld: () => void;
  /** What became of a snapshot; never called from within `send`. */
  readonly report: (to: PeerId, sent: boolean) => void;
}

export function createSender({ transport, keeper, onTooOld, report }: SenderOptions): Sender {
  return {
    send(message) {
      if (message.kind !== 'snapshot') {
        transport.send(message);
        return;
      }
      const { to, snapshot } = message;
      if (membersOf(configOf(snapshot.confState)).includes(to)) {
        transport.sendSnapshot(message, keeper.sourceOf(snapshot), sent => report(to, sent));
        return;
      }
      onTooOld();
      report(to, false);
    },
  };
}
