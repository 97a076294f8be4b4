/**
 * What doctor says of the host's firewall, and why init and join refuse behind one that covey could not open. Pure.
 *
 * Called by node.ts. Not here: looking at the firewall and opening it (netns/).
 */
import { CoveyError } from '../../errors.js';
import type { Finding } from '../../gen/types.js';
import type { FirewallProblem, HostChange } from '../../netns/index.js';

export function judgeFirewall(
  problems: readonly FirewallProblem[],
  changes: readonly Pick<HostChange, 'kind' | 'name'>[],
): readonly Finding[] {
  if (problems.length > 0) {
    return problems.map(({ hook, what, command }) => ({
      level: 'fail',
      code: 'firewall-drops',
      message: `the host’s firewall, at its ${hook} hook: ${what}`,
      hint: command,
    }));
  }
  const opened = changes.filter(change => change.kind === 'nft-rule').map(change => change.name);
  if (opened.length === 0) return [];
  return [
    {
      level: 'ok',
      code: '',
      message: `the host’s firewall drops; accept rules stand first in ${opened.join(', ')}`,
      hint: '',
    },
  ];
}

/** For init and join: a node that others cannot reach is no node. */
export function refuseBlocked(problems: readonly FirewallProblem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  throw new CoveyError('firewall-drops', 'Cannot be a node behind this firewall', {
    state: problems.map(({ hook, what }) => `${hook} hook: ${what}`).join('; '),
    hint: first.command,
  });
}
