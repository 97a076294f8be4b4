import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { openTunnelKeys, parseKeys } from '../../src/netns/tunnel-keys.js';

const noTool = linuxHost.processes.findOnPath('wg') === undefined && 'wg is not installed';

t.test('a key is made once, kept for root alone, and forgotten with its epoch', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'covey-tunnel-keys-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const open = () => openTunnelKeys(linuxHost.files, directory);
  const [first] = await open().take([1]);
  t.match(first?.publicKey, /^[\w+/]{43}=$/);
  const keys = open();
  const both = await keys.take([1, 2]);
  t.strictSame(both[0], first, 'as another daemon finds it');
  t.equal(statSync(join(directory, 'tunnel-keys.json')).mode & 0o777, 0o600);
  await keys.take([2]);
  t.strictSame(await open().take([2]), both.slice(1));
  t.not((await open().take([1]))[0]?.publicKey, first?.publicKey, 'an epoch that is over never comes back');
  await keys.remove();
  t.equal(await linuxHost.files.findStat(join(directory, 'tunnel-keys.json')), undefined);
});

t.test('the public half is the one that WireGuard derives', { skip: noTool }, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'covey-tunnel-keys-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const [key] = await openTunnelKeys(linuxHost.files, directory).take([1]);
  t.equal(execFileSync('wg', ['pubkey'], { input: key?.privateKey, encoding: 'utf8' }).trim(), key?.publicKey);
});

t.test('a file that other hands have changed holds none', async t => {
  for (const text of ['', '{', '{}', '[{"epoch":1,"privateKey":"AA=="}]']) t.same(parseKeys(text), [], text);
});
