/**
 * Variables in the values of a stack file: $V, ${V}, ${V:-default}, ${V-default}, ${V:?error}, ${V?error}, ${V:+other},
 * ${V+other} and $$ for one dollar sign. Defaults may hold variables again. Keys are never touched.
 *
 * A variable that is not set and has no default is a problem, not an empty text: a forgotten password is then noticed before
 * anything is changed.
 *
 * Not here: where the values come from (index.ts: the environment, then .env).
 */
import type { Place, Report } from './problems.js';
import type { ScalarTree, Tree } from './yaml.js';

/** The value of a variable, or undefined when it is not set. */
export type FindVariable = (name: string) => string | undefined;

export type Substitution =
  | { readonly kind: 'ok'; readonly text: string }
  /** Not set and without a default, or refused by its author's message. */
  | { readonly kind: 'unset'; readonly name: string; readonly message: string; readonly at: number }
  | { readonly kind: 'malformed'; readonly message: string; readonly at: number };

const nestingMax = 20;
const textMax = 1_000_000;

/** The text with every variable replaced. */
export function substitute(text: string, find: FindVariable): Substitution {
  try {
    return { kind: 'ok', text: expand({ text, find, offset: 0, depth: 0 }) };
  } catch (error) {
    if (error instanceof Refusal) return error.result;
    throw error;
  }
}

/** Carries a refusal out of the recursion; never leaves this file. */
class Refusal extends Error {
  readonly result: Exclude<Substitution, { kind: 'ok' }>;

  constructor(result: Exclude<Substitution, { kind: 'ok' }>) {
    super(result.message);
    this.result = result;
  }
}

interface Expansion {
  readonly text: string;
  readonly find: FindVariable;
  /** Where the text begins within the whole value. */
  readonly offset: number;
  readonly depth: number;
}

const namePattern = /[A-Za-z_][A-Za-z0-9_]*/uy;

function expand(expansion: Expansion): string {
  const { text, find, offset, depth } = expansion;
  if (depth > nestingMax) throw malformed(`variables are nested deeper than ${nestingMax} levels`, offset);
  let result = '';
  let at = 0;
  while (at < text.length) {
    const dollar = text.indexOf('$', at);
    if (dollar < 0) break;
    result += text.slice(at, dollar);
    if (result.length > textMax)
      throw malformed(`the value becomes longer than ${textMax} characters`, offset + dollar);
    const next = text.charAt(dollar + 1);
    if (next === '$') {
      result += '$';
      at = dollar + 2;
    } else if (next === '{') {
      const end = closingBrace(text, dollar + 2);
      if (end < 0) throw malformed(`"\${" is not closed by "}"`, offset + dollar);
      result += expandBraces(
        { text: text.slice(dollar + 2, end), find, offset: offset + dollar + 2, depth },
        offset + dollar,
      );
      at = end + 1;
    } else {
      const name = nameAt(text, dollar + 1);
      if (name === '') throw malformed('a dollar sign without a name; write $$ for the sign itself', offset + dollar);
      const value = find(name);
      if (value === undefined) throw unset(name, '', offset + dollar);
      result += value;
      at = dollar + 1 + name.length;
    }
  }
  return result + text.slice(at);
}

/** `expansion.text` is what stands between the braces. */
function expandBraces(expansion: Expansion, dollar: number): string {
  const { text, find, offset, depth } = expansion;
  const name = nameAt(text, 0);
  const [, operator, rest = ''] = /^(:?[-?+])?(.*)$/su.exec(text.slice(name.length)) ?? [];
  if (name === '' || (operator === undefined && rest !== '')) {
    throw malformed(
      `"\${${text}}" is not one of the forms \${NAME}, \${NAME:-default}, \${NAME:?error}, \${NAME:+other}`,
      dollar,
    );
  }
  const value = find(name);
  const missing = value === undefined || (operator?.startsWith(':') === true && value === '');
  const word = (): string =>
    expand({ text: rest, find, offset: offset + name.length + (operator?.length ?? 0), depth: depth + 1 });
  switch (operator?.at(-1)) {
    case '-':
      return missing ? word() : value;
    case '+':
      return missing ? '' : word();
    case '?':
      if (missing) throw unset(name, word(), dollar);
      return value;
    default:
      if (value === undefined) throw unset(name, '', dollar);
      return value;
  }
}

function nameAt(text: string, at: number): string {
  namePattern.lastIndex = at;
  return namePattern.exec(text)?.[0] ?? '';
}

function closingBrace(text: string, start: number): number {
  let open = 1;
  for (let at = start; at < text.length; at += 1) {
    if (text.charAt(at) === '$' && text.charAt(at + 1) === '$') at += 1;
    else if (text.charAt(at) === '$' && text.charAt(at + 1) === '{') open += 1;
    else if (text.charAt(at) === '}') {
      open -= 1;
      if (open === 0) return at;
    }
  }
  return -1;
}

function malformed(message: string, at: number): Refusal {
  return new Refusal({ kind: 'malformed', message, at });
}

function unset(name: string, message: string, at: number): Refusal {
  return new Refusal({ kind: 'unset', name, message, at });
}

/** The tree with the variables of all values replaced; problems go to the report, and leave the value as it is. */
export function substituteTree(tree: Tree, find: FindVariable, report: Report): Tree {
  if (tree.kind === 'list') return { ...tree, items: tree.items.map(item => substituteTree(item, find, report)) };
  if (tree.kind === 'map') {
    const entries = [...tree.entries].map(
      ([key, entry]) => [key, { ...entry, value: substituteTree(entry.value, find, report) }] as const,
    );
    return { ...tree, entries: new Map(entries) };
  }
  if (!tree.text.includes('$')) return tree;
  const result = substitute(tree.text, find);
  if (result.kind === 'ok') return { ...tree, text: result.text, plain: false };
  const place = placeWithin(tree, result.at);
  if (result.kind === 'malformed') report.add({ code: 'stack-type', place, message: result.message });
  else {
    report.add({
      code: 'stack-variable',
      place,
      message:
        result.message === ''
          ? `the variable "${result.name}" is not set`
          : `"${result.name}" is not set: ${result.message}`,
      hint: `set ${result.name} in the environment or in .env, or write \${${result.name}:-default}`,
    });
  }
  return tree;
}

/** The place of a character of the value, as far as the file shows it literally. */
function placeWithin(tree: ScalarTree, at: number): Place {
  if (!tree.literal || tree.text.slice(0, at).includes('\n')) return tree.place;
  return { ...tree.place, column: tree.place.column + at + (tree.plain ? 0 : 1) };
}
