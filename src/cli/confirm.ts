/**
 * Asks before something is destroyed: on a terminal with a question, in a script by wanting --yes.
 *
 * Not here: what is destroyed (the commands say it).
 */
import { CoveyError } from '../errors.js';
import type { CliContext } from './context.js';
import type { Flags } from './flags.js';

export interface Question {
  /** "remove stack shop". */
  readonly what: string;
  /** What is lost, a line each. */
  readonly losses: readonly string[];
}

/** Returns when it is meant; throws when it is not, or when nobody can be asked. */
export async function confirm(context: CliContext, flags: Flags, question: Question): Promise<void> {
  if (flags.isOn('yes')) return;
  const { stdin } = context.console;
  if (!context.isInteractive || !stdin.isTerminal) {
    throw new CoveyError('bad-argument', `Cannot ${question.what} without being told that it is meant`, {
      state: question.losses.join('; ') || undefined,
      hint: 'repeat it with --yes',
    });
  }
  for (const loss of question.losses) await context.print(`  ${loss}`);
  await context.console.stdout.write(`${question.what.charAt(0).toUpperCase()}${question.what.slice(1)}? [y/N] `);
  const answer = await readAnswer(context);
  if (!/^y(?:es)?$/iu.test(answer.trim())) {
    throw new CoveyError('cancelled', `Cannot ${question.what}: not confirmed`, { state: 'nothing was changed' });
  }
}

async function readAnswer(context: CliContext): Promise<string> {
  let text = '';
  const aborted = new Promise<never>((_, reject) => {
    context.signal.addEventListener('abort', () => reject(context.signal.reason), { once: true });
  });
  const line = async (): Promise<string> => {
    for await (const chunk of context.console.stdin.read()) {
      text += new TextDecoder().decode(chunk);
      if (text.includes('\n')) break;
    }
    return text.split('\n')[0] ?? '';
  };
  return await Promise.race([line(), aborted]);
}
