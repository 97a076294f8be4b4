/**
 * Constraints of a service: "node.labels.zone==eu", "node.role != manager". All have to hold; values are compared as text,
 * without regard to case; a label that a node does not have compares as empty.
 *
 * Called by filters.ts, orchestrate/pass.ts and control/validate. Not here: resources (filters.ts).
 */
import type { Node } from '../../gen/types.js';

export interface Constraint {
  readonly key: string;
  readonly operator: '==' | '!=';
  readonly value: string;
  /** As it was written, without blanks around the operator. */
  readonly text: string;
}

const fixedKeys: Readonly<Record<string, (node: Node) => string>> = {
  'node.id': node => node.id,
  'node.hostname': node => node.description.hostname,
  'node.name': node => node.spec.name,
  'node.role': node => node.role,
  // As Docker has it; the distribution is in description.os.
  'node.platform.os': () => 'linux',
  'node.platform.arch': node => node.description.architecture,
};
const labelPrefixes: Readonly<Record<string, (node: Node) => Readonly<Record<string, string>>>> = {
  'node.labels.': node => node.spec.labels,
  'engine.labels.': node => node.description.labels,
};

const constraintKeys: readonly string[] = [
  ...Object.keys(fixedKeys),
  ...Object.keys(labelPrefixes).map(prefix => `${prefix}NAME`),
];

/** Several names of one architecture. */
const architectures: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64', x64: 'amd64' };

/** What a constraint says, or what is wrong with it. */
export function parseConstraint(text: string): Constraint | { readonly problem: string } {
  const match = /^\s*([a-zA-Z][a-zA-Z0-9_./-]*)\s*(==|!=)\s*(.*?)\s*$/.exec(text);
  const [, key = '', operator = '', value = ''] = match ?? [];
  if (value === '') return { problem: 'it is not of the form key==value or key!=value' };
  if (findReader(key) === undefined)
    return { problem: `there is no key "${key}"; there are ${constraintKeys.join(', ')}` };
  return { key, operator: operator === '==' ? '==' : '!=', value, text: `${key}${operator}${value}` };
}

/** The first constraint that the node does not meet, as text; undefined when it meets all. */
export function findUnmet(constraints: readonly string[], node: Node): string | undefined {
  for (const text of constraints) {
    const constraint = parseConstraint(text);
    if ('problem' in constraint) return text;
    const actual = findReader(constraint.key)?.(node) ?? '';
    const isEqual = plain(constraint.key, actual) === plain(constraint.key, constraint.value);
    if (isEqual !== (constraint.operator === '==')) return constraint.text;
  }
  return undefined;
}

/** What a node has under the key of a preference, for comparing; undefined: there is no such key. */
export function findValue(key: string, node: Node): string | undefined {
  const actual = findReader(key)?.(node);
  return actual === undefined ? undefined : plain(key, actual);
}

/** What is wrong with the key of a preference; undefined: nothing. */
export function findKeyProblem(key: string): string | undefined {
  return findReader(key) === undefined ? `there is no key "${key}"; there are ${constraintKeys.join(', ')}` : undefined;
}

function findReader(key: string): ((node: Node) => string) | undefined {
  if (Object.hasOwn(fixedKeys, key)) return fixedKeys[key];
  for (const [prefix, labels] of Object.entries(labelPrefixes)) {
    const name = key.slice(prefix.length);
    if (key.startsWith(prefix) && name !== '') return node => labels(node)[name] ?? '';
  }
  return undefined;
}

function plain(key: string, value: string): string {
  const lower = value.toLowerCase();
  return key === 'node.platform.arch' ? (architectures[lower] ?? lower) : lower;
}
