/**
 * A flag's value out of a few words.
 *
 * Called by spec-flags.ts and update-flags.ts. Not here: values with a form of their own (tasks/spec/values.ts).
 */
import { bad, ok, type Parsed } from '../../../tasks/spec/values.js';

export function oneOf<Choice extends string>(...choices: readonly Choice[]): (text: string) => Parsed<Choice> {
  return text => {
    const found = choices.find(choice => choice === text);
    return found === undefined ? bad(choices.join(' or ')) : ok(found);
  };
}
