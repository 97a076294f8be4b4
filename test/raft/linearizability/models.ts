/**
 * What the operations of recorded histories do: a register with compare-and-set, and a map of texts that grow.
 *
 * Not here: the search (checker.ts).
 */
import type { Model } from './checker.js';

/** undefined = nothing was ever written. */
export type RegisterValue = number | undefined;

export type RegisterAction =
  /** `unknown`: the answer never came, so any value fits. */
  | { readonly kind: 'read'; readonly value: RegisterValue; readonly unknown: boolean }
  | { readonly kind: 'write'; readonly value: RegisterValue }
  | {
      readonly kind: 'cas';
      readonly from: RegisterValue;
      readonly to: RegisterValue;
      readonly outcome: 'swapped' | 'differed' | 'unknown';
    };

interface RegisterState {
  readonly value: RegisterValue;
}

export const registerModel: Model<RegisterAction, RegisterState> = {
  initial: { value: undefined },
  step(state, action) {
    switch (action.kind) {
      case 'read':
        return action.unknown || action.value === state.value ? state : undefined;
      case 'write':
        return { value: action.value };
      case 'cas':
        if (action.from === state.value) return action.outcome === 'differed' ? undefined : { value: action.to };
        return action.outcome === 'swapped' ? undefined : state;
    }
  },
  describe: state => String(state.value),
};

export type TextAction =
  | { readonly kind: 'get'; readonly value: string; readonly unknown: boolean }
  | { readonly kind: 'put'; readonly value: string }
  | { readonly kind: 'append'; readonly value: string };

export const textModel: Model<TextAction, string> = {
  initial: '',
  step(state, action) {
    switch (action.kind) {
      case 'get':
        return action.unknown || action.value === state ? state : undefined;
      case 'put':
        return action.value;
      case 'append':
        return state + action.value;
    }
  },
  describe: state => state,
};
