/**
 * A queue whose `shift` is cheap however long it grows.
 *
 * Keeps true: elements leave in the order they came; each element is moved at most once in its life. Used for pending
 * reads and for the sizes of uncommitted proposals.
 *
 * Not here: limits (whoever pushes counts).
 */
export interface Fifo<T> {
  items: T[];
  /** items[0, head) have left already. */
  head: number;
}

export function createFifo<T>(): Fifo<T> {
  return { items: [], head: 0 };
}

export function fifoLength<T>(fifo: Fifo<T>): number {
  return fifo.items.length - fifo.head;
}

export function fifoPush<T>(fifo: Fifo<T>, item: T): void {
  fifo.items.push(item);
}

export function fifoFirst<T>(fifo: Fifo<T>): T | undefined {
  return fifo.items[fifo.head];
}

export function fifoShift<T>(fifo: Fifo<T>): T | undefined {
  if (fifo.head >= fifo.items.length) return undefined;
  const item = fifo.items[fifo.head];
  fifo.head++;
  if (fifo.head === fifo.items.length) {
    fifo.items = [];
    fifo.head = 0;
  } else if (fifo.head * 2 >= fifo.items.length) {
    fifo.items = fifo.items.slice(fifo.head);
    fifo.head = 0;
  }
  return item;
}
