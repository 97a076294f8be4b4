/**
 * A gate that lets a bounded number through at once, in the order in which they came.
 */
export interface Gate {
  /** Runs work when there is room; rejects with the signal's reason when that ends before. */
  readonly pass: <Result>(signal: AbortSignal, work: () => Promise<Result>) => Promise<Result>;
}

export function openGate(limit: number): Gate {
  let inside = 0;
  const waiting = new Set<() => void>();
  const leave = (): void => {
    inside -= 1;
    const [next] = waiting;
    next?.();
  };
  const enter = (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    if (inside < limit) {
      inside += 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const done = (): void => {
        waiting.delete(go);
        signal.removeEventListener('abort', onAbort);
      };
      const go = (): void => {
        done();
        inside += 1;
        resolve();
      };
      const onAbort = (): void => {
        done();
        reject(signal.reason);
      };
      waiting.add(go);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  };
  return {
    pass: async (signal, work) => {
      await enter(signal);
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}
