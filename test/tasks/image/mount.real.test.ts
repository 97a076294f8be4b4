/** Root file systems: what the kernel shows of many layers, of odd ones, and after everything is taken away again. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { linuxHost } from '../../../src/host-linux/index.js';
import { dockerArchive, type ImageParts, tarOf } from './archives.js';
import { importInto, isRoot, openTestStore, type TestStore } from './test-store.js';
import { setAttribute } from './tree.js';

const skip = isRoot ? false : 'needs root';

async function withRoot(
  made: TestStore,
  parts: ImageParts,
  look: (rootPath: string, place: string) => Promise<unknown>,
): Promise<void> {
  await importInto(made.store, dockerArchive([{ ...parts, names: ['x:1'] }]));
  const image = made.store.find('x:1');
  if (image === undefined) throw new Error('not imported');
  const place = fs.mkdtempSync(join(made.scratch, 'task-'));
  const { rootPath } = await made.store.mountRoot(image, place);
  try {
    await look(rootPath, place);
  } finally {
    await made.store.unmountRoot(place);
  }
}

t.test('an image of 120 layers is mounted, wherever the store lies', { skip, timeout: 600_000 }, async t => {
  const parent = fs.mkdtempSync(`/tmp/covey-image-test-${'long'.repeat(20)}-`);
  {
    await using made = await openTestStore({ parent });
    const layers = Array.from({ length: 120 }, (_none, at) =>
      tarOf([
        { path: `layer-${at}`, data: `${at}` },
        { path: 'top', data: `${at}` },
      ]),
    );
    await withRoot(made, { layers }, async rootPath => {
      t.equal(fs.readdirSync(rootPath).length, 121);
      t.equal(fs.readFileSync(join(rootPath, 'top'), 'utf8'), '119');
    });
  }
  fs.rmSync(parent, { recursive: true });
});

t.test(
  'whiteouts and opaque directories hide what is below, and what is written goes to the container alone',
  { skip },
  async t => {
    await using made = await openTestStore();
    const layers = [
      tarOf([
        { path: 'a/one', data: '1' },
        { path: 'b/one', data: '1' },
        { path: 'c/one', data: '1' },
        { path: 'gone', data: 'x' },
        { path: 'gone-directory/x' },
      ]),
      tarOf([
        { path: '.wh.gone' },
        { path: '.wh.gone-directory' },
        { path: 'a/two', data: '2' },
        { path: 'b/two', data: '2' },
        { path: 'b/.wh..wh..opq' },
        { path: '.wh.c' },
        { path: 'c/two', data: '2' },
      ]),
    ];
    await withRoot(made, { layers }, async (rootPath, place) => {
      const seen = fs.readdirSync(rootPath, { recursive: true }).map(String).sort();
      t.same(seen, ['a', 'a/one', 'a/two', 'b', 'b/two', 'c', 'c/two']);
      fs.writeFileSync(join(rootPath, 'a/one'), 'changed');
      fs.renameSync(join(rootPath, 'a/two'), join(rootPath, 'moved'));
      t.same(fs.readdirSync(join(place, 'upper')).sort(), ['a', 'moved']);
    });
    await withRoot(made, { layers }, async rootPath => {
      t.equal(fs.readFileSync(join(rootPath, 'a/one'), 'utf8'), '1', 'the image is as it was');
    });
  },
);

t.test('an opaque root hides everything below', { skip }, async t => {
  await using made = await openTestStore();
  const layers = [
    tarOf([{ path: 'old' }]),
    tarOf([{ path: '.wh..wh..opq' }, { path: 'middle' }]),
    tarOf([{ path: 'new' }]),
  ];
  await withRoot(made, { layers }, async rootPath => t.same(fs.readdirSync(rootPath).sort(), ['middle', 'new']));
});

t.test('a layer that an image has twice counts where it is higher', { skip }, async t => {
  await using made = await openTestStore();
  const twice = tarOf([{ path: 'file', data: 'twice' }]);
  const layers = [twice, tarOf([{ path: 'file', data: 'between' }, { path: '.wh.nothing' }]), twice];
  await withRoot(made, { layers }, async rootPath => t.equal(fs.readFileSync(join(rootPath, 'file'), 'utf8'), 'twice'));
});

t.test('an image of no layers is an empty root that everyone may enter', { skip }, async t => {
  await using made = await openTestStore();
  await withRoot(made, { layers: [] }, async rootPath => {
    t.same(fs.readdirSync(rootPath), []);
    t.equal(fs.statSync(rootPath).mode & 0o7777, 0o755);
  });
});

t.test('the root directory has the owner and mode of the topmost layer that speaks of it', { skip }, async t => {
  await using made = await openTestStore();
  const root = (mode: number, uid: number): Buffer =>
    tarOf([{ path: './', type: '5', mode, uid, gid: 5 }, { path: `of-${uid}` }]);
  const layers = [root(0o700, 1), root(0o1777, 2), tarOf([{ path: 'silent' }])];
  const umask = process.umask(0o077);
  try {
    await withRoot(made, { layers }, async rootPath => {
      const { mode, uid, gid } = fs.statSync(rootPath);
      t.same([mode & 0o7777, uid, gid], [0o1777, 2, 5]);
    });
    await withRoot(made, { layers: [tarOf([{ path: 'silent' }])] }, async rootPath =>
      t.equal(fs.statSync(rootPath).mode & 0o7777, 0o755),
    );
  } finally {
    process.umask(umask);
  }
});

t.test('mounting twice is mounting once; unmounting what is not there is nothing', { skip }, async t => {
  await using made = await openTestStore();
  await withRoot(made, { layers: [tarOf([{ path: 'x' }])] }, async (rootPath, place) => {
    fs.writeFileSync(join(rootPath, 'kept'), 'x');
    const image = made.store.find('x:1');
    if (image !== undefined) await made.store.mountRoot(image, place);
    const mounts = fs
      .readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter(line => line.includes(` ${rootPath} `));
    t.equal(mounts.length, 1);
    t.ok(fs.existsSync(join(rootPath, 'kept')), 'after a restart of the daemon the container is as it was');
    await made.store.unmountRoot(place);
    t.same(fs.readdirSync(place), []);
    await made.store.unmountRoot(place);
  });
});

t.test('after the machine went down a root file system begins anew', { skip }, async t => {
  await using made = await openTestStore();
  await withRoot(made, { layers: [tarOf([{ path: 'x' }])] }, async (rootPath, place) => {
    fs.writeFileSync(join(rootPath, 'written'), 'x');
    linuxHost.kernel.unmount(rootPath);
    t.same(fs.readdirSync(rootPath), [], 'what a crash leaves: folders, but no mount');
    const image = made.store.find('x:1');
    if (image !== undefined) await made.store.mountRoot(image, place);
    t.same(fs.readdirSync(rootPath), ['x']);
  });
});

t.test('a mount that is busy is gone from sight at once', { skip }, async t => {
  await using made = await openTestStore();
  await withRoot(made, { layers: [tarOf([{ path: 'x' }])] }, async (rootPath, place) => {
    const held = fs.openSync(join(rootPath, 'x'), 'r');
    await made.store.unmountRoot(place);
    t.same(fs.readdirSync(place), []);
    fs.closeSync(held);
  });
});

t.test('a redirect in the layer of a container is not followed', { skip }, async t => {
  await using made = await openTestStore();
  await importInto(
    made.store,
    dockerArchive([{ layers: [tarOf([{ path: 'secret/key', data: 'k' }])], names: ['x:1'] }]),
  );
  const place = join(made.scratch, 'task');
  fs.mkdirSync(join(place, 'upper/planted'), { recursive: true });
  setAttribute(join(place, 'upper/planted'), 'trusted.overlay.redirect', Buffer.from('/secret'));
  const image = made.store.find('x:1');
  if (image === undefined) throw new Error('not imported');
  const { rootPath } = await made.store.mountRoot(image, place);
  try {
    t.throws(() => fs.readFileSync(join(rootPath, 'planted/key')), { code: 'EPERM' });
    t.same(fs.readdirSync(join(rootPath, 'secret')), ['key']);
  } finally {
    await made.store.unmountRoot(place);
  }
});
