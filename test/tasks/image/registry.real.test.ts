/** Against Debian's docker-registry and skopeo: what we pull is what they stored, and what we export they read. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ociArchive, ociLayout, tarOf } from './archives.js';
import { hasRegistry, openDebianRegistry, skopeoPath } from './debian-registry.js';
import { packed } from './mock-registry.js';
import { importInto, isRoot, openTestStore } from './test-store.js';

const skip = !isRoot ? 'needs root' : hasRegistry ? false : 'needs docker-registry and skopeo';

const skopeo = (...args: readonly string[]): string => execFileSync(skopeoPath, args, { encoding: 'utf8' });

t.test('pull, skopeo, export and import all mean the same image', { skip, timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  await using registry = await openDebianRegistry(made.scratch);
  const layers = [tarOf([{ path: 'a', data: 'one' }]), tarOf([{ path: 'b', data: 'two' }])];
  const pushed = join(made.scratch, 'pushed.tar');
  fs.writeFileSync(pushed, ociArchive(ociLayout([packed(layers, { run: { Cmd: ['/a'] } })])));
  registry.push(pushed, 'team/app:1');
  const name = `${registry.host}/team/app:1`;
  const signal = AbortSignal.timeout(50_000);
  for await (const _ of made.store.pullImage({ image: name, platform: '' }, signal));
  const raw = skopeo('inspect', '--raw', '--tls-verify=false', `docker://${name}`);
  const { image, manifest, config } = await made.store.inspect(name);
  t.equal(manifest, raw, 'the manifest, byte for byte');
  t.match(JSON.parse(skopeo('inspect', '--tls-verify=false', `docker://${name}`)), { Digest: image?.digest });

  const exported = join(made.scratch, 'exported.tar');
  const file = fs.createWriteStream(exported);
  for await (const piece of made.store.exportImages([name], signal)) file.write(piece);
  await new Promise(resolve => file.end(resolve));
  for (const form of ['oci-archive', 'docker-archive'])
    t.equal(skopeo('inspect', '--config', '--raw', `${form}:${exported}`), config, `skopeo reads the ${form}`);
  await made.store.remove(name);
  await importInto(made.store, fs.readFileSync(exported));
  t.equal(made.store.find(name)?.digest, image?.digest, 'our own import reads it');
});
