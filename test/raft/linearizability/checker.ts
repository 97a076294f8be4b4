/**
 * Decides whether a history of concurrent operations could have happened one at a time, each at some instant between
 * its call and its return (Wing and Gong's search with Lowe's memory of configurations seen), key by key: a history is
 * linearizable when that of each key is.
 *
 * Operations whose outcome nobody knows never return: they may take effect at any time after their call, or not at all.
 *
 * Not here: what an operation does (models.ts), reading recorded histories (histories.ts).
 */
export interface Operation<Action> {
  readonly process: number;
  readonly key: string;
  readonly action: Action;
  /** Positions in the history; Infinity = it never returned. */
  readonly calledAt: number;
  readonly returnedAt: number;
}

export interface Model<Action, State> {
  readonly initial: State;
  /** The state after the action, or undefined when its recorded outcome is impossible in this state. */
  readonly step: (state: State, action: Action) => State | undefined;
  /** Equal states give equal text. */
  readonly describe: (state: State) => string;
}

export type Verdict =
  | { readonly kind: 'linearizable' }
  /** `longest` is the most operations of that key that can be put in order. */
  | {
      readonly kind: 'illegal';
      readonly key: string;
      readonly longest: readonly number[];
      readonly operations: number;
    };

export function checkLinearizable<Action, State>(
  model: Model<Action, State>,
  history: readonly Operation<Action>[],
): Verdict {
  const byKey = new Map<string, Operation<Action>[]>();
  for (const operation of history) {
    const list = byKey.get(operation.key);
    if (list) list.push(operation);
    else byKey.set(operation.key, [operation]);
  }
  for (const [key, operations] of byKey) {
    const longest = findOrder(model, operations);
    if (longest) return { kind: 'illegal', key, longest, operations: operations.length };
  }
  return { kind: 'linearizable' };
}

/** A call or a return in the list that the search takes from and puts back to. */
interface Link {
  readonly operation: number;
  /** The return that belongs to this call; undefined for a return. */
  readonly match: Link | undefined;
  before: Link | undefined;
  after: Link | undefined;
}

interface Choice<State> {
  readonly call: Link;
  readonly state: State;
}

/** The longest order that was found when no order of all exists; undefined when one does. */
function findOrder<Action, State>(
  model: Model<Action, State>,
  operations: readonly Operation<Action>[],
): readonly number[] | undefined {
  const head = makeLinks(operations);
  const taken = new Uint32Array(Math.ceil(operations.length / 32));
  const seen = createMemory();
  const choices: Choice<State>[] = [];
  const mustReturn = operations.filter(({ returnedAt }) => returnedAt !== Number.POSITIVE_INFINITY).length;
  let returned = 0;
  let longest: readonly number[] = [];
  let state = model.initial;
  let at = head.after;
  while (returned < mustReturn) {
    if (at?.match) {
      const operation = operations[at.operation]!;
      const next = model.step(state, operation.action);
      if (next !== undefined && seen.isNew(taken, at.operation, model.describe(next))) {
        choices.push({ call: at, state });
        state = next;
        taken[at.operation >>> 5]! |= 1 << (at.operation & 31);
        if (operation.returnedAt !== Number.POSITIVE_INFINITY) returned += 1;
        takeOut(at);
        at = head.after;
      } else {
        at = at.after;
      }
      continue;
    }
    // A return stands here (or the end): what was called before it has to come first, so the last choice was wrong.
    if (choices.length > longest.length) longest = choices.map(({ call }) => call.operation);
    const last = choices.pop();
    if (!last) return longest;
    state = last.state;
    taken[last.call.operation >>> 5]! &= ~(1 << (last.call.operation & 31));
    if (operations[last.call.operation]!.returnedAt !== Number.POSITIVE_INFINITY) returned -= 1;
    putBack(last.call);
    at = last.call.after;
  }
  return undefined;
}

/** The configurations seen: sets of operations with the state after them. Long states are kept once and numbered. */
function createMemory() {
  const stateIds = new Map<string, number>();
  const seen: Set<string>[] = [];
  return {
    isNew(taken: Uint32Array, operation: number, state: string): boolean {
      let id = stateIds.get(state);
      if (id === undefined) {
        id = stateIds.size;
        stateIds.set(state, id);
        seen.push(new Set());
      }
      const word = operation >>> 5;
      const before = taken[word]!;
      taken[word] = before | (1 << (operation & 31));
      let key = '';
      for (const bits of taken) key += String.fromCharCode(bits & 0xffff, bits >>> 16);
      taken[word] = before;
      const sets = seen[id]!;
      if (sets.has(key)) return false;
      sets.add(key);
      return true;
    },
  };
}

function makeLinks<Action>(operations: readonly Operation<Action>[]): Link {
  const links: { readonly time: number; readonly order: number; readonly link: Link }[] = [];
  operations.forEach(({ calledAt, returnedAt }, operation) => {
    const back: Link = { operation, match: undefined, before: undefined, after: undefined };
    links.push({ time: calledAt, order: 0, link: { operation, match: back, before: undefined, after: undefined } });
    links.push({ time: returnedAt, order: 1, link: back });
  });
  links.sort((a, b) => (a.time === b.time ? a.order - b.order : a.time - b.time));
  const head: Link = { operation: -1, match: undefined, before: undefined, after: undefined };
  let last = head;
  for (const { link } of links) {
    last.after = link;
    link.before = last;
    last = link;
  }
  return head;
}

function takeOut(call: Link): void {
  for (const link of [call, call.match!]) {
    link.before!.after = link.after;
    if (link.after) link.after.before = link.before;
  }
}

function putBack(call: Link): void {
  for (const link of [call.match!, call]) {
    link.before!.after = link;
    if (link.after) link.after.before = link;
  }
}
