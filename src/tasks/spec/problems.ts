/**
 * What can be wrong with a stack file, and where: every problem has a file, a line and a column. Readers report and go on, so
 * that one run shows all that is wrong; `throwIfAny` turns the list into the one CoveyError that people see.
 *
 * Not here: the wording of each problem (the readers), exit codes (cli/output/errors.ts).
 */
import { CoveyError, type ErrorCode } from '../../errors.js';

/** Lines and columns start at 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export type ProblemCode = Extract<ErrorCode, `stack-${string}`>;

export interface StackProblem {
  readonly code: ProblemCode;
  readonly place: Place;
  /** What is so, beginning with the path in the file: "services.web.imagee is not a key of a service". */
  readonly message: string;
  readonly hint?: string | undefined;
}

/** Something that is done as asked, but perhaps not as meant. */
export interface StackWarning {
  readonly place: Place;
  readonly message: string;
}

export interface Report {
  readonly add: (problem: StackProblem) => void;
  readonly warn: (warning: StackWarning) => void;
  readonly warnings: () => readonly StackWarning[];
  readonly throwIfAny: () => void;
}

const problemsShownMax = 6;

export function openReport(): Report {
  const problems: StackProblem[] = [];
  const warnings: StackWarning[] = [];
  return {
    add: problem => problems.push(problem),
    warn: warning => warnings.push(warning),
    warnings: () => warnings,
    throwIfAny: () => {
      if (problems.length > 0) throw stackError(problems);
    },
  };
}

/** "stack.yaml:4:5". */
function renderPlace(place: Place): string {
  return `${place.file}:${place.line}:${place.column}`;
}

/** The error for a list of problems: the first in the order of the file, with the others as its state. */
export function stackError(problems: readonly StackProblem[]): CoveyError {
  const sorted = [...problems].sort(byPlace);
  const [first, ...others] = sorted;
  if (first === undefined) return new CoveyError('bug', 'Cannot make an error of no problems');
  const shown = others.slice(0, problemsShownMax).map(one => `${one.place.line}:${one.place.column}: ${one.message}`);
  const hidden = others.length - shown.length;
  const more = others.length === 1 ? '1 more problem' : `${others.length} more problems`;
  return new CoveyError(first.code, `Cannot use ${renderPlace(first.place)}: ${first.message}`, {
    state:
      others.length === 0 ? undefined : `${more}: ${shown.join('; ')}${hidden > 0 ? `; and ${hidden} not shown` : ''}`,
    hint: first.hint,
  });
}

function byPlace(a: StackProblem, b: StackProblem): number {
  if (a.place.file !== b.place.file) return 0;
  return a.place.line - b.place.line || a.place.column - b.place.column;
}
