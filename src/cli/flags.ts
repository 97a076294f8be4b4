/**
 * The options of one invocation, read with their types: durations, sizes and numbers are parsed here, so that a wrong value
 * is the same kind of error everywhere.
 *
 * Not here: which options there are (definition.ts, commands/), how the line was split (parse.ts).
 */
import { CoveyError } from '../errors.js';
import { type Parsed, parseDurationMs, parseInteger } from '../tasks/spec/values.js';

export interface Flags {
  /** Whether the option was given. */
  readonly has: (name: string) => boolean;
  readonly isOn: (name: string) => boolean;
  /** undefined when the option was not given; false for "--init=false". */
  readonly onOff: (name: string) => boolean | undefined;
  readonly text: (name: string) => string | undefined;
  readonly list: (name: string) => readonly string[];
  readonly integer: (name: string, range: { readonly min: number; readonly max: number }) => number | undefined;
  readonly durationMs: (name: string) => number | undefined;
  readonly parsed: <Value>(name: string, parse: (text: string) => Parsed<Value>) => Value | undefined;
  readonly parsedList: <Value>(name: string, parse: (text: string) => Parsed<Value>) => readonly Value[];
}

/** Values by the long name without dashes, as commander collected them: true, a text, or a list of texts. */
export function readFlags(values: ReadonlyMap<string, unknown>): Flags {
  const list = (name: string): readonly string[] => {
    const value = values.get(name);
    return Array.isArray(value) ? value.map(String) : typeof value === 'string' ? [value] : [];
  };
  const text = (name: string): string | undefined => list(name).at(-1);
  const parsed = <Value>(name: string, parse: (value: string) => Parsed<Value>): Value | undefined => {
    const value = text(name);
    return value === undefined ? undefined : orBadValue(`--${name}`, value, parse(value));
  };
  return {
    has: name => values.has(name),
    isOn: name => values.get(name) === true,
    onOff: name => {
      const value = values.get(name);
      return typeof value === 'boolean' ? value : undefined;
    },
    text,
    list,
    integer: (name, range) => parsed(name, value => parseInteger(value, range)),
    durationMs: name => parsed(name, parseDurationMs),
    parsed,
    parsedList: (name, parse) => list(name).map(value => orBadValue(`--${name}`, value, parse(value))),
  };
}

/** The value, or the error that says what would be valid. */
export function orBadValue<Value>(where: string, text: string, parsed: Parsed<Value>): Value {
  if (parsed.kind === 'ok') return parsed.value;
  throw new CoveyError('bad-argument', `Cannot use "${text}" for ${where}`, { hint: `give ${parsed.valid}` });
}
