/**
 * What doctor says of the node's network: the host's firewall, what somebody destroyed; and why init and join refuse behind a
 * firewall that covey could not open. Pure.
 *
 * Called by node.ts. Not here: looking at the firewall and opening it (netns/).
 */
import { CoveyError } from '../../errors.js';
import type { Finding, NetworkMended } from '../../gen/types.js';
import type { FirewallProblem, HostChange, NetworkStack } from '../../netns/index.js';

export function judgeNetwork(
  network: Pick<NetworkStack, 'firewallProblems' | 'changes'> & {
    readonly facts: () => { readonly networkMended: NetworkMended | undefined };
  },
  nowMs: number,
): readonly Finding[] {
  const mended = network.facts().networkMended;
  return [
    ...judgeFirewall(network.firewallProblems(), network.changes()),
    ...(mended === undefined ? [] : [mendedFinding(mended, nowMs)]),
  ];
}

function mendedFinding({ times, lastAtMs, last }: NetworkMended, nowMs: number): Finding {
  const often = times === 1 ? 'once' : `${times} times`;
  const ago = Math.max(0, Math.round((nowMs - lastAtMs) / 1_000));
  return {
    level: 'warn',
    code: 'network-mended',
    message: `something on this host destroyed parts of the overlay, which was mended ${often}, last ${ago} s ago: ${last.join('; ')}`,
    hint: 'look for what flushes rules or routes here: a firewall that starts anew, a script, a network manager',
  };
}

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
