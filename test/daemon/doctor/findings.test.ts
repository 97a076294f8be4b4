import t from 'tap';
import { type HostFacts, judgeHost } from '../../../src/daemon/doctor/findings.js';

const works = { kind: 'works' } as const;
const fails = { kind: 'fails', why: 'EOPNOTSUPP' } as const;
const gib = 2 ** 30;
const good: HostFacts = {
  kernel: '6.18.44-amd64',
  capabilities: (1n << 41n) - 1n,
  dataDir: '/var/lib/covey',
  space: { totalBytes: 80 * gib, freeBytes: 40 * gib, totalInodes: 1_000, freeInodes: 500 },
  overlay: works,
  nftables: works,
  vxlan: works,
  wireguard: works,
  seccompFilter: true,
  systemd: true,
};

t.test('a host that has everything gets only ok', async t => {
  t.same(new Set(judgeHost(good).map(finding => finding.level)), new Set(['ok']));
});

t.test('each lack is found with its level, its code and a way to mend it', async t => {
  const rows: [Partial<HostFacts>, string, string][] = [
    [{ kernel: '5.10.0-30' }, 'fail', 'old-kernel'],
    [{ kernel: '4.19' }, 'fail', 'old-kernel'],
    [{ capabilities: 0n }, 'fail', 'no-permission'],
    [{ capabilities: ((1n << 41n) - 1n) ^ (1n << 24n) }, 'warn', 'no-sys-resource'],
    [{ overlay: fails }, 'fail', 'no-overlayfs'],
    [{ nftables: fails }, 'fail', 'no-nftables'],
    [{ vxlan: fails }, 'fail', 'no-vxlan'],
    [{ wireguard: fails }, 'warn', 'no-wireguard'],
    [{ seccompFilter: false }, 'warn', 'no-seccomp'],
    [{ systemd: false }, 'warn', 'no-systemd'],
    [{ space: { ...good.space, freeBytes: gib / 2 } }, 'fail', 'disk-low'],
    [{ space: { ...good.space, freeBytes: 1.2 * gib } }, 'warn', 'disk-low'],
    [{ space: { ...good.space, freeInodes: 5 } }, 'fail', 'disk-low'],
  ];
  for (const [change, level, code] of rows) {
    const found = judgeHost({ ...good, ...change }).filter(finding => finding.level !== 'ok');
    t.match(found, [{ level, code, hint: /\w/ }], code);
    t.equal(found.length, 1, code);
  }
});
