/**
 * Reads JSON that others wrote: each getter checks the type and names the place of what is wrong. Absent and null are the
 * same, as in Go's encoding, which wrote most of what comes here.
 *
 * Not here: what the documents mean (oci.ts, archive.ts).
 */
import { CoveyError } from '../../errors.js';

type JsonObject = Readonly<Record<string, unknown>>;

/** A value of a document with the path to it, for messages. */
export interface JsonPlace {
  readonly what: string;
  readonly value: JsonObject;
}

export function parseJson(what: string, text: string): JsonPlace {
  try {
    return asObject(what, JSON.parse(text));
  } catch (cause) {
    if (cause instanceof CoveyError) throw cause;
    throw new CoveyError('image-archive', `Cannot read ${what}: it is not JSON`, { cause });
  }
}

export function parseJsonList(what: string, text: string): readonly JsonPlace[] {
  try {
    const value: unknown = JSON.parse(text);
    if (!Array.isArray(value)) throw wrong(what, 'a list');
    return value.map((item, index) => asObject(`${what} [${index}]`, item));
  } catch (cause) {
    if (cause instanceof CoveyError) throw cause;
    throw new CoveyError('image-archive', `Cannot read ${what}: it is not JSON`, { cause });
  }
}

export function textAt(place: JsonPlace, key: string): string | undefined {
  const value = place.value[key] ?? undefined;
  if (value === undefined || typeof value === 'string') return value;
  throw wrong(`${place.what} "${key}"`, 'a text');
}

/** 0 when absent. */
export function countAt(place: JsonPlace, key: string): number {
  const value = place.value[key] ?? 0;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw wrong(`${place.what} "${key}"`, 'a whole number, not negative');
}

/** Empty when absent. A single text counts as a list of one where `single` says so. */
export function textsAt(place: JsonPlace, key: string, options: { readonly single?: boolean } = {}): readonly string[] {
  const value = place.value[key] ?? [];
  if (options.single === true && typeof value === 'string') return [value];
  if (Array.isArray(value) && value.every(item => typeof item === 'string')) return value;
  throw wrong(`${place.what} "${key}"`, 'a list of texts');
}

export function objectAt(place: JsonPlace, key: string): JsonPlace | undefined {
  const value = place.value[key] ?? undefined;
  return value === undefined ? undefined : asObject(`${place.what} "${key}"`, value);
}

export function objectsAt(place: JsonPlace, key: string): readonly JsonPlace[] {
  const value = place.value[key] ?? [];
  if (!Array.isArray(value)) throw wrong(`${place.what} "${key}"`, 'a list');
  return value.map((item, index) => asObject(`${place.what} "${key}" [${index}]`, item));
}

/** Only the entries that are texts; empty when absent. */
export function textMapAt(place: JsonPlace, key: string): Readonly<Record<string, string>> {
  const found = objectAt(place, key)?.value ?? {};
  return Object.fromEntries(
    Object.entries(found).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  );
}

function asObject(what: string, value: unknown): JsonPlace {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { what, value: { ...value } };
  throw wrong(what, 'an object');
}

function wrong(what: string, wanted: string): CoveyError {
  return new CoveyError('image-archive', `Cannot read ${what}: it is not ${wanted}`);
}
