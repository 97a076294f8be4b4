/**
 * Whether two pieces of plain data say the same; a field that is undefined counts as absent.
 *
 * Called by control/ to tell a changed spec from an unchanged one. Not here: what a change means (services.ts, words.ts).
 */
export function isSame(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (!isObject(left) || !isObject(right)) return false;
  if (Array.isArray(left) !== Array.isArray(right)) return false;
  const keys = new Set([...definedKeys(left), ...definedKeys(right)]);
  return [...keys].every(key => isSame(Reflect.get(left, key), Reflect.get(right, key)));
}

function definedKeys(object: object): readonly string[] {
  return Object.entries(object).flatMap(([key, value]) => (value === undefined ? [] : [key]));
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && Boolean(value);
}
