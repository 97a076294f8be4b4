/** Forgetting connections in a namespace of the test's own, with entries made by real packets. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { forgetFlows, forgetFlowsOf } from '../../src/netns/conntrack.js';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const { kernel } = linuxHost;

t.test('entries are forgotten by the address that answers, one by one or many at once', { skip }, async t => {
  const directory = fs.mkdtempSync(join(tmpdir(), 'covey-conntrack-'));
  const namespace = kernel.makeNetworkNamespace(join(directory, 'ns'));
  t.teardown(() => {
    kernel.closeNamespace(namespace);
    kernel.removeNamespace(namespace.path);
    fs.rmSync(directory, { recursive: true });
  });
  const inside = (...argv: readonly string[]): Buffer => execFileSync('nsenter', [`--net=${namespace.path}`, ...argv]);
  inside('ip', 'link', 'set', 'lo', 'up');
  inside(
    'nft',
    'add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new accept',
  );
  const addresses = Array.from({ length: 8 }, (_none, at) => `127.0.1.${at + 1}`);
  const talkTo = (all: readonly string[]): void => {
    for (const address of all) inside('bash', '-c', `echo x >/dev/udp/${address}/9`);
  };
  using netlink = kernel.openNetlink(namespace, 'netfilter');

  talkTo(addresses);
  t.equal(forgetFlowsOf(netlink, { replySources: addresses.slice(0, 5) }), 5, 'many');
  t.equal(forgetFlowsOf(netlink, { replySources: addresses.slice(0, 5) }), 0, 'they are gone');
  t.equal(forgetFlowsOf(netlink, { replySources: addresses.slice(5, 7), protocol: 'udp' }), 2, 'a few');
  t.equal(forgetFlows(netlink, { replySource: '127.0.1.8', protocol: 'tcp' }), 0, 'another protocol stays');
  t.equal(
    forgetFlows(netlink, { replySource: '127.0.1.8', protocol: 'udp' }),
    1,
    'the last was not touched by the others',
  );
  talkTo(addresses);
  t.equal(forgetFlowsOf(netlink, { replySources: addresses, protocol: 'udp' }), 8, 'many of one protocol');
  t.equal(forgetFlowsOf(netlink, { replySources: [] }), 0, 'none');
});
