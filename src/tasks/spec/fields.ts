/**
 * Typed reading of a tree: each function takes a field (a value with its path) and gives the wanted type, or reports a problem
 * with path and place and gives undefined. A field that is null counts as not there, as in Docker.
 *
 * Not here: which keys there are (service.ts and its neighbours).
 */
import { nearest } from '../../nearest.js';
import type { ProblemCode, Report } from './problems.js';
import { resolvePlain, type Scalar, scalarText } from './scalar.js';
import { type Parsed, parseInteger, splitPair } from './values.js';
import type { ScalarTree, Tree } from './yaml.js';

export interface Field {
  readonly tree: Tree;
  /** "services.web.ports[0]". */
  readonly path: string;
  readonly report: Report;
}

/** Finds a key of a map that was read; undefined when it is missing or null. */
export type FindField = (key: string) => Field | undefined;

export interface KeySet {
  /** What the map is, for messages: "a service". */
  readonly what: string;
  readonly known: readonly string[];
  /** Keys that Docker or the Compose specification know and covey does not honour. */
  readonly notHonoured: readonly string[];
  /** Keys that begin with "x-" are not free here: the map is an extension already. */
  readonly strict?: boolean;
}

export function problem(field: Field, code: ProblemCode, message: string, hint?: string): undefined {
  field.report.add({ code, place: field.tree.place, message: `${field.path} ${message}`, hint });
  return undefined;
}

function wrongType(field: Field, wanted: string, hint?: string): undefined {
  return problem(field, 'stack-type', `is ${describe(field.tree)}, and has to be ${wanted}`, hint);
}

function describe(tree: Tree): string {
  if (tree.kind === 'list') return 'a list';
  if (tree.kind === 'map') return 'a map';
  const scalar = scalarOf(tree);
  if (scalar.kind === 'number') return `the number ${scalar.text}`;
  if (scalar.kind === 'flag') return String(scalar.value);
  return scalar.kind === 'null' ? 'nothing' : `"${tree.text}"`;
}

export function scalarOf(tree: ScalarTree): Scalar {
  return tree.plain ? resolvePlain(tree.text) : { kind: 'text', value: tree.text };
}

function isNull(tree: Tree): boolean {
  return tree.kind === 'scalar' && scalarOf(tree).kind === 'null';
}

/** Whether a value asks for nothing: null, false, or an empty list or map. */
function asksNothing(tree: Tree): boolean {
  if (tree.kind === 'list') return tree.items.length === 0;
  if (tree.kind === 'map') return tree.entries.size === 0;
  const scalar = scalarOf(tree);
  return scalar.kind === 'null' || (scalar.kind === 'flag' && !scalar.value);
}

/** What people do in the place of a key. */
const insteads: Readonly<Record<string, string>> = {
  depends_on:
    ': services start side by side, and one that needs another waits for it by its restarts, or in an init container',
};

/** The keys of a map, checked against those that it may have. Keys that begin with "x-" are free. */
export function readKeys(field: Field, keys: KeySet): FindField {
  const { tree, path, report } = field;
  if (tree.kind !== 'map') {
    if (!isNull(tree)) wrongType(field, 'a map');
    return () => undefined;
  }
  for (const [key, entry] of tree.entries) {
    if (keys.known.includes(key)) continue;
    const child = path === '' ? key : `${path}.${key}`;
    if (keys.notHonoured.includes(key)) {
      if (!asksNothing(entry.value)) {
        report.add({
          code: 'stack-not-honoured',
          place: entry.keyPlace,
          message: `${child} is not honoured`,
          hint: `remove ${key}${insteads[key] ?? ''}`,
        });
      }
    } else if (!key.startsWith('x-') || keys.strict === true) {
      const near = nearest(key, [...keys.known, ...keys.notHonoured]);
      report.add({
        code: 'stack-unknown-key',
        place: entry.keyPlace,
        message: `${child} is not a key of ${keys.what}`,
        hint: near === undefined ? undefined : `write ${near}`,
      });
    }
  }
  return key => {
    const entry = tree.entries.get(key);
    if (entry === undefined || isNull(entry.value)) return undefined;
    return { tree: entry.value, path: path === '' ? key : `${path}.${key}`, report };
  };
}

/** All entries of a map with free keys. */
export function readEntries(field: Field | undefined): readonly (readonly [key: string, field: Field])[] {
  if (field === undefined || isNull(field.tree)) return [];
  if (field.tree.kind !== 'map') return wrongType(field, 'a map') ?? [];
  return [...field.tree.entries].map(
    ([key, entry]) =>
      [
        key,
        { tree: entry.value, path: field.path === '' ? key : `${field.path}.${key}`, report: field.report },
      ] as const,
  );
}

