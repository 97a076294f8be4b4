/** A file system that fills while an image comes in: the reason is told, nothing is left, and the store works on. */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { codeOf, deepest, messageOf } from '../../../src/errors.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { dockerArchive, type ImageParts, ociArchive, ociLayout, type RawEntry, tarOf } from './archives.js';
import { openMock, packed } from './mock-registry.js';
import { contents, importInto, isRoot, openTestStore } from './test-store.js';

const skip = isRoot ? false : 'needs root';
const mib = 2 ** 20;

/** A file system of its own, gone with its mount. */
async function onSmallDisk(options: string, work: (parent: string) => Promise<void>): Promise<void> {
  const parent = fs.mkdtempSync('/tmp/covey-image-disk-');
  linuxHost.kernel.mount({ source: 'tmpfs', target: parent, type: 'tmpfs', flags: 0, data: options });
  try {
    await work(parent);
  } finally {
    linuxHost.kernel.unmount(parent);
    fs.rmdirSync(parent);
  }
}

const small = dockerArchive([{ layers: [tarOf([{ path: 'small', data: 'x' }])], names: ['small:1'] }]);
const random = (bytes: number): RawEntry => ({ path: `of-${bytes}`, data: randomBytes(bytes) });

const tooLarge: readonly (readonly [step: string, archive: () => Buffer, source?: 'file'])[] = [
  ['while the archive is read', () => dockerArchive([{ layers: [tarOf([random(40 * mib)])] }])],
  ['while the first layer is kept', () => dockerArchive([{ layers: [tarOf([random(17 * mib)])] }])],
  ['while the first layer is unpacked', () => dockerArchive([{ layers: [tarOf([random(12 * mib)])] }])],
  [
    'while a later layer is unpacked',
    () => ociArchive(ociLayout([{ layers: [tarOf([random(2 * mib)]), tarOf([random(9 * mib), random(mib)])] }])),
  ],
  ['while a root file system is unpacked', () => tarOf([random(17 * mib)])],
];

t.test(
  'too little space for an image is told at whatever step it ends, and a smaller image still fits',
  { skip, timeout: 600_000 },
  async t => {
    await onSmallDisk('size=32m', async parent => {
      await using made = await openTestStore({ parent });
      const before = contents(made.directory);
      for (const [step, archive] of tooLarge) {
        try {
          await importInto(made.store, archive(), { name: 'large:1' });
          t.fail(`it fitted: ${step}`);
        } catch (error) {
          t.equal(codeOf(error), 'no-space', `${step}: ${messageOf(error)}`);
          t.match(deepest(error, 'state'), /of 32 MiB.*free/, step);
        }
        t.same(contents(made.directory), before, `${step}: nothing is left`);
        t.ok(fs.statfsSync(parent).bfree * fs.statfsSync(parent).bsize > 31 * mib, `${step}: all of it is free again`);
      }
      await importInto(made.store, small);
      t.ok(made.store.find('small:1'));
    });
  },
);

t.test('too few inodes are told as well', { skip, timeout: 600_000 }, async t => {
  await onSmallDisk('size=64m,nr_inodes=200', async parent => {
    await using made = await openTestStore({ parent });
    await importInto(made.store, small);
    const before = contents(made.directory);
    const many = Array.from({ length: 400 }, (_none, at) => ({ path: `file-${at}`, data: 'x' }));
    await t.rejects(importInto(made.store, tarOf(many), { name: 'many:1' }), {
      code: 'no-space',
      state: /inodes free/,
    });
    t.same(contents(made.directory), before);
    t.ok(made.store.find('small:1'));
  });
});

t.test('when the index cannot be written the store is as before', { skip, timeout: 600_000 }, async t => {
  await onSmallDisk('size=16m', async parent => {
    const store = join(parent, 'x');
    fs.mkdirSync(store);
    await using made = await openTestStore({ parent: store });
    await importInto(made.store, small);
    // A directory in the place of the file: the write fails after layers and blobs are in place.
    const index = join(made.directory, 'index.json');
    const text = fs.readFileSync(index, 'utf8');
    fs.rmSync(index);
    fs.mkdirSync(index);
    const before = contents(made.directory);
    await t.rejects(
      importInto(made.store, dockerArchive([{ layers: [tarOf([{ path: 'next' }])], names: ['next:1'] }])),
    );
    t.same(contents(made.directory), before, 'what was put in place is taken back');
    t.equal(made.store.find('next:1'), undefined);
    t.ok(made.store.find('small:1'));
    fs.rmdirSync(index);
    fs.writeFileSync(index, text);
    t.ok((await made.reopen()).find('small:1'));
  });
});

t.test(
  'F5: a pull that does not fit is told at once or at the layer, leaves nothing, and a smaller one still fits',
  { skip, timeout: 600_000 },
  async t => {
    await onSmallDisk('size=32m', async parent => {
      await using made = await openTestStore({ parent });
      const before = contents(made.directory);
      const pull = async (image: ImageParts): Promise<void> => {
        await using mock = await openMock({ image });
        const request = { image: `${mock.host}/app:1`, platform: '' };
        for await (const _ of made.store.pullImage(request, AbortSignal.timeout(60_000)));
      };
      const zeros = (bytes: number): RawEntry => ({ path: 'zeros', data: Buffer.alloc(bytes) });
      const steps: readonly (readonly [step: string, layers: readonly Buffer[]])[] = [
        ['before anything came', [tarOf([random(40 * mib)])]],
        ['while the only layer is unpacked', [tarOf([zeros(40 * mib)])]],
        ['while a later layer is unpacked', [tarOf([random(mib)]), tarOf([zeros(40 * mib)])]],
      ];
      for (const [step, layers] of steps) {
        await t.rejects(pull(packed(layers)), { code: 'no-space', state: /of 32 MiB/ }, step);
        t.same(contents(made.directory), before, `${step}: nothing is left`);
        t.ok(fs.statfsSync(parent).bfree * fs.statfsSync(parent).bsize > 31 * mib, `${step}: all of it is free again`);
      }
      await pull(packed([tarOf([random(mib)])]));
      t.equal(made.store.list().length, 1);
    });
  },
);

t.test('F5: a pull without inodes left is told as well', { skip, timeout: 600_000 }, async t => {
  await onSmallDisk('size=64m,nr_inodes=200', async parent => {
    await using made = await openTestStore({ parent });
    const before = contents(made.directory);
    const many = Array.from({ length: 400 }, (_none, at) => ({ path: `file-${at}`, data: 'x' }));
    await using mock = await openMock({ image: packed([tarOf(many)]) });
    const request = { image: `${mock.host}/app:1`, platform: '' };
    const pull = async (): Promise<void> => {
      for await (const _ of made.store.pullImage(request, AbortSignal.timeout(60_000)));
    };
    await t.rejects(pull(), { code: 'no-space', state: /inodes free/ });
    t.same(contents(made.directory), before);
  });
});
