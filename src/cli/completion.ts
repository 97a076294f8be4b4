/**
 * Completion: small scripts for the shells that ask `covey __complete WORD…`, and the plan of what to answer.
 *
 * Not here: asking the daemon for names (commands/general.ts).
 */
import { type CommandDefinition, type Completes, globalOptions, type OptionDefinition } from './definition.js';
import { longName, shortName, takesValue } from './parse.js';

export type Shell = 'bash' | 'zsh' | 'fish';

export function isShell(text: string): text is Shell {
  return text === 'bash' || text === 'zsh' || text === 'fish';
}

export type CompletionPlan = { readonly beginning: string } & (
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'file' }
  | { readonly kind: 'names'; readonly object: Exclude<Completes, readonly string[] | 'file'> }
);

/** What may stand where the last word stands; the words follow "covey". */
export function planCompletion(tree: readonly CommandDefinition[], words: readonly string[]): CompletionPlan {
  const beginning = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const visible = tree.filter(one => one.hidden !== true);
  const command = visible.find(
    one => one.path.length <= before.length && one.path.every((word, at) => before[at] === word),
  );
  if (command === undefined) {
    const next = visible
      .filter(one => before.every((word, at) => one.path[at] === word))
      .map(one => one.path[before.length])
      .filter(word => word !== undefined);
    return { kind: 'words', beginning, words: [...new Set(before.length === 0 ? [...next, 'help'] : next)] };
  }
  const options = [...command.options, ...globalOptions];
  const rest = before.slice(command.path.length);
  const last = rest.at(-1) ?? '';
  const open = options.find(one => takesValue(one) && isNamed(one, last));
  if (open !== undefined) return planValue(open.completes, beginning);
  if (beginning.startsWith('-')) return { kind: 'words', beginning, words: options.map(one => `--${longName(one)}`) };
  const position = positionOf(rest, options);
  const argument = command.args[position] ?? (command.args.at(-1)?.many ? command.args.at(-1) : undefined);
  return planValue(argument?.completes, beginning);
}

function isNamed(option: OptionDefinition, word: string): boolean {
  return word === `--${longName(option)}` || (shortName(option) !== undefined && word === `-${shortName(option)}`);
}

/** How many arguments, as against options and their values, stand in the words. */
function positionOf(words: readonly string[], options: readonly OptionDefinition[]): number {
  let count = 0;
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (!word.startsWith('-')) count += 1;
    else if (options.some(one => takesValue(one) && isNamed(one, word))) at += 1;
  }
  return count;
}

function planValue(completes: Completes | undefined, beginning: string): CompletionPlan {
  if (completes === undefined) return { kind: 'words', beginning, words: [] };
  if (completes === 'file') return { kind: 'file', beginning };
  if (typeof completes === 'string') return { kind: 'names', object: completes, beginning };
  return { kind: 'words', beginning, words: completes };
}

const scripts: Readonly<Record<Shell, string>> = {
  bash: `_covey() {
  local line reply
  reply=$("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  COMPREPLY=()
  if [ "$reply" = ":file" ]; then
    compopt -o default 2>/dev/null
    return
  fi
  while IFS= read -r line; do [ -n "$line" ] && COMPREPLY+=("$line"); done <<<"$reply"
}
complete -F _covey covey
`,
  zsh: `#compdef covey
_covey() {
  local -a reply
  reply=("\${(@f)$(covey __complete -- "\${words[@]:1:$((CURRENT - 1))}" 2>/dev/null)}")
  if [[ "\${reply[1]}" == ":file" ]]; then
    _files
  else
    compadd -- "\${(@)reply:#}"
  fi
}
compdef _covey covey
`,
  fish: `function __covey_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l reply (covey __complete -- $words[2..-1] 2>/dev/null)
  if test "$reply" = ":file"
    __fish_complete_path (commandline -ct)
  else
    string join \\n -- $reply
  end
end
complete -c covey -f -a '(__covey_complete)'
`,
};

export function completionScript(shell: Shell): string {
  return scripts[shell];
}
