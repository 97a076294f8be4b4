/**
 * Waits for room in a pipe that is written to, or for its end; leaves no listener behind.
 *
 * Called by exec-call.ts and copy.ts. Not here: frames that wait for their reader (channel.ts).
 */
export function drained(pipe: NodeJS.WritableStream): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      pipe.off('drain', done);
      pipe.off('close', done);
      resolve();
    };
    pipe.on('drain', done);
    pipe.on('close', done);
  });
}
