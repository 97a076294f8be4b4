/**
 * Reads files of data-driven tests: directives with arguments, input lines and the expected output.
 *
 *     # comment
 *     command arg key=value key=(a, b)      a trailing backslash continues the line
 *     input lines
 *     ----
 *     expected lines up to a blank one      or, between doubled separators, with blank lines
 *
 * Not here: what the commands mean (interaction.ts, quorum.ts, confchange.ts).
 */
export interface Argument {
  readonly key: string;
  /** Empty for a bare word. */
  readonly values: readonly string[];
}
export interface Directive {
  readonly line: number;
  readonly command: string;
  readonly args: readonly Argument[];
  readonly input: string;
  readonly expected: string;
  /** Lines [from, to), counted from 0, of the block below the first separator. */
  readonly block: { readonly from: number; readonly to: number };
}

export function parseVector(text: string): Directive[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  const directives: Directive[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = at + 1;
    let head = lines[at++]!.trim();
    if (head.startsWith('#')) continue;
    while (head.endsWith('\\') && at < lines.length) head = `${head.slice(0, -1)} ${lines[at++]!.trim()}`;
    const { command, args } = parseDirective(head, line);
    if (command === '' || command === 'subtest') continue;
    const separator = lines.indexOf('----', at);
    const end = separator < 0 ? lines.length : separator;
    const input = lines.slice(at, end).join('\n').trim();
    const block = separator < 0 ? { expected: '', next: end } : readExpected(lines, end + 1);
    directives.push({
      line,
      command,
      args,
      input,
      expected: block.expected,
      block: { from: separator < 0 ? end : end + 1, to: block.next },
    });
    at = block.next;
  }
  return directives;
}

function readExpected(lines: readonly string[], start: number): { readonly expected: string; readonly next: number } {
  const out: string[] = [];
  let at = start;
  if (lines[at] === '----') {
    for (at++; at < lines.length && !(lines[at] === '----' && lines[at + 1] === '----'); at++) out.push(lines[at]!);
    at += 3;
  } else {
    for (; at < lines.length && lines[at]!.trim() !== ''; at++) out.push(lines[at]!);
  }
  return { expected: out.map(line => `${line}\n`).join(''), next: at };
}

function parseDirective(head: string, line: number): { readonly command: string; readonly args: Argument[] } {
  const space = head.indexOf(' ');
  const command = space < 0 ? head : head.slice(0, space);
  let rest = space < 0 ? '' : head.slice(space).trim();
  const args: Argument[] = [];
  while (rest !== '') {
    const stop = rest.search(/[ =]/);
    const key = stop < 0 ? rest : rest.slice(0, stop);
    if (key === '') throw new Error(`line ${line}: an argument without a name in: ${head}`);
    rest = stop < 0 ? '' : rest.slice(stop);
    let values: string[] = [];
    if (rest.startsWith('=')) {
      const value = readValues(rest.slice(1), line);
      values = value.values;
      rest = value.rest;
    }
    args.push({ key, values });
    rest = rest.trim();
  }
  return { command, args };
}

function readValues(text: string, line: number): { readonly values: string[]; readonly rest: string } {
  if (!text.startsWith('(')) {
    const space = text.indexOf(' ');
    return space < 0 ? { values: [text], rest: '' } : { values: [text.slice(0, space)], rest: text.slice(space) };
  }
  const values: string[] = [];
  let depth = 1;
  let start = 1;
  let at = 1;
  for (; depth > 0; at++) {
    const char = text[at];
    if (char === undefined) throw new Error(`line ${line}: a parenthesis is not closed`);
    if (char === '(') depth++;
    if (char === ')') depth--;
    if ((char === ',' && depth === 1) || depth === 0) {
      values.push(text.slice(start, at));
      start = at + 1;
      while (char === ',' && text[start] === ' ') start++;
      if (char === ',') at = start - 1;
    }
  }
  return { values, rest: text.slice(at) };
}
