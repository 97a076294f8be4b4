/**
 * What the policy of a network comes to: from rules over labels to pairs of services, so that nodes need no labels.
 *
 * Pure; called by tables.ts. Not here: how nodes hold packets back (netns/wanted.ts), rules as people write them
 * (control/policy.ts).
 */
import type { AllowedPort, AllowedWay, AllowRule, Service } from '../../gen/types.js';

type Labelled = Pick<Service, 'id' | 'spec'>;

/** In the order of ids; a pair that several rules allow has the ports of all of them. */
export function planWays(rules: readonly AllowRule[], services: readonly Labelled[]): AllowedWay[] {
  const ordered = [...services].sort((a, b) => (a.id < b.id ? -1 : 1));
  const ways: AllowedWay[] = [];
  for (const from of ordered) {
    for (const to of ordered) {
      const fitting = rules.filter(rule => fits(from, rule.from) && fits(to, rule.to));
      if (fitting.length > 0) ways.push({ fromService: from.id, toService: to.id, ports: portsOf(fitting) });
    }
  }
  return ways;
}

/** None when one of the rules allows all. */
function portsOf(rules: readonly AllowRule[]): readonly AllowedPort[] {
  return rules.some(rule => rule.ports.length === 0) ? [] : joinRanges(rules.flatMap(rule => rule.ports));
}

/** Without overlaps: the kernel takes none. */
function joinRanges(ports: readonly AllowedPort[]): AllowedPort[] {
  const joined: AllowedPort[] = [];
  for (const port of [...ports].sort((a, b) =>
    a.protocol === b.protocol ? a.first - b.first : a.protocol < b.protocol ? -1 : 1,
  )) {
    const last = joined.at(-1);
    if (last === undefined || last.protocol !== port.protocol || port.first > last.last + 1) joined.push(port);
    else joined[joined.length - 1] = { ...last, last: Math.max(last.last, port.last) };
  }
  return joined;
}

function fits({ spec }: Labelled, selectors: readonly string[]): boolean {
  const labels: Readonly<Record<string, string>> = {
    ...spec.labels,
    'covey.service': spec.name,
    'covey.stack': spec.stack,
  };
  return selectors.every(selector => {
    const at = selector.indexOf('=');
    if (at < 0) return Object.hasOwn(labels, selector);
    return labels[selector.slice(0, at)] === selector.slice(at + 1);
  });
}
