/**
 * What clients asked and were told, and whether it could have happened one at a time.
 *
 * The key is the name of a service; its value is a number that a label carries. Each value is written once, so that a read
 * says which write it saw. A change whose outcome nobody knows stays open to the end.
 *
 * Not here: who asks (clients.ts), the search (raft/linearizability).
 */
import { checkLinearizable, type Model, type Operation, type Verdict } from '../../raft/linearizability/checker.js';

/** A number: the service is there with it. `going`: it is being removed. `none`: there is none of that name. */
export type Value = number | 'going' | 'none';

export type Action =
  /** From the value that was read to a new one; `none` = it is made. */
  | { readonly kind: 'change'; readonly from: Value; readonly to: number; readonly known: boolean }
  | { readonly kind: 'remove'; readonly known: boolean }
  | { readonly kind: 'read'; readonly value: Value };

const serviceModel: Model<Action, Value> = {
  initial: 'none',
  step(state, action) {
    switch (action.kind) {
      case 'read':
        if (action.value === state) return state;
        // The cluster itself takes away what is going.
        return action.value === 'none' && state === 'going' ? 'none' : undefined;
      case 'change':
        if (state === action.from || (action.from === 'none' && state === 'going')) return action.to;
        return action.known ? undefined : state;
      case 'remove':
        if (typeof state === 'number') return 'going';
        return action.known ? undefined : state;
    }
  },
  describe: String,
};

export class History {
  readonly #operations: Operation<Action>[] = [];
  readonly #begun = performance.now();

  now(): number {
    return performance.now() - this.#begun;
  }

  /** `returnedAt` Infinity: nobody knows whether it happened. */
  add(key: string, action: Action, calledAt: number, returnedAt = this.now()): void {
    this.#operations.push({ process: 0, key, action, calledAt, returnedAt });
  }

  get length(): number {
    return this.#operations.length;
  }

  get operations(): readonly Operation<Action>[] {
    return this.#operations;
  }

  judge(): Verdict {
    return checkLinearizable(serviceModel, this.#operations);
  }
}

/** The operations of a key in order of their calls, a line each. */
export function renderHistory(operations: readonly Operation<Action>[], key: string): string {
  return operations
    .filter(operation => operation.key === key)
    .sort((a, b) => a.calledAt - b.calledAt)
    .map(
      ({ calledAt, returnedAt, action }) => `${calledAt.toFixed(1)} ${returnedAt.toFixed(1)} ${JSON.stringify(action)}`,
    )
    .join('\n');
}
