import t from 'tap';
import { type FirewallChain, planFirewall, planFirewallRemoval } from '../../../src/netns/nft/firewall.js';

const us = { prefix: 'covey', device: 'covey0', dataPorts: [7378, 7379], clusterPort: 7377 } as const;
const rule = (handle: number, comment: string, ...verdicts: string[]) => ({
  chain: 'FORWARD',
  handle,
  comment,
  verdicts,
  targets: [],
});
const chain = (policy: string, ...rules: FirewallChain['rules']): FirewallChain => ({
  table: 'ip filter',
  name: 'FORWARD',
  hook: 'forward',
  policy,
  rules,
  dropsBelow: false,
});
const input = (policy: string, ...rules: FirewallChain['rules']): FirewallChain => ({
  ...chain(policy, ...rules),
  table: 'inet filter',
  name: 'input',
  hook: 'input',
});
const opened =
  'insert rule inet filter input udp dport 7378-7379 counter accept comment "covey"\n' +
  'insert rule inet filter input tcp dport 7377 counter accept comment "covey"\n';
const ours = [rule(7, 'covey', 'accept'), rule(8, 'covey', 'accept')];
const inserted =
  'insert rule ip filter FORWARD oifname "covey0" counter accept comment "covey"\n' +
  'insert rule ip filter FORWARD iifname "covey0" counter accept comment "covey"\n';

for (const [what, chains, commands] of [
  ['a firewall that accepts is left alone', [chain('accept', rule(1, '', 'accept'))], ''],
  ['a policy of drop gets two rules at its head', [chain('drop')], inserted],
  ['a rule that rejects, too', [chain('accept', rule(1, '', 'match', 'reject'))], inserted],
  ['once they are there nothing is done', [chain('drop', ...ours, rule(9, '', 'jump'))], ''],
  [
    'rules that are not at the head any more are set anew',
    [chain('drop', rule(1, '', 'drop'), ...ours)],
    `delete rule ip filter FORWARD handle 7\ndelete rule ip filter FORWARD handle 8\n${inserted}`,
  ],
  [
    'one that is missing is as good as none',
    [chain('drop', rule(7, 'covey', 'accept'))],
    `delete rule ip filter FORWARD handle 7\n${inserted}`,
  ],
  [
    'those of another covey do not count',
    [chain('drop', rule(7, 'other', 'accept'), rule(8, 'other', 'accept'))],
    inserted,
  ],
  ['what comes in from other nodes is accepted where it would be dropped', [input('drop')], opened],
  ['a chain that only leads to one that drops counts as one', [{ ...input('accept'), dropsBelow: true }], opened],
  ['once it is accepted nothing is done', [input('drop', ...ours)], ''],
  [
    'when the firewall does not drop any more ours go',
    [chain('accept', ...ours)],
    'delete rule ip filter FORWARD handle 7\ndelete rule ip filter FORWARD handle 8\n',
  ],
] as const) {
  t.test(what, async t => t.equal(planFirewall(chains, us).commands, commands));
}

t.test('Docker’s own chain for users is used in any case', async t => {
  const plan = planFirewall([{ ...chain('accept'), name: 'DOCKER-USER' }], us);
  t.same(plan.chains, ['ip filter DOCKER-USER']);
  t.match(plan.commands, 'DOCKER-USER');
});

t.test('leaving takes away ours and nothing else', async t => {
  t.equal(
    planFirewallRemoval([chain('drop', ...ours, rule(9, 'other', 'accept'), rule(10, '', 'drop'))], 'covey'),
    'delete rule ip filter FORWARD handle 7\ndelete rule ip filter FORWARD handle 8\n',
  );
});
