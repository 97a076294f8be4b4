/** Hostile layers, end to end: whatever they try, they are refused with nothing stored, or stay within their layer. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { codeOf, messageOf } from '../../../src/errors.js';
import { dockerArchive, sha256 } from './archives.js';
import { hostileLayers } from './hostile-layers.js';
import { importInto, isRoot, openTestStore } from './test-store.js';
import { attributesOf, treeOf } from './tree.js';

t.test('no layer gets out of its directory', { skip: isRoot ? false : 'needs root', timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  const canary = join(made.scratch, 'canary');
  fs.mkdirSync(canary);
  fs.writeFileSync(join(canary, 'secret'), 'do not touch');
  const before = treeOf(canary);
  const host = ['/etc/passwd', '/etc/group'].map(path => fs.statSync(path).mtimeMs);
  for (const { title, layer, outcome, has = [], hasNot = [] } of hostileLayers(canary)) {
    let code = 'harmless';
    let message = '';
    try {
      await importInto(made.store, dockerArchive([{ layers: [layer], names: ['evil:1'] }]));
    } catch (error) {
      code = codeOf(error);
      message = messageOf(error);
    }
    t.equal(code, outcome, `${title}: ${message}`);
    const tree = join(made.directory, 'layers', sha256(layer), 'fs');
    if (code === 'harmless') {
      for (const path of has) t.ok(fs.lstatSync(join(tree, path), { throwIfNoEntry: false }), `${title}: has ${path}`);
      for (const path of hasNot)
        t.notOk(fs.lstatSync(join(tree, path), { throwIfNoEntry: false }), `${title}: has no ${path}`);
      const planted = Object.keys(treeOf(tree)).flatMap(path =>
        attributesOf(join(tree, path)).filter(([name]) => !/^user\.(?!overlay)/.test(name)),
      );
      t.same(planted, [], `${title}: no attribute that the kernel obeys`);
      await made.store.remove('evil:1');
    }
    for (const folder of ['layers', 'l', 'tmp', 'blobs/sha256']) {
      t.same(fs.readdirSync(join(made.directory, folder)), [], `${title}: nothing is left in ${folder}`);
    }
    t.same(treeOf(canary), before, `${title}: the canary lives`);
  }
  t.same(
    ['/etc/passwd', '/etc/group'].map(path => fs.statSync(path).mtimeMs),
    host,
    "the host's own files are as before",
  );
});