export function readItems(field: Field | undefined): readonly Field[] {
  if (field === undefined || isNull(field.tree)) return [];
  if (field.tree.kind !== 'list') return wrongType(field, 'a list') ?? [];
  return field.tree.items.map((tree, at) => ({ tree, path: `${field.path}[${at}]`, report: field.report }));
}

/** A text; a number without quotes is refused, as by Docker. */
export function readText(field: Field | undefined): string | undefined {
  if (field === undefined) return undefined;
  if (field.tree.kind !== 'scalar') return wrongType(field, 'a text');
  const scalar = scalarOf(field.tree);
  if (scalar.kind === 'text') return scalar.value;
  return wrongType(field, 'a text', `put it in quotes: "${field.tree.text}"`);
}

/** A text or a number, as text. Warns when the number does not read as it was written (3.10 is 3.1). */
function readLoose(field: Field | undefined): string | undefined {
  if (field === undefined) return undefined;
  if (field.tree.kind !== 'scalar') return wrongType(field, 'a text or a number');
  const text = scalarText(scalarOf(field.tree));
  if (text === undefined) return wrongType(field, 'a text or a number', `put it in quotes: "${field.tree.text}"`);
  if (text !== field.tree.text) {
    field.report.warn({
      place: field.tree.place,
      message: `${field.path}: ${field.tree.text} without quotes is read as ${text}`,
    });
  }
  return text;
}

const flagWords: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  y: true,
  '1': true,
  false: false,
  no: false,
  off: false,
  n: false,
  '0': false,
};

export function readFlag(field: Field | undefined): boolean | undefined {
  if (field === undefined) return undefined;
  if (field.tree.kind === 'scalar') {
    const scalar = scalarOf(field.tree);
    if (scalar.kind === 'flag') return scalar.value;
    const word = scalar.kind === 'text' && !field.tree.plain ? flagWords[scalar.value.toLowerCase()] : undefined;
    if (word !== undefined) return word;
  }
  return wrongType(field, 'true or false');
}

export function readInteger(
  field: Field | undefined,
  range: { readonly min: number; readonly max: number },
): number | undefined {
  if (field === undefined) return undefined;
  const { tree } = field;
  const scalar: Scalar | undefined = tree.kind === 'scalar' ? scalarOf(tree) : undefined;
  const text = scalar === undefined ? undefined : scalarText(scalar);
  const parsed = text === undefined ? undefined : parseInteger(text, range);
  if (parsed?.kind === 'ok') return parsed.value;
  return wrongType(field, `a whole number from ${range.min} to ${range.max}`);
}

/** A text or number in a form of its own, such as a duration. */
export function readParsed<Value>(field: Field | undefined, parse: (text: string) => Parsed<Value>): Value | undefined {
  if (field === undefined) return undefined;
  const { tree } = field;
  const scalar: Scalar | undefined = tree.kind === 'scalar' ? scalarOf(tree) : undefined;
  const text = scalar === undefined ? undefined : scalarText(scalar);
  if (text === undefined) return wrongType(field, 'a text');
  const parsed = parse(text);
  return parsed.kind === 'ok' ? parsed.value : wrongType(field, parsed.valid);
}

export function readChoice<Choice extends string>(
  field: Field | undefined,
  choices: readonly Choice[],
): Choice | undefined {
  const text = readText(field);
  if (field === undefined || text === undefined) return undefined;
  return (
    choices.find(choice => choice === text) ??
    wrongType(field, choices.length === 1 ? `${choices[0]}` : `one of ${choices.join(', ')}`)
  );
}

export function readTexts(field: Field | undefined): readonly string[] | undefined {
  if (field === undefined) return undefined;
  return readItems(field).flatMap(item => readText(item) ?? []);
}

/** One text, or a list of texts. */
export function readTextOrTexts(field: Field | undefined): readonly string[] | undefined {
  if (field === undefined) return undefined;
  if (field.tree.kind === 'list') return readTexts(field);
  const text = readText(field);
  return text === undefined ? undefined : [text];
}

export interface PairsOptions {
  /** Between name and value in the list form; default "=". */
  readonly separator?: RegExp;
}

/** A map, or a list of "NAME=value": pairs in the order of the file. A value that is not given is undefined. */
export function readPairs(
  field: Field | undefined,
  options: PairsOptions = {},
): readonly (readonly [string, string | undefined])[] {
  if (field === undefined) return [];
  if (field.tree.kind === 'map') {
    return readEntries(field).map(([key, value]) => [key, isNull(value.tree) ? undefined : readLoose(value)] as const);
  }
  if (field.tree.kind !== 'list') return wrongType(field, 'a map or a list of NAME=value') ?? [];
  return readItems(field).flatMap(item => {
    const text = readText(item);
    if (text === undefined) return [];
    const { name, value } = splitPair(text, options.separator);
    if (name === '') return problem(item, 'stack-type', 'has no name before the value') ?? [];
    return [[name, value] as const];
  });
}
