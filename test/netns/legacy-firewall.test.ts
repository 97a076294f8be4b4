import t from 'tap';
import { planLegacy } from '../../src/netns/legacy-firewall.js';

const us = { prefix: 'covey', device: 'covey0', dataPorts: [7378, 7379], clusterPort: 7377 } as const;
const accept = '-m comment --comment covey -j ACCEPT';
const forward = [`-I FORWARD -o covey0 ${accept}`, `-I FORWARD -i covey0 ${accept}`];
const input = [`-I INPUT -p udp -m udp --dport 7378:7379 ${accept}`, `-I INPUT -p tcp -m tcp --dport 7377 ${accept}`];
const head = [`-A FORWARD -i covey0 ${accept}`, `-A FORWARD -o covey0 ${accept}`];
const removals = head.map(line => line.replace('-A', '-D'));

for (const [what, hook, lines, commands] of [
  ['a firewall that accepts is left alone', 'forward', ['-P FORWARD ACCEPT', '-A FORWARD -j ACCEPT'], []],
  ['a policy of DROP gets two rules at its head', 'forward', ['-P FORWARD DROP'], forward],
  ['the same for what comes in', 'input', ['-P INPUT DROP'], input],
  ['a REJECT at the end counts as DROP', 'input', ['-P INPUT ACCEPT', '-A INPUT -j REJECT'], input],
  [
    'so does one in a chain that it leads to',
    'forward',
    ['-P FORWARD ACCEPT', '-N mine', '-A FORWARD -j mine', '-A mine -g mine', '-A mine -s 10.0.0.1/32 -j DROP'],
    forward,
  ],
  ['once they are there nothing is done', 'forward', ['-P FORWARD DROP', ...head, '-A FORWARD -j DROP'], []],
  [
    'rules that are not at the head any more are set anew, before the old ones go',
    'forward',
    ['-P FORWARD DROP', '-A FORWARD -j DROP', ...head],
    [...forward, ...removals],
  ],
  ['when the firewall does not drop any more ours go', 'forward', ['-P FORWARD ACCEPT', ...head], removals],
  [
    'Docker’s own chain for users is used in any case',
    'forward',
    ['-P FORWARD DROP', '-N DOCKER-USER', '-A DOCKER-USER -j RETURN'],
    forward.map(line => line.replace('FORWARD', 'DOCKER-USER')),
  ],
  [
    'those of another covey do not count',
    'forward',
    ['-P FORWARD DROP', ...head.map(line => line.replace('comment covey', 'comment other'))],
    forward,
  ],
] as const) {
  t.test(what, async t => {
    t.strictSame(
      planLegacy(['-P OUTPUT ACCEPT', ...lines].join('\n'), hook, us).commands.map(args => args.join(' ')),
      commands,
    );
  });
}
