/**
 * Lists and inspections in every form: a view says how an item looks as a record, a row, a name and an id; the options of the
 * command line choose the form, filter and sort.
 *
 * Not here: templates (format.ts), tables (table.ts), the records (records.ts).
 */
import { CoveyError } from '../../errors.js';
import { nearest } from '../../nearest.js';
import type { CliContext } from '../context.js';
import type { Flags } from '../flags.js';
import { type Format, fieldOf, fillTemplate, type JsonRecord, parseFormat } from './format.js';
import { renderTable, type TableCell, type TableColumn } from './table.js';
import { renderTime } from './values.js';

export interface ListView<Item> {
  readonly columns: readonly TableColumn[];
  readonly row: (item: Item) => readonly (string | TableCell)[];
  readonly record: (item: Item) => JsonRecord;
  readonly id: (item: Item) => string;
  readonly name: (item: Item) => string;
}

/** Prints the items that pass the filters, as the flags ask. */
export async function printList<Item>(
  context: CliContext,
  flags: Flags,
  list: { readonly view: ListView<Item>; readonly items: readonly Item[] },
): Promise<void> {
  const { view } = list;
  const format = flags.isOn('quiet') && !flags.has('format') ? undefined : parseFormat(flags.text('format') ?? 'table');
  const filters = flags.list('filter').map(parseFilter);
  const kept = list.items.filter(item => filters.length === 0 || passes(view.record(item), filters));
  const items = sortItems(kept, view, flags.text('sort'));
  if (format === undefined) {
    for (const item of items) await context.print(view.id(item));
  } else if (format.kind === 'table') {
    const width = context.isInteractive && !flags.isOn('no-trunc') ? context.console.stdout.size().columns : undefined;
    const lines = renderTable(view.columns, items.map(view.row), { width, colours: context.colours });
    await context.print(lines.join('\n'));
  } else
    await printRecords(
      context,
      format,
      items.map(item => ({ record: view.record(item), name: view.name(item) })),
    );
}

interface NamedRecord {
  readonly record: JsonRecord;
  readonly name: string;
}

/** Prints records in a form that is not a table. */
export async function printRecords(
  context: CliContext,
  format: Exclude<Format, { kind: 'table' }>,
  items: readonly NamedRecord[],
): Promise<void> {
  if (format.kind === 'template' && format.header !== undefined) await context.print(format.header);
  const yaml = format.kind === 'yaml' ? await import('./yaml.js') : undefined;
  const asOf = context.asOf();
  const age = asOf === undefined ? {} : { asOf: asOf.atMs === 0 ? null : renderTime(asOf.atMs), asOfBecause: asOf.why };
  for (const [at, { record: plain, name }] of items.entries()) {
    const record = { ...plain, ...age };
    if (format.kind === 'json') await context.print(JSON.stringify(record));
    else if (format.kind === 'name') await context.print(name);
    else if (format.kind === 'template') await context.print(fillTemplate(format.parts, record));
    else await context.console.stdout.write(`${at > 0 ? '---\n' : ''}${yaml?.renderYaml(record)}`);
  }
}

/** `inspect`: YAML for people unless a form is asked for. */
export async function printInspection(context: CliContext, flags: Flags, items: readonly NamedRecord[]): Promise<void> {
  const format = parseFormat(flags.text('format') ?? 'yaml');
  await printRecords(context, format.kind === 'table' ? { kind: 'yaml' } : format, items);
}

interface Filter {
  readonly key: string;
  readonly value: string;
  readonly negated: boolean;
}

function parseFilter(text: string): Filter {
  const found = /^([^=!]+)(!?=)(.*)$/su.exec(text);
  if (found === null) {
    throw new CoveyError('bad-argument', `Cannot use "${text}" for --filter`, {
      hint: 'give FIELD=VALUE or FIELD!=VALUE',
    });
  }
  const [, key = '', sign, value = ''] = found;
  return { key: key.trim(), negated: sign === '!=', value };
}

/** As Docker's: filters on the same field are alternatives, filters on different fields all have to hold. */
function passes(record: JsonRecord, filters: readonly Filter[]): boolean {
  const keys = [...new Set(filters.map(filter => `${filter.negated}${filter.key}`))];
  return keys.every(key => {
    const same = filters.filter(filter => `${filter.negated}${filter.key}` === key);
    return same[0]?.negated === true
      ? same.every(filter => !fits(record, filter))
      : same.some(filter => fits(record, filter));
  });
}

function fits(record: JsonRecord, filter: Filter): boolean {
  const { key, value } = filter;
  if (key === 'label' || key === 'node.label') {
    const at = value.indexOf('=');
    const label = at < 0 ? value : value.slice(0, at);
    const labels = (record['labels'] ?? {}) as JsonRecord;
    return Object.hasOwn(labels, label) && (at < 0 || labels[label] === value.slice(at + 1));
  }
  const camel = key.replaceAll(/-([a-z])/gu, (_, letter: string) => letter.toUpperCase());
  const field = fieldOf(record, camel.split('.'));
  if (key === 'id') return String(field).startsWith(value);
  if (key === 'name') return String(field).includes(value);
  if (Array.isArray(field)) return field.some(item => String(item) === value);
  return String(field ?? '').toLowerCase() === value.toLowerCase();
}

function sortItems<Item>(items: readonly Item[], view: ListView<Item>, by: string | undefined): readonly Item[] {
  const [first] = items;
  if (by === undefined || first === undefined) return items;
  const descending = by.startsWith('-');
  const name = by.replace(/^[-+]/u, '').replaceAll(/-([a-z])/gu, (_, letter: string) => letter.toUpperCase());
  const fields = Object.keys(view.record(first));
  const field = fields.find(one => one.toLowerCase() === name.toLowerCase());
  const column = view.columns.findIndex(one => one.header.toLowerCase() === name.toLowerCase());
  if (field === undefined && column < 0) {
    const near = nearest(name, fields);
    throw new CoveyError('bad-argument', `Cannot sort by "${by}": there is no such field`, {
      state: `fields are ${fields.join(', ')}`,
      hint: near === undefined ? undefined : `--sort ${near}`,
    });
  }
  const keyOf = (item: Item): unknown => {
    if (field !== undefined) return view.record(item)[field];
    const cell = view.row(item)[column];
    return typeof cell === 'object' ? cell.text : cell;
  };
  const sorted = items.map(item => ({ item, key: keyOf(item) })).sort((a, b) => compareValues(a.key, b.key));
  return (descending ? sorted.reverse() : sorted).map(({ item }) => item);
}

/** Numbers by value, texts with their digits by value: web.2 before web.10. */
function compareValues(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return compareNames(String(a ?? ''), String(b ?? ''));
}

export function compareNames(a: string, b: string): number {
  const partsA = a.match(/\d+|\D+/gu) ?? [];
  const partsB = b.match(/\d+|\D+/gu) ?? [];
  for (const [at, part] of partsA.entries()) {
    const other = partsB[at];
    if (other === undefined) return 1;
    if (part === other) continue;
    if (/^\d/u.test(part) && /^\d/u.test(other) && Number(part) !== Number(other)) return Number(part) - Number(other);
    return part < other ? -1 : 1;
  }
  return partsA.length - partsB.length;
}
