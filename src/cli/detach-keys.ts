/**
 * The keys that leave a program running: Docker's --detach-keys, "ctrl-p,ctrl-q" unless given. What could still become the
 * sequence is held back; what did not become it is passed on.
 *
 * Pure. Not here: what detaching means (tasks/attach.ts, tasks/exec-call.ts, in the daemon).
 */
import { CoveyError } from '../errors.js';

export const detachKeysDefault = 'ctrl-p,ctrl-q';

const controls: Readonly<Record<string, number>> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 };

/** "ctrl-a,x": each a letter, or ctrl- with a letter or one of @ [ \ ] ^ _. Empty: no keys detach. */
export function parseDetachKeys(text: string): Uint8Array {
  const bytes = text === '' ? [] : text.split(',').map(key => byteOf(key));
  if (!bytes.includes(undefined)) return Uint8Array.from(bytes.flatMap(byte => byte ?? []));
  throw new CoveyError('bad-argument', `Cannot use "${text}" for --detach-keys`, {
    hint: 'give keys with commas, such as ctrl-p,ctrl-q or ctrl-],d',
  });
}

function byteOf(key: string): number | undefined {
  const control = /^ctrl-(.)$/iu.exec(key)?.[1];
  if (control === undefined) return key.length === 1 && key >= ' ' && key <= '~' ? key.charCodeAt(0) : undefined;
  return /[a-z]/iu.test(control) ? control.toLowerCase().charCodeAt(0) - 96 : controls[control];
}

export interface KeyScanner {
  /** What to pass on; undefined: the sequence is complete. */
  readonly scan: (chunk: Uint8Array) => Uint8Array | undefined;
}

export function openKeyScanner(keys: Uint8Array): KeyScanner {
  let matched = 0;
  return {
    scan: chunk => {
      const out: number[] = [];
      for (const byte of chunk) {
        while (matched > 0 && byte !== keys[matched]) {
          // The longest end of what was held that still begins the sequence.
          const held = [...keys.subarray(0, matched)];
          out.push(held.shift() ?? 0);
          matched = longestStart(keys, held);
          out.push(...held.slice(0, held.length - matched));
        }
        if (keys.length === 0 || byte !== keys[matched]) out.push(byte);
        else {
          matched += 1;
          if (matched === keys.length) return undefined;
        }
      }
      return Uint8Array.from(out);
    },
  };
}

/** How many bytes at the end of `held` are the beginning of `keys`. */
function longestStart(keys: Uint8Array, held: readonly number[]): number {
  for (let size = held.length; size > 0; size -= 1) {
    if (held.slice(-size).every((byte, at) => byte === keys[at])) return size;
  }
  return 0;
}
