/** Pulls, from a registry of our own: what comes is what was there, whatever the way there does. */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import t from 'tap';
import { codeOf } from '../../../src/errors.js';
import type { Image, PullImageProgress } from '../../../src/gen/types.js';
import { asId, type TaskId } from '../../../src/ids.js';
import type { ImageStore } from '../../../src/tasks/image/index.js';
import { sha256, tarOf } from './archives.js';
import { openMock, packed, refuse } from './mock-registry.js';
import { contents, isRoot, openTestStore } from './test-store.js';

const skip = isRoot ? false : 'needs root';
const base = tarOf([{ path: 'base', data: 'base' }]);
const top = tarOf([
  { path: 'top', data: 'top' },
  { path: 'noise', data: randomBytes(300_000) },
]);
const large = tarOf([{ path: 'large', data: randomBytes(4 * 2 ** 20) }]);
const quick = { delayFirstMs: 1, delayMaxMs: 20, giveUpMs: 3_000 };

async function pull(store: ImageStore, image: string, platform = ''): Promise<PullImageProgress> {
  let last: PullImageProgress | undefined;
  for await (const progress of store.pullImage({ image, platform }, AbortSignal.timeout(60_000))) last = progress;
  if (last === undefined) throw new Error('no progress');
  return last;
}

async function pulled(store: ImageStore, image: string): Promise<Image> {
  const { image: found } = await pull(store, image);
  if (found === undefined) throw new Error('no image');
  return found;
}

t.test('an image is pulled whole: its layers, its names, and where it came from', { skip }, async t => {
  await using mock = await openMock({ image: packed([base, top], { run: { Cmd: ['/top'] } }) });
  await using made = await openTestStore();
  const image = await pulled(made.store, `${mock.host}/team/app:1`);
  t.same(image.names, [`${mock.host}/team/app:1`]);
  t.equal(image.digest, mock.digest);
  t.same(image.origins, [`${mock.host}/team/app@${mock.digest}`]);
  for (const layer of mock.layers)
    t.same(fs.readFileSync(join(made.directory, 'blobs/sha256', layer.digest.slice(7))), layer.bytes);
  t.equal(fs.readFileSync(join(made.directory, 'layers', sha256(top), 'fs/top'), 'utf8'), 'top');
  t.same(fs.readdirSync(join(made.directory, 'tmp')), []);
  t.same((await made.reopen()).list(), made.store.list());
  t.equal(made.store.find(`${mock.host}/team/app@${mock.digest}`)?.digest, mock.digest);
});

t.test('layers may be compressed with zstd, or not at all', { skip }, async t => {
  for (const compress of [(layer: Buffer) => zstdCompressSync(layer), undefined]) {
    await using mock = await openMock({
      image: { layers: [base], layerType: compress ? 'tar+zstd' : 'tar', ...(compress ? { compress } : {}) },
    });
    await using made = await openTestStore();
    await pulled(made.store, `${mock.host}/app:1`);
    t.ok(fs.existsSync(join(made.directory, 'layers', sha256(base), 'fs/base')));
  }
});

t.test('what is here is not pulled again: neither the image, nor a layer of another', { skip }, async t => {
  await using one = await openMock({ image: packed([base, top]) });
  await using two = await openMock({ image: packed([base, large]) });
  await using made = await openTestStore();
  await pulled(made.store, `${one.host}/app:1`);
  const blobs = one.count('/blobs/');
  t.equal((await pull(made.store, `${one.host}/app:1`)).current, true);
  t.equal(one.count('/blobs/'), blobs);
  await pulled(made.store, `${two.host}/app:1`);
  t.equal(two.count(two.layers[0]?.digest ?? ''), 0, 'the shared layer');
  t.equal(two.count(two.layers[1]?.digest ?? ''), 1);
});

