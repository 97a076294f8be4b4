/** The store over its life: names, removal, what is shared, what a crash leaves, and imports that end early. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { codeOf } from '../../../src/errors.js';
import { asId, type TaskId } from '../../../src/ids.js';
import type { ImageStore } from '../../../src/tasks/image/index.js';
import { dockerArchive, type ImageParts, ociArchive, ociLayout, sha256, tarOf } from './archives.js';
import { bytesOf, contents, importInto, isRoot, openTestStore, plainStart } from './test-store.js';

const skip = isRoot ? false : 'needs root';
const taskA = asId<TaskId>('0000000000000000000000000');
const taskB = asId<TaskId>('0000000000000000000000001');

const base = tarOf([{ path: 'base', data: 'x'.repeat(10_000) }]);
const one: ImageParts = { layers: [base, tarOf([{ path: 'one', data: '1' }])], names: ['one:1'] };
const two: ImageParts = { layers: [base, tarOf([{ path: 'two', data: '2' }])], names: ['two:1', 'two:latest'] };

function names(store: ImageStore): readonly string[] {
  return store
    .list()
    .flatMap(image => image.names)
    .sort();
}

function layersOn(directory: string): readonly string[] {
  return fs.readdirSync(join(directory, 'layers')).sort();
}

t.test('a layer that two images share is there once, and goes with the last of them', { skip }, async t => {
  await using made = await openTestStore();
  const { store, directory } = made;
  await importInto(store, dockerArchive([one, { ...two, layers: [tarOf([{ path: 'other' }])] }]));
  t.same(names(store), ['one:1', 'two:1', 'two:latest']);
  await importInto(store, dockerArchive([two]));
  t.same(
    store
      .list()
      .map(image => image.names.length)
      .sort(),
    [0, 1, 2],
    'a name that moves on leaves its old image without one',
  );
  const [nameless] = store.list().filter(image => image.names.length === 0);
  t.ok((await store.remove(nameless?.digest ?? '')).freedBytes > 0);
  t.equal(layersOn(directory).length, 3);
  t.same((await store.remove('two:1')).deleted, [], 'the image has another name');
  const removed = await store.remove('two');
  t.same(removed.untagged, ['two:latest']);
  t.equal(removed.deleted.length, 2, 'the image and its own layer');
  t.same(layersOn(directory), one.layers.map(sha256).sort());
  const last = await store.remove(store.list()[0]?.digest.slice(7, 20) ?? '');
  t.same(last.untagged, ['one:1'], 'by the beginning of its id');
  t.same(
    [layersOn(directory), fs.readdirSync(join(directory, 'blobs/sha256')), fs.readdirSync(join(directory, 'l'))],
    [[], [], []],
  );
});

t.test('what a task uses is not removed, but may lose a name', { skip }, async t => {
  await using made = await openTestStore();
  const { store } = made;
  await importInto(store, dockerArchive([two]));
  const digest = store.find('two:1')?.digest ?? '';
  store.acquire(taskA, digest);
  store.acquire(taskA, digest);
  store.acquire(taskB, digest);
  t.equal(store.list()[0]?.uses, 2);
  t.same((await store.remove('two:latest')).untagged, ['two:latest']);
  await t.rejects(store.remove('two:1'), { code: 'image-in-use' });
  await t.rejects(store.remove(digest), { code: 'image-in-use' });
  store.release(taskA);
  await t.rejects(store.remove('two:1'), { code: 'image-in-use' });
  store.release(taskB);
  store.release(taskB);
  await store.remove('two:1');
  t.same(store.list(), []);
});

t.test('an image is found as people write it', { skip }, async t => {
  await using made = await openTestStore();
  const { store } = made;
  await importInto(store, ociArchive(ociLayout([one])));
  const digest = store.find('one:1')?.digest ?? '';
  const known = [
    'one:1',
    'library/one:1',
    'docker.io/one:1',
    'docker.io/library/one:1',
    digest,
    `one@${digest}`,
    `one:1@${digest}`,
    `elsewhere.site/x@${digest}`,
    digest.slice(7),
    digest.slice(7, 19),
  ];
  for (const reference of known) t.equal(store.find(reference)?.digest, digest, reference);
  for (const reference of ['one', 'one:2', 'elsewhere.site/one:1', `one:1@sha256:${'0'.repeat(64)}`, 'sha256:0000'])
    t.equal(store.find(reference), undefined, reference);
  t.throws(() => store.find('One:1'), { code: 'image-bad-name' });
  await t.rejects(store.inspect('gone:1'), { code: 'image-not-found', hint: /image ls/ });
  await t.rejects(store.remove('gone:1'), { code: 'image-not-found' });
});

t.test('the next daemon finds what was there, and throws away what was under way', { skip }, async t => {
  await using made = await openTestStore();
  const { directory } = made;
  await importInto(made.store, dockerArchive([one, { ...two, layers: [tarOf([{ path: 'two' }])] }]));
  const before = contents(directory);
  const listed = made.store.list();
  fs.mkdirSync(join(directory, 'tmp/crashed/layers/x/fs'), { recursive: true });
  fs.writeFileSync(join(directory, 'tmp/crashed/archive.tar'), 'x');
  fs.mkdirSync(join(directory, 'layers', 'ab'.repeat(32), 'fs'), { recursive: true });
  fs.writeFileSync(join(directory, 'blobs/sha256', 'cd'.repeat(32)), 'x');
  const again = await made.reopen();
  t.same(contents(directory), before);
  t.same(again.list(), listed);
});

t.test('an image whose parts are lost is not used until it is imported again', { skip }, async t => {
  await using made = await openTestStore();
  const archive = dockerArchive([one, { ...two, layers: [tarOf([{ path: 'two' }])] }]);
  await importInto(made.store, archive);
  fs.rmSync(join(made.directory, 'layers', sha256(base)), { recursive: true });
  const again = await made.reopen();
  t.equal(again.find('one:1'), undefined);
  t.ok(again.find('two:1'));
  await importInto(again, archive);
  t.ok(again.find('one:1'));
  t.ok(fs.existsSync(join(made.directory, 'layers', sha256(base), 'fs/base')));
});

t.test('F6: a damaged index is replaced by its copy', { skip }, async t => {
  await using made = await openTestStore();
  await importInto(made.store, dockerArchive([one]));
  const path = join(made.directory, 'index.json');
  const text = fs.readFileSync(path, 'utf8');
  const flipped = text.replace(/sha256:./, digest => `sha256:${digest.endsWith('0') ? '1' : '0'}`);
  for (const damaged of ['', '{', '{"version":1,"images":[{"digest":"x"}]}', flipped]) {
    fs.writeFileSync(path, damaged);
    const again = await made.reopen();
    t.ok(again.find('one:1'), damaged.slice(0, 50));
    t.equal(fs.readFileSync(path, 'utf8'), text, 'and is whole again');
  }
});

t.test(
  'with index and copy damaged the store begins empty, keeps all parts, and finds its images again',
  { skip },
  async t => {
    await using made = await openTestStore();
    await importInto(made.store, dockerArchive([one]));
    const digest = made.store.find('one:1')?.digest ?? '';
    const parts = (): readonly string[] =>
      ['blobs/sha256', 'layers'].flatMap(folder => fs.readdirSync(join(made.directory, folder)));
    const before = parts();
    for (const name of ['index.json', 'index.copy.json']) fs.writeFileSync(join(made.directory, name), '{');
    const empty = await made.reopen();
    t.same(empty.list(), []);
    await importInto(empty, dockerArchive([{ ...two, layers: [tarOf([{ path: 'two' }])] }]));
    const later = await made.reopen();
    await later.sweep();
    for (const part of before) t.ok(parts().includes(part), `${part} is kept`);
    const signal = AbortSignal.timeout(30_000);
    const answers = await Array.fromAsync(later.check({ repair: true }, signal));
    t.ok(answers.some(answer => answer.repaired && /index/.test(answer.damage)));
    t.ok(later.find(digest), 'by its digest; its name is gone');
    await later.sweep();
    t.ok((await made.reopen()).find(digest));
  },
);

t.test('an index of a newer covey is left alone', { skip }, async t => {
  await using made = await openTestStore();
  const path = join(made.directory, 'index.json');
  const text = '{"version":2,"images":[]}';
  fs.writeFileSync(path, text);
  await t.rejects(made.reopen(), { code: 'state-damaged', cause: { code: 'newer-schema' } });
  t.equal(fs.readFileSync(path, 'utf8'), text);
});

t.test('imports of one image at the same time all succeed, and store it once', { skip, timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  const archives = [dockerArchive([one]), dockerArchive([two]), ociArchive(ociLayout([one])), dockerArchive([one])];
  await Promise.all(archives.map(archive => importInto(made.store, archive)));
  t.same(names(made.store), ['one:1', 'two:1', 'two:latest']);
  t.equal(layersOn(made.directory).length, 3);
  t.same(fs.readdirSync(join(made.directory, 'tmp')), []);
});

t.test('removal waits while an import may count on what is there', { skip }, async t => {
  await using made = await openTestStore();
  const { store, directory } = made;
  await importInto(store, dockerArchive([one]));
  const gate = Promise.withResolvers<void>();
  const archive = dockerArchive([two]);
  async function* slowly(): AsyncGenerator<Uint8Array> {
    yield archive.subarray(0, 2_000);
    await gate.promise;
    yield archive.subarray(2_000);
  }
  const importing = importInto(store, slowly());
  await until(() => fs.readdirSync(join(directory, 'tmp')).length > 0);
  await store.remove('one:1');
  t.equal(store.find('one:1'), undefined);
  t.ok(layersOn(directory).includes(sha256(base)), 'still there');
  gate.resolve();
  await importing;
  t.same(layersOn(directory), two.layers.map(sha256).sort(), 'and gone afterwards');
});

/** Looks every few milliseconds; the child is a process of its own and tells nobody how far it is. */
async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 2_000; tries += 1) {
    if (condition()) return;
    await sleep(5);
  }
  throw new Error('it did not happen');
}

