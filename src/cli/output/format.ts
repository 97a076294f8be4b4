/**
 * `--format`: json (one object a line), yaml, name, table, or a template such as '{{.name}} {{.ports.0.published}}'.
 *
 * Templates know `{{.path}}`, `{{.}}`, `{{json .path}}`, `{{len .path}}`, `{{join .path ", "}}`, \t and \n, and `table …` in front
 * for a header. Names are found whatever their case, so that Docker's {{.Name}} and {{.ID}} work.
 *
 * Not here: what the fields are (records.ts).
 */
import { CoveyError } from '../../errors.js';
import { nearest } from '../../nearest.js';

/** An object as programs see it: JSON values only. */
export type JsonRecord = Readonly<Record<string, unknown>>;

export type Format =
  | { readonly kind: 'table' }
  | { readonly kind: 'json' }
  | { readonly kind: 'yaml' }
  | { readonly kind: 'name' }
  | { readonly kind: 'template'; readonly parts: readonly TemplatePart[]; readonly header: string | undefined };

export type TemplatePart =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'field';
      readonly path: readonly string[];
      readonly apply: 'plain' | 'json' | 'len' | 'join';
      readonly separator: string;
    };

export function parseFormat(text: string): Format {
  if (text === 'table' || text === 'json' || text === 'yaml' || text === 'name') return { kind: text };
  if (text.includes('{{')) return parseTemplate(text);
  throw new CoveyError('bad-argument', `Cannot use "${text}" for --format`, {
    hint: "give json, yaml, name, table or a template such as '{{.name}} {{.id}}'",
  });
}

function parseTemplate(text: string): Format {
  const isTable = text.startsWith('table ');
  const source = (isTable ? text.slice(6) : text).replaceAll('\\t', '\t').replaceAll('\\n', '\n');
  const parts: TemplatePart[] = [];
  let at = 0;
  for (const found of source.matchAll(/\{\{(.*?)\}\}/gsu)) {
    if (found.index > at) parts.push({ kind: 'text', text: source.slice(at, found.index) });
    parts.push(parseExpression(found[1]?.trim() ?? ''));
    at = found.index + found[0].length;
  }
  if (source.slice(at).includes('{{')) throw badTemplate(text, 'the last {{ is not closed by }}');
  if (at < source.length) parts.push({ kind: 'text', text: source.slice(at) });
  const header = parts
    .map(part => (part.kind === 'text' ? part.text : (part.path.at(-1) ?? '').toUpperCase()))
    .join('');
  return { kind: 'template', parts, header: isTable ? header : undefined };
}

function parseExpression(text: string): TemplatePart {
  const found = /^(?:(json|len|join)\s+)?\.([\w.-]*)(?:\s+"([^"]*)")?$/u.exec(text);
  if (found === null) {
    throw badTemplate(`{{${text}}}`, 'known are {{.path}}, {{json .path}}, {{len .path}} and {{join .path ", "}}');
  }
  const [, apply, path = '', separator = ','] = found;
  return {
    kind: 'field',
    path: path.split('.').filter(part => part !== ''),
    apply: apply === 'json' || apply === 'len' || apply === 'join' ? apply : 'plain',
    separator,
  };
}

function badTemplate(text: string, why: string): CoveyError {
  return new CoveyError('bad-argument', `Cannot use the template "${text}"`, { state: why });
}

/** The template filled with the fields of a record. A field that the record does not have is an error. */
export function fillTemplate(parts: readonly TemplatePart[], record: JsonRecord): string {
  return parts
    .map(part => {
      if (part.kind === 'text') return part.text;
      const value = fieldOf(record, part.path);
      if (part.apply === 'json') return JSON.stringify(value);
      if (part.apply === 'len') return String(lengthOf(value));
      return plainText(value, part.separator);
    })
    .join('');
}

function lengthOf(value: unknown): number {
  if (Array.isArray(value) || typeof value === 'string') return value.length;
  return typeof value === 'object' && value !== null ? Object.keys(value).length : 0;
}

function plainText(value: unknown, separator: string): string {
  if (value === null || value === undefined) return '';
  if (Array.isArray(value)) return value.map(item => plainText(item, separator)).join(separator);
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** A field by its path; names are compared without regard to case. */
export function fieldOf(record: JsonRecord, path: readonly string[]): unknown {
  let value: unknown = record;
  for (const [at, name] of path.entries()) {
    if (value === null || value === undefined) return undefined;
    if (typeof value !== 'object') throw noField(path.slice(0, at + 1), []);
    const keys = Object.keys(value);
    const key = keys.find(one => one === name) ?? keys.find(one => one.toLowerCase() === name.toLowerCase());
    if (key === undefined) {
      // Maps (labels) and lists may lack an entry; a record has all its fields.
      if (at > 0) return undefined;
      throw noField(path, keys);
    }
    value = (value as JsonRecord)[key];
  }
  return value;
}

function noField(path: readonly string[], keys: readonly string[]): CoveyError {
  const near = nearest(path.at(-1) ?? '', keys);
  return new CoveyError('bad-argument', `Cannot show the field ".${path.join('.')}": there is none`, {
    state: keys.length === 0 ? undefined : `fields are ${keys.join(', ')}`,
    hint: near === undefined ? undefined : `{{.${near}}}`,
  });
}
