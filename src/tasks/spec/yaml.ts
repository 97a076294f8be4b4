/**
 * From the text of a stack file to a tree whose every node knows its file, line and column. Anchors and merge keys (`<<`) are
 * resolved here, with a limit on how large they may make the tree; keys of the map itself win over merged ones.
 *
 * Scalars keep their text, so that variables can be put in before their type is decided.
 *
 * Not here: types of scalars (scalar.ts), variables (variables.ts), what keys mean (service.ts and its neighbours).
 */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type YAMLMap,
} from 'yaml';
import { type Place, stackError } from './problems.js';

export interface ScalarTree {
  readonly kind: 'scalar';
  readonly place: Place;
  readonly text: string;
  /** Written without quotes, so that it may be a number, a flag or null. */
  readonly plain: boolean;
  /** The content stands in the file as it is, on one line, from `place` (plus the quote) on. */
  readonly literal: boolean;
}

interface ListTree {
  readonly kind: 'list';
  readonly place: Place;
  readonly items: readonly Tree[];
}

interface MapEntry {
  readonly keyPlace: Place;
  readonly value: Tree;
}

export interface MapTree {
  readonly kind: 'map';
  readonly place: Place;
  readonly entries: ReadonlyMap<string, MapEntry>;
}

export type Tree = ScalarTree | ListTree | MapTree;

/** Nodes after anchors are resolved; a file of a few hundred bytes can ask for billions. */
const nodesMax = 100_000;
const depthMax = 100;
const stackFileMaxBytes = 2 * 1024 * 1024;

interface Conversion {
  readonly file: string;
  readonly document: Document.Parsed;
  readonly lines: LineCounter;
  readonly text: string;
  nodes: number;
}

/** Throws stack-syntax. An empty file is an empty map. */
export function parseYaml(file: string, text: string): MapTree {
  const lines = new LineCounter();
  const start: Place = { file, line: 1, column: 1 };
  if (text.length > stackFileMaxBytes) {
    throw syntaxError(start, `the file has ${text.length} characters, and the limit is ${stackFileMaxBytes}`);
  }
  const documents = parseAllDocuments(text.replace(/^\u{feff}/u, ''), {
    lineCounter: lines,
    schema: 'failsafe',
    prettyErrors: false,
    uniqueKeys: true,
    strict: true,
  });
  const [document, second] = 'empty' in documents ? [] : documents;
  if (document === undefined) return { kind: 'map', place: start, entries: new Map() };
  const conversion: Conversion = { file, document, lines, text, nodes: 0 };
  const [error] = [...document.errors, ...document.warnings];
  if (error !== undefined) throw syntaxError(placeAt(conversion, error.pos[0]), firstLine(error.message));
  if (second !== undefined) {
    throw syntaxError(placeAt(conversion, second.range[0]), 'a second document begins; a stack file is one document');
  }
  const root = document.contents === null ? undefined : convert(conversion, document.contents, 0);
  if (root === undefined || (root.kind === 'scalar' && root.text === '')) {
    return { kind: 'map', place: start, entries: new Map() };
  }
  if (root.kind !== 'map') throw syntaxError(root.place, 'a stack file is a map with keys such as services');
  return root;
}

function syntaxError(place: Place, message: string): Error {
  return stackError([{ code: 'stack-syntax', place, message }]);
}

function firstLine(message: string): string {
  const [line = message] = message.split('\n', 1);
  return line.charAt(0).toLowerCase() + line.slice(1);
}

function placeAt(conversion: Conversion, offset: number): Place {
  const { line, col } = conversion.lines.linePos(offset);
  return { file: conversion.file, line: Math.max(1, line), column: Math.max(1, col) };
}

function placeOf(conversion: Conversion, node: Node | undefined | null): Place {
  return placeAt(conversion, node?.range?.[0] ?? 0);
}

function convert(conversion: Conversion, node: Node, depth: number): Tree {
  const place = placeOf(conversion, node);
  conversion.nodes += 1;
  if (conversion.nodes > nodesMax) throw syntaxError(place, `anchors make the file larger than ${nodesMax} values`);
  if (depth > depthMax) throw syntaxError(place, `values are nested deeper than ${depthMax} levels`);
  if (isAlias(node)) return convert(conversion, targetOf(conversion, node), depth + 1);
  if (isSeq(node)) {
    return { kind: 'list', place, items: node.items.map(item => convert(conversion, item as Node, depth + 1)) };
  }
  if (isMap(node)) return convertMap(conversion, node, depth);
  if (!isScalar(node)) throw syntaxError(place, 'the value is of no kind that a stack file has');
  const text = String(node.value ?? '');
  const from = node.range?.[0] ?? 0;
  const plain = (node.type ?? 'PLAIN') === 'PLAIN' && node.tag !== 'tag:yaml.org,2002:str';
  return { kind: 'scalar', place, text, plain, literal: conversion.text.startsWith(text, plain ? from : from + 1) };
}

function targetOf(conversion: Conversion, alias: Alias): Node {
  const target = alias.resolve(conversion.document);
  if (target === undefined)
    throw syntaxError(placeOf(conversion, alias), `there is no anchor "&${alias.source}" before it`);
  const [from = 0, , to = 0] = target.range ?? [];
  const at = alias.range?.[0] ?? 0;
  if (at >= from && at < to)
    throw syntaxError(placeOf(conversion, alias), `the anchor "&${alias.source}" contains itself`);
  return target;
}

function convertMap(conversion: Conversion, map: YAMLMap, depth: number): MapTree {
  const own = new Map<string, MapEntry>();
  const merged = new Map<string, MapEntry>();
  for (const pair of map.items) {
    const key = isPair(pair) && isAlias(pair.key) ? targetOf(conversion, pair.key) : (pair.key as Node);
    if (!isScalar(key)) throw syntaxError(placeOf(conversion, key), 'a key has to be a text');
    const name = String(key.value ?? '');
    const keyPlace = placeOf(conversion, key);
    const value: Tree =
      pair.value === null || pair.value === undefined
        ? { kind: 'scalar', place: keyPlace, text: '', plain: true, literal: false }
        : convert(conversion, pair.value as Node, depth + 1);
    if (name === '<<' && (key.type ?? 'PLAIN') === 'PLAIN') mergeInto(merged, value);
    else own.set(name, { keyPlace, value });
  }
  for (const [name, entry] of merged) if (!own.has(name)) own.set(name, entry);
  return { kind: 'map', place: placeOf(conversion, map), entries: own };
}

/** A map, or a list of maps of which the first wins. */
function mergeInto(merged: Map<string, MapEntry>, value: Tree): void {
  for (const source of value.kind === 'list' ? value.items : [value]) {
    if (source.kind !== 'map') throw syntaxError(source.place, 'a merge key (<<) takes a map or a list of maps');
    for (const [name, entry] of source.entries) if (!merged.has(name)) merged.set(name, entry);
  }
}
