/**
 * What a plain YAML scalar is, by the rules of the YAML library of Docker's client (a mix of YAML 1.1 and 1.2): 012 and 0o12
 * are octal, 1_000 is a number, yes and on are words, 2026-01-02 is a time. Files that were written for Docker then mean the
 * same here, oddities included; `scalarText` warns its caller when a value's text changes.
 *
 * Not here: the tree (yaml.ts).
 */

export type Scalar =
  | { readonly kind: 'null' }
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'flag'; readonly value: boolean }
  /** `text` is the number as Go prints it; integers keep every digit. */
  | { readonly kind: 'number'; readonly value: number; readonly integer: boolean; readonly text: string }
  | { readonly kind: 'time'; readonly text: string };

const words: Readonly<Record<string, Scalar>> = {
  '': { kind: 'null' },
  '~': { kind: 'null' },
  null: { kind: 'null' },
  Null: { kind: 'null' },
  NULL: { kind: 'null' },
  true: { kind: 'flag', value: true },
  True: { kind: 'flag', value: true },
  TRUE: { kind: 'flag', value: true },
  false: { kind: 'flag', value: false },
  False: { kind: 'flag', value: false },
  FALSE: { kind: 'flag', value: false },
};

/** The meaning of an unquoted scalar. */
export function resolvePlain(source: string): Scalar {
  if (Object.hasOwn(words, source)) return words[source] ?? { kind: 'null' };
  if (!/^[-+.0-9]/u.test(source)) return { kind: 'text', value: source };
  return findTime(source) ?? findNumber(source) ?? { kind: 'text', value: source };
}

/** The scalar where a text is wanted and numbers are taken too; undefined for null and true/false. */
export function scalarText(scalar: Scalar): string | undefined {
  switch (scalar.kind) {
    case 'text':
      return scalar.value;
    case 'number':
    case 'time':
      return scalar.text;
    default:
      return undefined;
  }
}

function findNumber(source: string): Scalar | undefined {
  if (/^[-+]?\.(?:inf|Inf|INF)$/u.test(source)) {
    const value = source.startsWith('-') ? -Infinity : Infinity;
    return { kind: 'number', value, integer: false, text: value < 0 ? '-Inf' : '+Inf' };
  }
  if (/^\.(?:nan|NaN|NAN)$/u.test(source)) return { kind: 'number', value: Number.NaN, integer: false, text: 'NaN' };
  const plain = source.replaceAll('_', '');
  const whole = findInteger(plain);
  if (whole !== undefined) return { kind: 'number', value: Number(whole), integer: true, text: whole.toString() };
  if (!/^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$/u.test(plain)) return undefined;
  const value = Number(plain);
  return { kind: 'number', value, integer: false, text: renderFloat(value) };
}

function findInteger(plain: string): bigint | undefined {
  const found = /^([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9]\d*))$/u.exec(plain);
  if (found === null) return undefined;
  const [, sign, hex, binary, octal, decimal] = found;
  const value = BigInt(
    hex !== undefined
      ? `0x${hex}`
      : binary !== undefined
        ? `0b${binary}`
        : octal !== undefined
          ? `0o${octal}`
          : (decimal ?? '0'),
  );
  if (value > 0xffff_ffff_ffff_ffffn) return undefined;
  return sign === '-' ? -value : value;
}

/** As Go prints a float64: an exponent of two digits at least, from 1e21 up and below 1e-4. */
function renderFloat(value: number): string {
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 1e21) ? value.toExponential() : String(value);
  return text.replace(/e([-+])(\d)$/u, 'e$10$2');
}

function findTime(source: string): Scalar | undefined {
  const found =
    /^(\d{4})-(\d{1,2})-(\d{1,2})(?:(?:[Tt]| +)(\d{1,2}):(\d{1,2}):(\d{1,2})(\.\d{1,9})?(Z|[-+]\d\d:\d\d)?)?$/u.exec(
      source,
    );
  if (found === null) return undefined;
  const [, year = '', month = '', day = '', hour = '0', minute = '0', second = '0', fraction = '', zone] = found;
  if (!isDay(Number(year), Number(month), Number(day))) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  const hasTime = found[4] !== undefined;
  const separated = /[Tt]/u.test(source);
  if (hasTime && separated !== (zone !== undefined)) return undefined;
  const offset = zone === undefined || zone === 'Z' ? '+0000 UTC' : `${zone.replace(':', '')} ${zone.replace(':', '')}`;
  const clock = [hour, minute, second].map(part => part.padStart(2, '0')).join(':');
  const digits = fraction.replace(/\.?0+$/u, '');
  return {
    kind: 'time',
    text: `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')} ${clock}${digits} ${offset}`,
  };
}

function isDay(year: number, month: number, day: number): boolean {
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = month === 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;
  return month >= 1 && month <= 12 && day >= 1 && day <= days;
}
