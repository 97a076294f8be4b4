/**
 * The header WWW-Authenticate: which ways of proving oneself a registry offers (RFC 9110, 11.6.1). Pure.
 *
 * Not here: what is done about it (tokens.ts).
 */
export interface Challenge {
  /** Lower case: "bearer", "basic". */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const headerMaxBytes = 8_192;
const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const quoted = /"((?:[^"\\]|\\.)*)"/y;
const blank = /[ \t]*/y;

/** What cannot be read ends the list: a registry that writes nonsense offers nothing. */
export function parseChallenges(header: string): readonly Challenge[] {
  const text = header.slice(0, headerMaxBytes);
  let at = 0;
  const take = (form: RegExp): RegExpExecArray | undefined => {
    form.lastIndex = at;
    const found = form.exec(text);
    if (found === null) return undefined;
    at += found[0].length;
    return found;
  };
  const skip = (character: string): boolean => {
    take(blank);
    if (text[at] !== character) return false;
    at += 1;
    take(blank);
    return true;
  };
  const challenges: { readonly scheme: string; readonly parameters: Map<string, string> }[] = [];
  for (;;) {
    take(blank);
    const word = take(token)?.[0];
    if (word === undefined) return challenges;
    if (skip('=')) {
      const value = take(quoted)?.[1]?.replace(/\\(.)/g, '$1') ?? take(token)?.[0];
      const current = challenges.at(-1);
      if (value === undefined || current === undefined) return challenges;
      if (!current.parameters.has(word.toLowerCase())) current.parameters.set(word.toLowerCase(), value);
    } else {
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
    }
    skip(',');
  }
}
