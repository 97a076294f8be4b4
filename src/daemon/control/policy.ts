/**
 * The policy of a network as people set it.
 *
 * Called by control.ts. Not here: what it comes to for nodes (dispatcher/policy.ts).
 */
import { CoveyError } from '../../errors.js';
import type { AllowRule, NetworkPolicy } from '../../gen/types.js';
import { refuseAt } from './check.js';
import { getObject } from './find.js';
import { type ControlHandlers, changeOnce, type Parts } from './parts.js';

const rulesMax = 256;
const selectorsMax = 16;
const portsMax = 32;

export function setNetworkPolicyOf(parts: Parts): ControlHandlers['setNetworkPolicy'] {
  return async ({ network: object, version, policy }, context) => {
    if (policy !== undefined) checkPolicy(policy);
    const { id } = getObject(parts.store.view(), 'network', object);
    await changeOnce(parts, context, view => {
      const network = getObject(view, 'network', id);
      const what = `Cannot set the policy of network "${network.spec.name}"`;
      if (network.spec.driver !== 'overlay') {
        throw new CoveyError('bad-argument', `${what}: it has the driver ${network.spec.driver}`, {
          state: 'what its tasks send never passes the overlay',
        });
      }
      if (version !== 0 && network.meta.version !== version) {
        throw new CoveyError('stale-version', `${what}: it was changed meanwhile`, {
          state: `version ${version} was read, it has ${network.meta.version} now`,
        });
      }
      const { policy: _before, ...rest } = network.spec;
      const spec = policy === undefined ? rest : { ...rest, policy };
      return [{ kind: 'put', table: 'network', object: { ...network, spec } }];
    });
    return getObject(parts.store.view(), 'network', id);
  };
}

function checkPolicy({ closed, allow }: NetworkPolicy): void {
  if (!closed && allow.length > 0) refuseAt('policy.closed')('an open network needs no rules: all may talk to all');
  if (allow.length > rulesMax) refuseAt('policy.allow')(`${allow.length} rules are more than ${rulesMax}`);
  for (const [at, rule] of allow.entries()) checkRule(rule, `policy.allow[${at}]`);
}

function checkRule({ from, to, ports }: AllowRule, path: string): void {
  for (const [side, selectors] of Object.entries({ from, to })) {
    const refuse = refuseAt(`${path}.${side}`);
    if (selectors.length > selectorsMax) refuse(`${selectors.length} labels are more than ${selectorsMax}`);
    const wrong = selectors.find(selector => !/^[^\s=]+(=.*)?$/.test(selector));
    if (wrong !== undefined) refuse(`"${wrong}" is no label, KEY or KEY=VALUE`);
  }
  if (ports.length > portsMax) refuseAt(`${path}.ports`)(`${ports.length} ports are more than ${portsMax}`);
  for (const { first, last } of ports) {
    if (first < 1 || last < first || last > 65_535)
      refuseAt(`${path}.ports`)(`${first}-${last} is no range of 1 to 65535`);
  }
}
