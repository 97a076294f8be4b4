/**
 * The JSON that libnftables prints, read into chains and elements in the same text that the model uses.
 *
 * Not here: what should be there (model.ts, skeleton.ts).
 */

export interface TableSeen {
  /** Rules in each chain. */
  readonly chains: ReadonlyMap<string, number>;
  readonly sets: Readonly<Record<string, ReadonlyMap<string, string>>>;
}

export interface BaseChainSeen {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook: string;
  readonly policy: string;
}

export interface RuleSeen {
  readonly chain: string;
  readonly handle: number;
  readonly comment: string;
  /** Top-level verdict words of the rule: "drop", "reject", "accept", "jump". */
  readonly verdicts: readonly string[];
  /** Chains that it jumps or goes to. */
  readonly targets: readonly string[];
}

type Json = Readonly<Record<string, unknown>>;

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectsOf(output: string, kind: string): Json[] {
  if (output.trim() === '') return [];
  const parsed: unknown = JSON.parse(output);
  const list = isJson(parsed) ? parsed['nftables'] : undefined;
  if (!Array.isArray(list)) return [];
  return list.flatMap(item => (isJson(item) && isJson(item[kind]) ? [item[kind]] : []));
}

/** Output of "list table …". */
export function parseTable(output: string): TableSeen {
  const chains = new Map<string, number>();
  for (const chain of objectsOf(output, 'chain')) chains.set(String(chain['name']), 0);
  for (const rule of objectsOf(output, 'rule')) {
    const chain = String(rule['chain']);
    chains.set(chain, (chains.get(chain) ?? 0) + 1);
  }
  const sets: Record<string, Map<string, string>> = {};
  for (const set of [...objectsOf(output, 'set'), ...objectsOf(output, 'map')]) {
    const elements = Array.isArray(set['elem']) ? set['elem'] : [];
    const isMap = set['map'] !== undefined;
    sets[String(set['name'])] = new Map(
      elements.map(element =>
        isMap && Array.isArray(element) ? [renderTerm(element[0]), renderTerm(element[1])] : [renderTerm(element), ''],
      ),
    );
  }
  return { chains, sets };
}

function renderTerm(term: unknown): string {
  if (!isJson(term)) return String(term);
  const { concat, prefix, elem, range } = term;
  if (Array.isArray(concat)) return concat.map(renderTerm).join(' . ');
  if (isJson(prefix)) return `${String(prefix['addr'])}/${String(prefix['len'])}`;
  if (Array.isArray(range)) return range.map(renderTerm).join('-');
  if (isJson(elem)) return renderTerm(elem['val']);
  if (isJson(term['goto'])) return `goto ${String(term['goto']['target'])}`;
  return JSON.stringify(term);
}

/** Output of "list chains": those that hang on a hook. */
export function parseBaseChains(output: string): BaseChainSeen[] {
  return objectsOf(output, 'chain').flatMap(chain =>
    chain['hook'] === undefined
      ? []
      : [
          {
            family: String(chain['family']),
            table: String(chain['table']),
            name: String(chain['name']),
            hook: String(chain['hook']),
            policy: String(chain['policy'] ?? 'accept'),
          },
        ],
  );
}

/** Names of all chains of a table, of the output of "list chains". */
export function parseChainNames(output: string, family: string, table: string): string[] {
  return objectsOf(output, 'chain')
    .filter(chain => chain['family'] === family && chain['table'] === table)
    .map(chain => String(chain['name']));
}

/** Output of "list chain …" or "list table …". */
export function parseRules(output: string): RuleSeen[] {
  return objectsOf(output, 'rule').map(rule => {
    const parts = Array.isArray(rule['expr']) ? rule['expr'].filter(isJson) : [];
    return {
      chain: String(rule['chain']),
      handle: Number(rule['handle']),
      comment: String(rule['comment'] ?? ''),
      verdicts: parts.flatMap(one => Object.keys(one)),
      targets: parts
        .flatMap(one => [one['jump'], one['goto']])
        .flatMap(to => (isJson(to) ? [String(to['target'])] : [])),
    };
  });
}