t.test('a connection that is cut at every tenth goes on where it was', { skip, timeout: 600_000 }, async t => {
  const image = packed([large]);
  for (const ranges of [true, false]) {
    await using mock = await openMock({
      image,
      hook: (request, response, { layout }) => {
        if (!/\/blobs\//.test(request.url ?? '')) return false;
        const bytes = layout.files.get(`blobs/sha256/${/sha256:([0-9a-f]+)/.exec(request.url ?? '')?.[1]}`);
        if (bytes === undefined || bytes.length < 1_000_000) return false;
        const asked = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
        const from = ranges ? asked : 0;
        const until = Math.min(bytes.length, asked + Math.ceil(bytes.length / 10));
        const headers = { 'content-length': bytes.length - from };
        if (from > 0)
          response.writeHead(206, { ...headers, 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` });
        else response.writeHead(200, headers);
        response.write(bytes.subarray(from, until), () =>
          setImmediate(() => (until === bytes.length ? response.end() : response.destroy())),
        );
        return true;
      },
    });
    await using made = await openTestStore({ patience: quick });
    const found = await pulled(made.store, `${mock.host}/app:1`);
    t.equal(found.digest, mock.digest, ranges ? 'with Range' : 'without Range');
    t.ok(mock.count(mock.layers[0]?.digest ?? '') >= 10, `${mock.count(mock.layers[0]?.digest ?? '')} requests`);
  }
});

t.test('callers of one image share one pull; who leaves does not end it; the last one does', { skip }, async t => {
  let release: (() => void) | undefined;
  const held = new Promise<void>(resolve => {
    release = resolve;
  });
  await using mock = await openMock({
    image: packed([base]),
    hook: (request, response, { layout, nth }) => {
      if (!/manifests\/1/.test(request.url ?? '') || nth > 1) return false;
      void held.then(() => response.headersSent || serveLater(layout, request, response));
      return true;
    },
  });
  const { serve: serveLater } = await import('./mock-registry.js');
  await using made = await openTestStore();
  const wanted = (id: string) => ({
    taskId: asId<TaskId>(id),
    image: `${mock.host}/app:1`,
    policy: '',
    onNote: () => undefined,
  });
  const leaver = new AbortController();
  const left = made.store.ensure(wanted('one'), leaver.signal);
  left.catch(() => undefined);
  const others = ['two', 'three'].map(id => made.store.ensure(wanted(id), AbortSignal.timeout(30_000)));
  leaver.abort(new Error('left'));
  await t.rejects(left, { message: 'left' });
  release?.();
  const [two, three] = await Promise.all(others);
  t.equal(two?.digest, mock.digest);
  t.equal(three?.digest, mock.digest);
  t.equal(mock.requests.filter(({ method, url }) => method === 'GET' && /manifests\/1/.test(url)).length, 1);
  await t.rejects(made.store.remove(`${mock.host}/app:1`), { code: 'image-in-use', state: /2 tasks/ });
  for (const id of ['two', 'three']) made.store.release(asId<TaskId>(id));
  await made.store.remove(`${mock.host}/app:1`);
});

t.test('a pull that nobody waits for any more ends, and leaves nothing', { skip }, async t => {
  let asked: (() => void) | undefined;
  const began = new Promise<void>(resolve => {
    asked = resolve;
  });
  await using mock = await openMock({
    image: packed([large]),
    hook: request => {
      if (!/blobs/.test(request.url ?? '')) return false;
      asked?.();
      return true; // never answers
    },
  });
  await using made = await openTestStore();
  const before = contents(made.directory);
  const stop = new AbortController();
  const pulling = (async () => {
    for await (const _ of made.store.pullImage({ image: `${mock.host}/app:1`, platform: '' }, stop.signal));
  })();
  pulling.catch(() => undefined);
  await began;
  stop.abort(new Error('not wanted any more'));
  await t.rejects(pulling, { message: 'not wanted any more' });
  const untilMs = Date.now() + 10_000;
  while (fs.readdirSync(join(made.directory, 'tmp')).length > 0 && Date.now() < untilMs)
    await new Promise(resolve => setImmediate(resolve));
  t.same(contents(made.directory), before);
});

t.test('policies: missing takes what is here, always asks, never does not pull', { skip }, async t => {
  await using mock = await openMock({ image: packed([base]) });
  await using made = await openTestStore();
  const image = `${mock.host}/app:1`;
  const signal = AbortSignal.timeout(30_000);
  const ensure = (policy: string) =>
    made.store.ensure({ taskId: asId<TaskId>('x'), image, policy, onNote: () => undefined }, signal);
  await t.rejects(ensure('never'), { code: 'image-not-found' });
  await ensure('missing');
  const asked = mock.requests.length;
  await ensure('missing');
  await ensure('never');
  t.equal(mock.requests.length, asked);
  await ensure('always');
  t.equal(mock.count('manifests/1'), 2, 'one HEAD tells that it is current');
});

t.test('429 and 5xx are waited for, as long as the registry asks', { skip }, async t => {
  const notes: string[] = [];
  await using mock = await openMock({
    image: packed([base]),
    hook: (request, response, { nth }) => {
      if (nth > 2 || request.method === 'HEAD') return false;
      if (nth === 1) refuse(response, 429, 'TOOMANYREQUESTS', 'slow down', { 'retry-after': '1' });
      else refuse(response, 503, 'UNAVAILABLE', 'later');
      return true;
    },
  });
  await using made = await openTestStore({ patience: { ...quick, giveUpMs: 20_000 } });
  for await (const { note } of made.store.pullImage(
    { image: `${mock.host}/app:1`, platform: '' },
    AbortSignal.timeout(60_000),
  ))
    if (note !== '') notes.push(note);
  t.ok(made.store.find(`${mock.host}/app:1`));
  t.ok(
    notes.some(note => /429.*slow down.*again in [12] s/.test(note)),
    notes.join('\n'),
  );
});

t.test('a pull that fails keeps what it had finished, and the next one does not pull that again', { skip }, async t => {
  let fails = true;
  await using mock = await openMock({
    image: packed([base, large]),
    hook: (request, response, { layout }) => {
      const bytes = layout.files.get(`blobs/sha256/${/sha256:([0-9a-f]+)/.exec(request.url ?? '')?.[1]}`);
      if (!fails || bytes === undefined || bytes.length < 1_000_000) return false;
      if (request.headers.range !== undefined) refuse(response, 500, 'UNKNOWN', 'broken');
      else {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, 3 * 2 ** 20), () => setImmediate(() => response.destroy()));
      }
      return true;
    },
  });
  await using made = await openTestStore({ patience: { ...quick, giveUpMs: 300 } });
  await t.rejects(pulled(made.store, `${mock.host}/app:1`), { code: 'registry-unreachable', state: /500/ });
  t.equal(made.store.find(`${mock.host}/app:1`), undefined);
  fails = false;
  const before = mock.requests.length;
  await pulled(made.store, `${mock.host}/app:1`);
  const since = mock.requests.slice(before);
  const [small = { digest: '' }, big = { digest: '' }] = mock.layers;
  t.equal(since.filter(({ url }) => url.includes(small.digest)).length, 0, 'the finished layer');
  t.match(since.find(({ url }) => url.includes(big.digest))?.range, /^bytes=[1-9]\d+-$/, 'the cut one goes on');
  t.same(fs.readdirSync(join(made.directory, 'partial')).length, 1);
  await made.store.prune({ all: false, untilMs: 0 });
  t.same(fs.readdirSync(join(made.directory, 'partial')), []);
});

t.test('a short name whose registry nobody knows is an image that is not there', { skip }, async t => {
  await using made = await openTestStore({
    rules: 'registries:\n  - { prefix: docker.io, location: no-such-host.invalid/hub }\n',
  });
  try {
    await pulled(made.store, 'nosuch:1');
    t.fail('it was there');
  } catch (error) {
    t.equal(codeOf(error), 'image-not-found');
    t.match(error, { state: /no-such-host\.invalid/ });
  }
});
