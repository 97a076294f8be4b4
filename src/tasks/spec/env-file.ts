/**
 * Files of NAME=value lines: the plain form that `--env-file` and `env_file` take (values verbatim, as Docker reads them) and
 * the `.env` form beside a stack file (quotes, escapes, comments, variables).
 *
 * Not here: reading the files (the callers hand in their text).
 */
import { bad, ok, type Parsed } from './values.js';
import { type FindVariable, substitute } from './variables.js';

export type Pairs = readonly (readonly [name: string, value: string])[];

/** Values as they stand. A name without "=" takes its value from the environment, or is left out when it has none there. */
export function parseEnvFile(text: string, find: FindVariable): Parsed<Pairs> {
  const pairs: [string, string][] = [];
  for (const [at, raw] of text
    .replace(/^\u{feff}/u, '')
    .split('\n')
    .entries()) {
    const line = raw.replace(/\r$/u, '').trimStart();
    if (line === '' || line.startsWith('#')) continue;
    const sign = line.indexOf('=');
    const name = sign < 0 ? line : line.slice(0, sign);
    if (name === '' || /\s/u.test(name)) return bad(`NAME=value in line ${at + 1}, with a name without blanks`);
    const value = sign < 0 ? find(name) : line.slice(sign + 1);
    if (value !== undefined) pairs.push([name, value]);
  }
  return ok(pairs);
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };

/**
 * `export` before a name is skipped. Single quotes keep everything, double quotes know \n, \r, \t, \\, \" and variables,
 * and both may span lines; without quotes a blank and # begin a comment. Variables see the lines above them.
 */
export function parseDotEnv(text: string, find: FindVariable): Parsed<ReadonlyMap<string, string>> {
  const values = new Map<string, string>();
  const findHere: FindVariable = name => find(name) ?? values.get(name) ?? '';
  const source = text.replace(/^\u{feff}/u, '').replaceAll('\r\n', '\n');
  const start = /[ \t]*(?:(?:#[^\n]*)?(?:\n|$)|(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*)/uy;
  let at = 0;
  while (at < source.length) {
    const lineNumber = source.slice(0, at).split('\n').length;
    start.lastIndex = at;
    const found = start.exec(source);
    if (found === null) return bad(`NAME=value, a comment or an empty line in line ${lineNumber}`);
    at = start.lastIndex;
    if (found[1] === undefined) continue;
    const value = valueAt(source, at);
    if (value === undefined) return bad(`a closed quote for the value in line ${lineNumber}`);
    at = value.end;
    const expanded = value.expand ? substitute(value.text, findHere) : ({ kind: 'ok', text: value.text } as const);
    if (expanded.kind !== 'ok') return bad(`variables such as \${NAME:-default} in line ${lineNumber}`);
    values.set(found[1], expanded.text);
  }
  return ok(values);
}

interface EnvValue {
  readonly text: string;
  readonly expand: boolean;
  readonly end: number;
}

function valueAt(source: string, at: number): EnvValue | undefined {
  const quote = source.charAt(at);
  const pattern =
    quote === "'"
      ? /'([^']*)'[^\n]*(?:\n|$)/uy
      : quote === '"'
        ? /"((?:\\.|[^"\\])*)"[^\n]*(?:\n|$)/suy
        : /([^\n]*)(?:\n|$)/uy;
  pattern.lastIndex = at;
  const found = pattern.exec(source);
  if (found === null) return undefined;
  const raw = found[1] ?? '';
  const end = pattern.lastIndex;
  if (quote === "'") return { text: raw, expand: false, end };
  if (quote === '"') {
    const text = raw.replaceAll(/\\(.)/gsu, (_, char: string) => escapes[char] ?? (char === '$' ? '$$' : char));
    return { text, expand: true, end };
  }
  return { text: raw.replace(/(?:^|[ \t]+)#.*$/u, '').trimEnd(), expand: true, end };
}