function children(): readonly string[] {
  return fs
    .readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
    .split(' ')
    .filter(pid => pid !== '');
}

const endless = { title: '', archive: dockerArchive([one]) };
async function* stalled(): AsyncGenerator<Uint8Array> {
  yield endless.archive.subarray(0, 3_000);
  await new Promise<never>(() => undefined);
}

t.test('an import that ends early leaves no process and no file', { skip, timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  const { store, directory } = made;
  const before = contents(directory);
  const running = (): boolean =>
    fs.readdirSync(join(directory, 'tmp')).some(name => fs.existsSync(join(directory, 'tmp', name, 'archive.tar')));

  const controller = new AbortController();
  const cancelled = importInto(store, stalled(), { signal: controller.signal });
  await until(running);
  controller.abort(new DOMException('given up', 'AbortError'));
  await t.rejects(cancelled, { name: 'AbortError' }, 'the caller gave up');

  async function* failing(): AsyncGenerator<Uint8Array> {
    yield endless.archive.subarray(0, 3_000);
    throw new Error('the connection broke');
  }
  await t.rejects(importInto(store, failing()), /the connection broke/, 'the source failed');

  const killed = importInto(store, stalled());
  await until(running);
  for (const pid of children()) process.kill(Number(pid), 'SIGKILL');
  await t.rejects(killed, { code: 'internal', state: /SIGKILL/ }, 'the child was killed');

  const iterator = store.importImage(plainStart, stalled(), AbortSignal.timeout(60_000))[Symbol.asyncIterator]();
  await iterator.next();
  await iterator.return?.();

  t.same(children(), [], 'no child is left');
  t.same(contents(directory), before, 'no file is left');
  await importInto(store, bytesOf(endless.archive));
  t.ok(store.find('one:1'), 'and the store works on');
});

t.test('no more than eight imports at once', { skip, timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  const controller = new AbortController();
  const running = Array.from({ length: 8 }, async () => {
    try {
      await importInto(made.store, stalled(), { signal: controller.signal });
      return 'done';
    } catch (error) {
      return codeOf(error);
    }
  });
  await until(() => fs.readdirSync(join(made.directory, 'tmp')).length === 8);
  await t.rejects(importInto(made.store, dockerArchive([one])), { code: 'too-many' });
  controller.abort();
  await Promise.all(running);
  await importInto(made.store, dockerArchive([one]));
  t.ok(made.store.find('one:1'));
});
