/**
 * Vectors of the configuration's algebra: `simple`, `enter-joint`, `leave-joint`, each on the result of the one before.
 *
 * Not here: the algebra (src/raft/core/confchange.ts).
 */
import {
  type ChangeRefusal,
  type ChangeResult,
  planEnterJoint,
  planLeaveJoint,
  planSimple,
} from '../../../src/raft/core/confchange.js';
import { applyChange, createTracker, type Tracker } from '../../../src/raft/core/tracker.js';
import { parseBoolean, parseChanges } from './arguments.js';
import { describeConfig, describeProgress } from './describe.js';
import type { Directive } from './reader.js';

const refusals: Readonly<Record<ChangeRefusal, string>> = {
  'already-joint': 'config is already joint',
  'no-voters-yet': "can't make a zero-voter config joint",
  'not-joint': "can't leave a non-joint config",
  'simple-while-joint': "can't apply simple config change in joint config",
  'more-than-one-voter': 'more than one voter changed without entering joint config',
  'no-voter-left': 'removed all voters',
};

export class ConfChangeVectors {
  readonly #tracker: Tracker = createTracker({ inflightMessagesMax: 10, inflightBytesMax: Number.POSITIVE_INFINITY });
  /** Grows by one with each command. */
  #lastIndex = 0;

  run({ command, args, input }: Directive): string {
    const lastIndex = this.#lastIndex++;
    const changes = parseChanges(input);
    if (typeof changes === 'string') return changes;
    const { config } = this.#tracker;
    let result: ChangeResult;
    switch (command) {
      case 'simple':
        result = planSimple(config, changes);
        break;
      case 'enter-joint': {
        const autoLeave = args.find(({ key }) => key === 'autoleave')?.values[0];
        result = planEnterJoint(config, changes, autoLeave !== undefined && parseBoolean(autoLeave));
        break;
      }
      case 'leave-joint':
        if (changes.length > 0) return 'this command takes no input\n';
        result = planLeaveJoint(config);
        break;
      default:
        return 'unknown command';
    }
    if (result.kind === 'refused') return `${refusals[result.because]}\n`;
    applyChange(this.#tracker, result, lastIndex);
    return `${describeConfig(this.#tracker.config)}\n${describeProgress(this.#tracker.peers)}`;
  }
}
