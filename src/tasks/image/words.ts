/**
 * Splits the argument of a Dockerfile instruction into words: blanks separate, quotes and backslashes keep together, and
 * $NAME or ${NAME} outside of single quotes stand for variables set before.
 *
 * Not here: what an instruction does with its words (changes.ts).
 */
import { CoveyError } from '../../errors.js';

export type Variables = ReadonlyMap<string, string>;

interface Scan {
  readonly text: string;
  at: number;
}

export function splitWords(text: string, variables: Variables): readonly string[] {
  const scan: Scan = { text, at: 0 };
  const words: string[] = [];
  for (;;) {
    while (/\s/.test(text.charAt(scan.at))) scan.at += 1;
    if (scan.at >= text.length) return words;
    words.push(readWord(scan, variables));
  }
}

/** The whole text as one word: blanks stay, quotes and variables are resolved. */
export function resolveText(text: string, variables: Variables): string {
  const scan: Scan = { text, at: 0 };
  let result = '';
  while (scan.at < text.length) result += readPiece(scan, variables);
  return result;
}

function readWord(scan: Scan, variables: Variables): string {
  let word = '';
  while (scan.at < scan.text.length && !/\s/.test(scan.text.charAt(scan.at))) word += readPiece(scan, variables);
  return word;
}

function readPiece(scan: Scan, variables: Variables): string {
  const char = scan.text.charAt(scan.at);
  if (char === "'") return readSingle(scan);
  if (char === '"') return readDouble(scan, variables);
  if (char === '$') return readVariable(scan, variables);
  if (char === '\\') {
    scan.at += 2;
    return scan.text.charAt(scan.at - 1);
  }
  scan.at += 1;
  return char;
}

function readSingle(scan: Scan): string {
  const end = scan.text.indexOf("'", scan.at + 1);
  if (end < 0) throw bad(scan.text, "a ' is not closed");
  const inner = scan.text.slice(scan.at + 1, end);
  scan.at = end + 1;
  return inner;
}

function readDouble(scan: Scan, variables: Variables): string {
  let inner = '';
  scan.at += 1;
  for (;;) {
    const char = scan.text.charAt(scan.at);
    if (char === '') throw bad(scan.text, 'a " is not closed');
    if (char === '"') {
      scan.at += 1;
      return inner;
    }
    if (char === '$') inner += readVariable(scan, variables);
    else if (char === '\\' && /["$\\]/.test(scan.text.charAt(scan.at + 1))) {
      inner += scan.text.charAt(scan.at + 1);
      scan.at += 2;
    } else {
      inner += char;
      scan.at += 1;
    }
  }
}

function readVariable(scan: Scan, variables: Variables): string {
  const found = /^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})/.exec(scan.text.slice(scan.at));
  if (found === null) throw bad(scan.text, 'after "$" comes NAME or {NAME}; "\\$" is the sign itself');
  scan.at += found[0].length;
  return variables.get(found[1] ?? found[2] ?? '') ?? '';
}

function bad(text: string, why: string): CoveyError {
  return new CoveyError('bad-argument', `Cannot read "${text}": ${why}`);
}
