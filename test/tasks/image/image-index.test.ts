/** The index of names: what an import changes in it, what a removal takes, and what a reference finds. */
import t from 'tap';
import {
  findImage,
  type IndexEntry,
  parseIndexFile,
  planRemoval,
  renderIndex,
  withImages,
} from '../../../src/tasks/image/image-index.js';

const id = (digits: string): string => `sha256:${digits.padEnd(64, '0')}`;
const full = (name: string): string => `docker.io/library/${name}`;
const entry = (digits: string, ...names: readonly string[]): IndexEntry => ({
  digest: id(digits),
  config: id(`c${digits}`),
  names: names.map(full),
  diffIds: [id('d1')],
  layerBlobs: [id('b1')],
  origins: [],
});

t.test('what is written is what is read', async t => {
  const entries = [entry('a1', 'x:1', 'y:1'), entry('a2')];
  t.same(parseIndexFile('index.json', renderIndex(entries)), entries);
  t.same(parseIndexFile('index.json', renderIndex([])), []);
});

t.test('a name belongs to the image that brought it last; an image keeps those it had', async t => {
  const before = [entry('a1', 'x:1', 'y:1'), entry('a2', 'z:1')];
  t.same(withImages(before, [entry('a3', 'x:1')]), [entry('a1', 'y:1'), entry('a2', 'z:1'), entry('a3', 'x:1')]);
  t.same(withImages(before, [entry('a2', 'x:1')]), [entry('a1', 'y:1'), entry('a2', 'x:1', 'z:1')]);
  t.same(withImages([], [entry('a1', 'x:1', 'x:1')]), [entry('a1', 'x:1')]);
});

t.test('a name takes itself away, the last one and an id take the image', async t => {
  const two = entry('a1', 'x:1', 'y:1');
  const last = entry('a2', 'z:1');
  t.same(planRemoval([two, last], two, 'x:1'), {
    kind: 'untag',
    untagged: [full('x:1')],
    entries: [entry('a1', 'y:1'), last],
  });
  t.match(planRemoval([two, last], last, 'library/z:1'), { kind: 'delete', untagged: [full('z:1')], entries: [two] });
  t.match(planRemoval([two, last], two, two.digest), { kind: 'delete', untagged: two.names, entries: [last] });
});

t.test('a beginning of an id finds one image, or says that it fits more', async t => {
  const entries = [entry('abcd1', 'abcd:latest'), entry('abce1'), entry('face', 'x:1')];
  t.equal(findImage(entries, 'abcd'), entries[0], 'the name wins');
  t.equal(findImage(entries, 'abce'), entries[1]);
  t.equal(findImage(entries, 'sha256:abcd1'), entries[0]);
  t.equal(findImage(entries, 'cface'), entries[2], 'by the digest of its config, which Docker calls its id');
  t.throws(() => findImage([...entries, entry('abce2')], 'abce'), { code: 'ambiguous' });
  t.equal(findImage(entries, 'fac'), undefined, 'three digits are a name');
  t.equal(findImage(entries, 'f'.repeat(64)), undefined);
});
