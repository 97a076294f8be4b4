/**
 * A line that a person types: shown, or unseen when it is a secret.
 *
 * Not here: yes or no (confirm.ts).
 */
import { CoveyError } from '../errors.js';
import type { CliContext } from './context.js';

export interface Asked {
  readonly isSecret: boolean;
  /** What is given up when the interrupt key comes: "log in". */
  readonly what: string;
}

/** For terminals only: the caller says what to do without one. */
export async function ask(context: CliContext, question: string, { isSecret, what }: Asked): Promise<string> {
  const { stdin, stderr } = context.console;
  await stderr.write(question);
  if (!isSecret) return await readLine(context, () => undefined);
  stdin.setRaw(true);
  try {
    return await readLine(context, () => {
      throw new CoveyError('cancelled', `Cannot ${what}: cancelled`);
    });
  } finally {
    stdin.setRaw(false);
    await stderr.write('\n');
  }
}

const keys = { interrupt: '\u0003', end: '\u0004', erase: ['\u007f', '\b'] };

async function readLine(context: CliContext, onInterrupt: () => void): Promise<string> {
  let line = '';
  for await (const chunk of context.console.stdin.read()) {
    for (const key of new TextDecoder().decode(chunk)) {
      if (key === '\n' || key === '\r' || key === keys.end) return line;
      if (key === keys.interrupt) onInterrupt();
      else if (keys.erase.includes(key)) line = line.slice(0, -1);
      else line += key;
    }
  }
  return line;
}
