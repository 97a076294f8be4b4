/**
 * volume.json: what is to be known of a volume besides its data. Written once, when it is made.
 *
 * Not here: who uses it (volumes.ts).
 */
import { CoveyError } from '../errors.js';
import type { Files } from '../host.js';

export interface VolumeFacts {
  /** Of the driver local: type, device, o. */
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** 0: not known. */
  readonly createdAtMs: number;
}

export const factsName = 'volume.json';

export function renderFacts(facts: VolumeFacts): string {
  return JSON.stringify(facts);
}

export async function readFacts(files: Pick<Files, 'findText'>, folder: string): Promise<VolumeFacts> {
  const path = `${folder}/${factsName}`;
  const text = await files.findText(path);
  if (text === undefined) return { options: {}, labels: {}, createdAtMs: 0 };
  const value: unknown = JSON.parse(text);
  if (isFacts(value)) return value;
  throw new CoveyError('state-damaged', `Cannot read "${path}": it does not say what a volume is`);
}

function isFacts(value: unknown): value is VolumeFacts {
  if (typeof value !== 'object' || !value) return false;
  return ['options', 'labels'].every(key => typeof Reflect.get(value, key) === 'object') && 'createdAtMs' in value;
}
