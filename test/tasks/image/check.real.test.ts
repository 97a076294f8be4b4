/** Damage on the disk: a turned bit in a blob, a file of a layer, a marker or the metadata is found, and mended. */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { asId, type TaskId } from '../../../src/ids.js';
import { dockerArchive, sha256, tarOf } from './archives.js';
import { openMock, packed } from './mock-registry.js';
import { importInto, isRoot, openTestStore, type TestStore } from './test-store.js';

const skip = isRoot ? false : 'needs root';
const layer = tarOf([
  { path: 'data', data: randomBytes(50_000) },
  { path: 'dir', type: '5', mode: 0o755 },
  { path: 'dir/link', type: '2', target: 'nowhere' },
  { path: 'dir/.wh.gone' },
]);

function flip(path: string): void {
  const bytes = fs.readFileSync(path);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  fs.writeFileSync(path, bytes);
}

const signal = (): AbortSignal => AbortSignal.timeout(60_000);

async function check(store: TestStore['store'], repair: boolean) {
  const answers = await Array.fromAsync(store.check({ repair }, signal()));
  return answers.filter(answer => answer.damage !== '');
}

t.test('F6: each damage is found, and mended by the registry or from the blob', { skip, timeout: 600_000 }, async t => {
  await using mock = await openMock({ image: packed([layer]) });
  const name = `${mock.host}/app:1`;
  const blob = mock.layers[0]?.digest.slice(7) ?? '';
  const tree = `layers/${sha256(layer)}`;
  const ensure = (store: TestStore['store']) =>
    store.ensure({ taskId: asId<TaskId>('task'), image: name, policy: '', onNote: () => undefined }, signal());
  await using made = await openTestStore({ patience: { delayFirstMs: 1, delayMaxMs: 10, giveUpMs: 2_000 } });
  const at = (path: string): string => join(made.directory, path);
  await ensure(made.store);
  made.store.release(asId<TaskId>('task'));
  t.same(await check(made.store, false), [], 'nothing is wrong at first');
  const damages: readonly (readonly [title: string, damage: () => void, atUse: boolean])[] = [
    ['a bit of the blob', () => flip(at(`blobs/sha256/${blob}`)), false],
    ['a bit of a file of the layer', () => flip(at(`${tree}/fs/data`)), false],
    ['a file that is gone', () => fs.rmSync(at(`${tree}/fs/dir/link`)), false],
    ['a file too many', () => fs.writeFileSync(at(`${tree}/fs/dir/new`), ''), false],
    ['another mode', () => fs.chmodSync(at(`${tree}/fs/dir`), 0o777), false],
    ['the marker of the layer', () => fs.writeFileSync(at(`${tree}/layer.json`), '{"diffId":'), true],
    ['the marker is gone', () => fs.rmSync(at(`${tree}/layer.json`)), true],
    ['the manifest', () => flip(at(`blobs/sha256/${mock.digest.slice(7)}`)), true],
    ['the blob is gone', () => fs.rmSync(at(`blobs/sha256/${blob}`)), true],
    ['the index', () => flip(at('index.json')), true],
  ];
  let store = made.store;
  for (const [title, damage, atUse] of damages) {
    damage();
    if (atUse) {
      store = await made.reopen();
      await ensure(store);
      store.release(asId<TaskId>('task'));
    } else {
      const found = await check(store, false);
      t.equal(found.length, 1, `${title} is found`);
      t.same(
        (await check(store, true)).map(({ repaired, outcome }) => [repaired, outcome]),
        [[true, 'repaired']],
        title,
      );
    }
    t.same(await check(store, false), [], `${title}: all is well again`);
    t.ok(store.find(name), title);
  }
});

t.test('what is in use, or came from nowhere, is told and left', { skip, timeout: 600_000 }, async t => {
  await using made = await openTestStore();
  await importInto(made.store, dockerArchive([{ layers: [layer], names: ['app:1'] }]));
  const digest = made.store.find('app:1')?.digest ?? '';
  made.store.acquire(asId<TaskId>('task'), digest);
  flip(join(made.directory, 'layers', sha256(layer), 'fs/data'));
  t.match(await check(made.store, true), [{ repaired: false, outcome: /1 running tasks use it/ }]);
  made.store.release(asId<TaskId>('task'));
  t.match(await check(made.store, true), [{ repaired: true }], 'from its own blob');
  flip(join(made.directory, 'blobs/sha256', sha256(layer)));
  t.match(await check(made.store, true), [{ repaired: false, outcome: /import it again/ }]);
  await importInto(made.store, dockerArchive([{ layers: [layer], names: ['app:1'] }]));
  t.same(await check(made.store, false), []);
});
