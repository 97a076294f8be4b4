/**
 * What was derived from an object of the tables, kept as long as the object and everything else it was derived from are the
 * very same. Tables come whole each time, but all that did not change in them is the same object as before: so a change costs
 * what has changed, not what there is.
 */
export type Memo<Key extends object, Result> = (key: Key, inputs: readonly unknown[], make: () => Result) => Result;

export function openMemo<Key extends object, Result>(): Memo<Key, Result> {
  const kept = new WeakMap<Key, { readonly inputs: readonly unknown[]; readonly result: Result }>();
  return (key, inputs, make) => {
    const known = kept.get(key);
    if (known !== undefined && known.inputs.length === inputs.length) {
      if (known.inputs.every((input, at) => input === inputs[at])) return known.result;
    }
    const result = make();
    kept.set(key, { inputs, result });
    return result;
  };
}
