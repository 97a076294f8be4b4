/**
 * A bounded queue with one reader: what a producer pushes, an async iterator yields. Ends by `close`, or by `fail` with an
 * error for the reader. Over its limit `push` returns false and the caller decides (drop, pause, give up the peer).
 *
 * Not here: fan-out of store changes (raft/watch.ts).
 */
export interface Channel<Item> extends AsyncIterable<Item> {
  /** False when the queue is full or ended: the item was not taken. */
  readonly push: (item: Item) => boolean;
  readonly close: () => void;
  readonly fail: (error: unknown) => void;
  readonly length: () => number;
  /** Resolves when the queue has room again or has ended. */
  readonly room: () => Promise<void>;
  readonly ended: () => boolean;
}

interface State<Item> {
  items: Item[];
  head: number;
  end: { readonly error: unknown } | undefined;
  wake: (() => void) | undefined;
  roomWaiters: (() => void)[];
}

export function openChannel<Item>(limitItems: number): Channel<Item> {
  const state: State<Item> = { items: [], head: 0, end: undefined, wake: undefined, roomWaiters: [] };
  const wake = (): void => {
    state.wake?.();
    state.wake = undefined;
  };
  const releaseRoom = (): void => {
    const waiters = state.roomWaiters;
    state.roomWaiters = [];
    for (const waiter of waiters) waiter();
  };
  const length = (): number => state.items.length - state.head;
  const end = (error: unknown): void => {
    if (state.end !== undefined) return;
    state.end = { error };
    wake();
    releaseRoom();
  };
  const next = async (): Promise<IteratorResult<Item, undefined>> => {
    for (;;) {
      if (length() > 0) {
        const item = take(state);
        if (length() < limitItems) releaseRoom();
        return { done: false, value: item };
      }
      if (state.end !== undefined) {
        if (state.end.error !== undefined) throw state.end.error;
        return { done: true, value: undefined };
      }
      await new Promise<void>(resolve => {
        state.wake = resolve;
      });
    }
  };
  return {
    push: item => {
      if (state.end !== undefined || length() >= limitItems) return false;
      state.items.push(item);
      wake();
      return true;
    },
    close: () => end(undefined),
    fail: error => end(error),
    length,
    room: () =>
      length() < limitItems || state.end !== undefined
        ? Promise.resolve()
        : new Promise<void>(resolve => {
            state.roomWaiters.push(resolve);
          }),
    ended: () => state.end !== undefined,
    [Symbol.asyncIterator]: () => ({
      next,
      return: async () => {
        end(undefined);
        return { done: true, value: undefined };
      },
    }),
  };
}

function take<Item>(state: State<Item>): Item {
  const item = state.items[state.head] as Item;
  state.head += 1;
  if (state.head > 64 && state.head * 2 > state.items.length) {
    state.items = state.items.slice(state.head);
    state.head = 0;
  }
  return item;
}
