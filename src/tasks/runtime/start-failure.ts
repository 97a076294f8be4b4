/**
 * What a runtime said about a program that it could not run inside a container, in words that are the same for all runtimes,
 * with the exit code that shells and Docker have for it: 127 it is not there, 126 it is there and cannot be run.
 *
 * A runtime that came as far as execve(2) has a pid to show, so that alone does not say that the program ran. Pure.
 *
 * Called by ../exec-call.ts. Not here: containers that could not be created (crun.ts).
 */
export interface StartFailure {
  readonly exitCode: 126 | 127;
  readonly why: string;
}

const notThere = 127;
const notRunnable = 126;

interface Saying {
  readonly form: RegExp;
  readonly failure: (program: string, reason: string) => StartFailure;
}

/** Of crun: 1.8's `executable file … not found`, `open executable: …`, `exec: …`, and newer ones' that name the program. */
const sayings: readonly Saying[] = [
  {
    form: /^executable file `[^`]*` not found(?: in \$PATH)?(?:: (?<reason>.*))?$/iu,
    failure: (program, reason) => (/denied|permitted/i.test(reason) ? denied(reason) : missing(program)),
  },
  { form: /^open executable(?: `[^`]*`)?: (?<reason>.*)$/iu, failure: (_program, reason) => denied(reason) },
  { form: /^exec(?: `[^`]*`)?: (?<reason>[A-Z][^:]*)$/u, failure: (_program, reason) => late(reason) },
  // runc
  { form: /exec: "[^"]*": executable file not found in \$PATH$/u, failure: program => missing(program) },
  { form: /exec: "[^"]*": stat .*: no such file or directory$/u, failure: program => missing(program) },
  {
    form: /exec: "[^"]*": (?<reason>permission denied|is a directory)$/u,
    failure: (_program, reason) => denied(reason),
  },
];

export function findStartFailure(words: string, program: string): StartFailure | undefined {
  for (const { form, failure } of sayings) {
    const found = form.exec(words);
    if (found !== null) return failure(program, found.groups?.['reason'] ?? '');
  }
  return undefined;
}

function missing(program: string): StartFailure {
  const why = program.includes('/') ? 'no such file or directory' : 'executable file not found in $PATH';
  return { exitCode: notThere, why };
}

/** crun says "not permitted" of what is no file. */
function denied(reason: string): StartFailure {
  const why = /not permitted|directory/i.test(reason) ? 'it is a directory, or no program' : 'permission denied';
  return { exitCode: notRunnable, why };
}

/** The kernel has the last word: it does not find the interpreter of a script, or the loader of a program. */
function late(reason: string): StartFailure {
  if (/no such file/i.test(reason)) return { exitCode: notThere, why: 'its interpreter or loader is not there' };
  return { exitCode: notRunnable, why: reason.toLowerCase() };
}
