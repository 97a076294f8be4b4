/**
 * Looking until it is so, with an end; and whether a process lives.
 */
import * as fs from 'node:fs';

export async function until(look: () => boolean, waitMaxMs = 10_000): Promise<void> {
  const endMs = Date.now() + waitMaxMs;
  while (!look()) {
    if (Date.now() > endMs) throw new Error(`it never came to be so: ${look}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

/** A zombie is dead, whether or not somebody reaps it. */
export function isDead(pid: number): boolean {
  try {
    return /^State:\s*[ZX]/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true; // no such process
  }
}
