/**
 * The configuration file: one flat YAML map. Kept apart from config.ts so that the YAML parser is loaded only when there is
 * a file.
 */
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { CoveyError } from '../errors.js';
import type { ConfigSources } from './config.js';

export function parseConfigFile(text: string, path: string): ConfigSources['file'] {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  const [problem] = document.errors;
  if (problem !== undefined)
    throw new CoveyError('bad-config', `Cannot read ${place(problem.pos[0])}: ${problem.message.split('\n')[0]}`);
  if (document.contents === null) return new Map();
  if (!isMap(document.contents))
    throw new CoveyError('bad-config', `Cannot read ${path}: a map of names and values is valid there`);
  return new Map(
    document.contents.items.map(({ key, value }) => {
      const name = isScalar(key) ? String(key.value) : '';
      const offset = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
      return [name, { value: isScalar(value) ? value.value : undefined, place: place(offset) }];
    }),
  );
}
